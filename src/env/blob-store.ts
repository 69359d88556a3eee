/** Content-addressed bytes (job bundles now, state later). Put is durable and atomic: a blob is there whole or not at all. */
export interface BlobStore {
  /** Returns the sha-256 in hex. Putting the same bytes again is harmless. Rejects with DISK_FAILED, LIMIT_EXCEEDED. */
  put(bytes: Uint8Array): Promise<string>;
  has(sha256: string): Promise<boolean>;
  /** Rejects with NOT_FOUND, ARTIFACT_CORRUPT (the bytes do not have this sha-256). */
  get(sha256: string): Promise<Uint8Array>;
}
