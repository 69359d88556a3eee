/** Content-addressed bytes (job bundles now, state later). Put is durable and atomic: a blob is there whole or not at all. */
export interface BlobStore {
  /** Returns the sha-256 in hex. Putting the same bytes again is harmless. Rejects with DISK_FAILED, LIMIT_EXCEEDED. */
  put(bytes: Uint8Array): Promise<string>;
  has(sha256: string): Promise<boolean>;
  /** Rejects with NOT_FOUND, ARTIFACT_CORRUPT (the bytes do not have this sha-256). */
  get(sha256: string): Promise<Uint8Array>;
}

/** Names bytes; kept in records and manifests. */
export interface BlobHandle {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** State of one application: blobs that are removed by name, or all together with the application. */
export interface StateStore {
  /** Durable when it resolves. Rejects with DISK_FAILED. */
  put(bytes: Uint8Array): Promise<BlobHandle>;
  /** Rejects with CHECKPOINT_UNREADABLE when it is not there or damaged, with DISK_FAILED when that can't be told. */
  get(handle: BlobHandle): Promise<Uint8Array>;
  /** All that is there, in no order. Rejects with DISK_FAILED. */
  list(): Promise<readonly BlobHandle[]>;
  /** Harmless when it is gone. */
  remove(handle: BlobHandle): Promise<void>;
  removeAll(): Promise<void>;
}
