/**
 * Mark and sweep of an application's state: blobs of checkpoints that were given up while whoever could have removed them by name died.
 *
 * Invariants: a blob is removed only if it says that it belongs to this application and to a checkpoint older than every live one, and no live manifest
 * refers to it. When a live manifest can't be read nothing is removed; what is of an unknown form stays.
 */
import { CodedError } from "../../base/errors.js";
import { utf8Decode } from "../../base/utf8.js";
import type { BlobHandle, StateStore } from "../../env/blob-store.js";
import type { CompletedCheckpoint } from "../../wire/checkpoint.js";
import { readManifest } from "./driver-checkpoint-work.js";
import type { InputsOptions } from "./driver-inputs.js";
import { handlesOf } from "./savepoint-reading.js";

/** Looked at in one sweep; what is left is found by the next one. */
const MAX_SWEPT = 10_000;
/** Beginning of blobs of keyed state: four characters and the length of a JSON header. */
const STATE_MAGIC = /^HFS[0-9]$/;
const PREFIX_BYTES = 8;

export async function sweepState(options: InputsOptions, state: StateStore, live: readonly CompletedCheckpoint[]): Promise<void> {
  const { applicationId, log } = options;
  const oldest = Math.min(...live.map(({ id }) => id));
  try {
    const marked = new Set<string>();
    for (const pointer of live) {
      marked.add(pointer.manifest.sha256);
      for (const { sha256 } of handlesOf({ manifest: await readManifest(state, pointer, applicationId) })) marked.add(sha256);
    }
    const candidates = (await state.list()).filter(({ sha256 }) => !marked.has(sha256)).slice(0, MAX_SWEPT);
    let removed = 0;
    for (const handle of candidates) {
      if (!(await isLeftover(state, handle, applicationId, oldest))) continue;
      await state.remove(handle);
      removed += 1;
    }
    if (removed > 0) log.info("blobs of checkpoints that were given up are removed", { app: applicationId, removed });
  } catch (thrown) {
    log.warn("leftovers of checkpoints could not be looked for", { app: applicationId, reason: CodedError.from(thrown).message });
  }
}

async function isLeftover(state: StateStore, handle: BlobHandle, applicationId: string, oldest: number): Promise<boolean> {
  const bytes = await state.get(handle).catch(() => null);
  const origin = bytes === null ? null : originOf(bytes);
  return origin !== null && origin.applicationId === applicationId && origin.checkpoint < oldest;
}

/** Of keyed state and of manifests; null: of neither. */
export function originOf(bytes: Uint8Array): { readonly applicationId: string; readonly checkpoint: number } | null {
  const said = jsonOf(isState(bytes) ? headerOf(bytes) : bytes);
  if (typeof said !== "object" || said === null) return null;
  const { applicationId, checkpoint, id } = said as { readonly [key: string]: unknown };
  const number = checkpoint ?? id;
  return typeof applicationId === "string" && typeof number === "number" ? { applicationId, checkpoint: number } : null;
}

const isState = (bytes: Uint8Array): boolean =>
  bytes.length >= PREFIX_BYTES && STATE_MAGIC.test(String.fromCharCode(...bytes.subarray(0, 4)));

function headerOf(bytes: Uint8Array): Uint8Array {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(4, true);
  return bytes.subarray(PREFIX_BYTES, PREFIX_BYTES + length);
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8Decode(bytes) ?? "null");
  } catch {
    return null;
  }
}
