/**
 * What two processes say before anything else: challenge -> hello -> welcome, or one `refused`.
 *
 *   acceptor                                   dialer
 *   challenge {protocol, nonce}          ->
 *                                        <-    hello {protocol, clusterId, role, id, scope, epoch, nonce, facts, proof}
 *   welcome {clusterId, role, id, epoch, facts, proof}  ->
 *
 * Boundary: pure; schemas, the texts that are proved, and the names of keys. `host/link-handshake.ts` runs it.
 * Invariants:
 *   1. A proof is HMAC-SHA-256(key of the scope, text). The text names the direction, both nonces and every field of the message, so that no
 *      field can be changed, no proof replayed on another connection, and none reflected to its sender.
 *   2. The first fields of a hello (`kind`, `protocol`) keep their meaning in all versions, so that versions can name each other.
 *   3. Roles are bound to scopes: whoever holds only an application's key cannot speak as a worker, a master or a client.
 */
import { z } from "zod";
import type { JsonValue } from "../base/json.js";
import { canonicalJson } from "../base/json.js";
import type { Role } from "./envelope.js";
import { errorShape, ROLES } from "./envelope.js";
import { idText } from "./ids.js";

/** A connection that has not proved a key after this long is closed (slow bytes). */
export const HANDSHAKE_TIMEOUT_MS = 5_000;
/** Unauthenticated connections that a listener holds open per remote address, and in all. */
export const MAX_UNAUTHENTICATED_PER_ADDRESS = 100;
export const MAX_UNAUTHENTICATED = 1_000;
export const NONCE_BYTES = 16;
export const MAX_FACTS = 32;
export const MAX_FACT_CHARACTERS = 1024;
/** In the facts of a worker or driver, 1: this link waits for its master to lead, at the pace below until then. */
export const STANDING = "standing";
/** Of a link that waits: 10,000 workers and as many drivers cost a standby 4,000 small frames a second. The first word of its leader is sent at once. */
export const STANDING_PACE = { heartbeatMs: 10_000, silenceMs: 40_000 } as const;
export const CLUSTER_SCOPE = "cluster";
const APPLICATION_SCOPE = "application/";
/** The key where a cluster has no secret (loopback only): the code path is the same. */
export const NO_SECRET = new Uint8Array(0);

export const factsSchema = z
  .record(z.string().max(64), z.union([z.string().max(MAX_FACT_CHARACTERS), z.number(), z.null()]))
  .refine((facts) => Object.keys(facts).length <= MAX_FACTS, "too many facts");
export type Facts = Readonly<Record<string, string | number | null>>;

const nonce = z.string().regex(/^[0-9a-f]{32}$/);
const proof = z.string().regex(/^[0-9a-f]{64}$/);
const epoch = z.number().int().nonnegative();
/** The cluster of a master with recovery `none`: nothing of it is kept, so nobody stays bound to it. */
export const UNRECORDED_CLUSTER_ID = "holdfast";

const clusterId = z.string().min(1).max(128).nullable();

export const challenge = z.object({ kind: z.literal("challenge"), protocol: z.number().int(), nonce });
export type Challenge = z.infer<typeof challenge>;

/** Read before the rest of a hello, whose shape other versions may change. */
export const helloVersion = z.object({ kind: z.literal("hello"), protocol: z.number().int() });

export const hello = z.object({
  kind: z.literal("hello"),
  protocol: z.number().int(),
  /** Null: the dialer does not know its cluster yet. */
  clusterId,
  role: z.enum(ROLES),
  id: idText,
  scope: z.string().max(160),
  epoch,
  nonce,
  facts: factsSchema,
  proof,
});
export type Hello = z.infer<typeof hello>;

export const welcome = z.object({
  kind: z.literal("welcome"),
  /** Null: the acceptor does not know its cluster yet. */
  clusterId,
  role: z.enum(ROLES),
  id: idText,
  epoch,
  facts: factsSchema,
  proof,
});
export type Welcome = z.infer<typeof welcome>;

export const refused = z.object({ kind: z.literal("refused"), error: errorShape });
export const challengeOrRefused = z.union([challenge, refused]);
export const welcomeOrRefused = z.union([welcome, refused]);

/** What the dialer proves. */
export function helloProofText(message: Omit<Hello, "proof">, acceptorNonce: string): string {
  return canonicalJson({ direction: "dialer-to-acceptor", acceptorNonce, ...message } as JsonValue);
}

/** What the acceptor proves: its own message, bound to the hello that it answers. */
export function welcomeProofText(message: Omit<Welcome, "proof">, hello: Omit<Hello, "proof">, acceptorNonce: string): string {
  return canonicalJson({ direction: "acceptor-to-dialer", acceptorNonce, welcome: message, hello } as JsonValue);
}

export const applicationScope = (applicationId: string): string => `${APPLICATION_SCOPE}${applicationId}`;

/** The application of a scope `application/<id>`; null for `cluster` and for anything malformed. */
export function applicationOfScope(scope: string): string | null {
  if (!scope.startsWith(APPLICATION_SCOPE)) return null;
  const id = scope.slice(APPLICATION_SCOPE.length);
  return idText.safeParse(id).success ? id : null;
}

/** The text whose HMAC under the cluster secret is the key of an application. */
export const applicationKeyText = (applicationId: string): string => `holdfast/application/${applicationId}`;

/** Invariant 3. */
export function roleMayUseScope(role: Role, scope: string): boolean {
  const ofApplication = applicationOfScope(scope) !== null;
  return role === "driver" || role === "executor" ? ofApplication : scope === CLUSTER_SCOPE;
}
