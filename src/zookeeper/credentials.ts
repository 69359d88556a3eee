/** Credentials as callers give them, checked before they are kept. */
import { ZooKeeperError } from "./errors.js";
import type { DigestAuth } from "./zookeeper.js";

/** Its message never shows what was given. */
export function checkedAuth(auth: DigestAuth): DigestAuth {
  const good = auth.scheme === "digest" && typeof auth.auth === "string" && /^[^:]+:/.test(auth.auth);
  if (good) return { scheme: auth.scheme, auth: auth.auth };
  throw new ZooKeeperError("INVALID_ARGUMENT", 'Credentials are { scheme: "digest", auth: "user:password" }');
}
