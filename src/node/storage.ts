/** The masters' storage by its name in records: a directory, or `s3://bucket/prefix`. */
import type { BlobStore, StateStore } from "../env/blob-store.js";
import { createFileBlobStore } from "./files/blob-store.js";
import { openStateStore as openFileStateStore, type StateStoreOptions } from "./files/state-store.js";
import { createS3BlobStore, openS3StateStore } from "./s3/s3-blob-store.js";
import { isS3Url } from "./s3/s3-url.js";

/** Rejects with DISK_FAILED, INVALID_ARGUMENT. A directory is made when it is missing; a bucket is not. */
export function createBlobStore(storage: string): Promise<BlobStore & { close?(): void }> {
  return isS3Url(storage) ? createS3BlobStore(storage) : createFileBlobStore(storage);
}

/** Rejects with CHECKPOINT_STORAGE when this process can't reach the storage, or may not write there. */
export function openStateStore(options: StateStoreOptions): Promise<StateStore> {
  return isS3Url(options.storage) ? openS3StateStore(options) : openFileStateStore(options);
}
