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
import { bundleDirectory, foldersOf } from "./bundle-store.js";

const STATE = "state";

export interface StateStoreOptions {
  /** Directory of the masters' blobs. */
  readonly storage: string;
  readonly applicationId: string;
  /** sha-256 of the job's bundle. */
  readonly bundle: string;
  /** Of the bundle, as the application's record says; absent: it is looked for (a driver in client mode has no record yet). */
  readonly bundleFolder?: string;
}

/** Rejects with CHECKPOINT_STORAGE when this process can't reach the storage, or may not write there. */
export async function openStateStore(options: StateStoreOptions): Promise<StateStore> {
  const { storage, applicationId } = options;
  await checkStorage(options);
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

async function checkStorage({ storage, bundle, bundleFolder }: StateStoreOptions): Promise<void> {
  const folders = bundleFolder === undefined ? [null, ...(await foldersOf(storage))] : [bundleFolder];
  let why: Error | null = null;
  for (const folder of folders) {
    const status = await stat(path.join(bundleDirectory(storage, folder), bundle)).catch((thrown: unknown) => thrown);
    if (!(status instanceof Error)) return;
    if ((status as NodeJS.ErrnoException).code !== "ENOENT") why = status;
  }
  throw unreachable(storage, why?.message ?? "the job's bundle, which a master put there, is not in it", why);
}

function unreachable(storage: string, why: string, cause: unknown): CodedError {
  return new CodedError("CHECKPOINT_STORAGE", `The checkpoint storage ${storage} can't be used from ${os.hostname()}: ${why}.`, {
    hint: "Give the masters --storage s3://BUCKET/PREFIX, or --storage file:DIRECTORY, a directory that every machine of the cluster reaches under this path, or submit with --checkpoint-interval none.",
    details: { storage, host: os.hostname() },
    cause,
  });
}
