/**
 * The state of one application in the masters' storage, as its driver and its executors reach it: `STORAGE/state/APPLICATION/`.
 *
 * Invariants:
 *   1. The storage itself is never made here: a folder that is missing on this machine is an error, not an empty store.
 *   2. It counts as the masters' only when the job's own bundle is in it, which a master has put there.
 */
import { rm, rmdir, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import type { StateStore } from "../../env/blob-store.js";
import { readStateFrom } from "../state-reading.js";
import { createFileBlobStore, listBlobs, removeBlob } from "./blob-store.js";

const STATE = "state";

export interface StateStoreOptions {
  /** Directory of the masters' blobs. */
  readonly storage: string;
  readonly applicationId: string;
  /** sha-256 of the job's bundle. */
  readonly bundle: string;
}

/** Rejects with CHECKPOINT_STORAGE when this process can't reach the storage, or may not write there. */
export async function openStateStore({ storage, applicationId, bundle }: StateStoreOptions): Promise<StateStore> {
  await checkStorage(storage, bundle);
  const directory = path.join(storage, STATE, applicationId);
  const blobs = await createFileBlobStore(directory).catch((thrown: unknown) => {
    throw unreachable(storage, `state can't be written there: ${CodedError.from(thrown).message}`, thrown);
  });
  return {
    put: async (bytes) => ({ sha256: await blobs.put(bytes), sizeBytes: bytes.length }),
    get: (handle) => readStateFrom(directory, handle, (sha256) => blobs.get(sha256)),
    list: () => listBlobs(directory),
    remove: ({ sha256 }) => removeBlob(directory, sha256),
    removeAll: () => removeState(storage, applicationId),
  };
}

/** Everything that the application keeps there; harmless when it is gone. */
export async function removeState(storage: string, applicationId: string): Promise<void> {
  const directory = path.join(storage, STATE, applicationId);
  await rm(directory, { recursive: true, force: true });
  // The last application takes the folder of all with it.
  await rmdir(path.dirname(directory)).catch(() => undefined);
}

async function checkStorage(storage: string, bundle: string): Promise<void> {
  const status = await stat(path.join(storage, bundle)).catch((thrown: unknown) => thrown);
  if (status instanceof Error) {
    const isMissing = (status as NodeJS.ErrnoException).code === "ENOENT";
    throw unreachable(storage, isMissing ? "the job's bundle, which a master put there, is not in it" : status.message, status);
  }
}

function unreachable(storage: string, why: string, cause: unknown): CodedError {
  return new CodedError("CHECKPOINT_STORAGE", `The checkpoint storage ${storage} can't be used from ${os.hostname()}: ${why}.`, {
    hint: "Give the masters --storage s3://BUCKET/PREFIX, or --storage file:DIRECTORY, a directory that every machine of the cluster reaches under this path, or submit with --checkpoint-interval none.",
    details: { storage, host: os.hostname() },
    cause,
  });
}
