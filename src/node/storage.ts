/** The masters' storage by its name in records: a directory, or `s3://bucket/prefix`. */
import type { StateStore } from "../env/blob-store.js";
import type { BundleStore } from "../env/bundle-store.js";
import { createFileBundles } from "./files/bundle-store.js";
import {
  openStateStore as openFileStateStore,
  removeState as removeFileState,
  type StateStoreOptions,
} from "./files/state-store.js";
import { openS3StateStore, removeS3State } from "./s3/s3-blob-store.js";
import { createS3Bundles } from "./s3/s3-bundle-store.js";
import { isS3Url } from "./s3/s3-url.js";

/** Rejects with DISK_FAILED, INVALID_ARGUMENT. A directory is made when it is missing; a bucket is not. */
export function createBundleStore(storage: string): Promise<BundleStore & { close?(): void }> {
  return isS3Url(storage) ? createS3Bundles(storage) : createFileBundles(storage);
}

/** Everything that the application keeps there; harmless when it is gone. Rejects with DISK_FAILED. */
export function removeState(storage: string, applicationId: string): Promise<void> {
  return isS3Url(storage) ? removeS3State(storage, applicationId) : removeFileState(storage, applicationId);
}

/** Rejects with CHECKPOINT_STORAGE when this process can't reach the storage, or may not write there. */
export function openStateStore(options: StateStoreOptions): Promise<StateStore> {
  return isS3Url(options.storage) ? openS3StateStore(options) : openFileStateStore(options);
}
