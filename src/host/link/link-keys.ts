/**
 * Keys of scopes. Holders of the cluster secret can make every key; a driver or an executor is given its application's key only.
 *
 * Invariant: the secret itself never leaves the process that read it.
 */
import { bytesToHex } from "../../base/bytes.js";
import type { Digest } from "../../env/env.js";
import { applicationKeyText, applicationOfScope, CLUSTER_SCOPE, NO_SECRET } from "../../wire/handshake.js";
import { encodeText } from "./link-channel.js";

const BINDING_DIGITS = 32;

/** Pass null where the cluster has no secret. */
export function deriveApplicationKey(digest: Digest, secret: Uint8Array | null, applicationId: string): Uint8Array {
  return digest.hmacSha256(secret ?? NO_SECRET, encodeText(applicationKeyText(applicationId)));
}

/** As in a launch order (`applicationKey`). */
export function applicationKeyHex(digest: Digest, secret: Uint8Array | null, applicationId: string): string {
  return bytesToHex(deriveApplicationKey(digest, secret, applicationId));
}

/** Tells clusters apart by their secrets, where others may read it: nothing can be done with it, and nobody can go back from it to the secret. */
export function clusterBinding(digest: Digest, secret: Uint8Array): string {
  return bytesToHex(digest.hmacSha256(secret, encodeText("holdfast: whose records these are"))).slice(0, BINDING_DIGITS);
}

export type KeyFor = (scope: string) => Uint8Array | null;

/** For masters and workers: every scope. */
export function keysOfCluster(digest: Digest, secret: Uint8Array | null): KeyFor {
  return (scope) => {
    if (scope === CLUSTER_SCOPE) return secret ?? NO_SECRET;
    const application = applicationOfScope(scope);
    return application === null ? null : deriveApplicationKey(digest, secret, application);
  };
}

/** For drivers and executors: the scope of their own application only. */
export function keyOfScope(ownScope: string, key: Uint8Array): KeyFor {
  return (scope) => (scope === ownScope ? key : null);
}
