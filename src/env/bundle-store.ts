/**
 * Job bundles in the masters' storage, by folder and sha-256 (wire/bundles.ts). Put is durable and atomic: a bundle is there whole or not at all.
 */
export interface StoredBundle {
  /** Null: in the storage itself, where earlier releases kept them. */
  readonly folder: string | null;
  readonly sha256: string;
}

export interface BundleStore {
  /** Returns the sha-256 in hex. Putting the same bytes again is harmless. Rejects with DISK_FAILED, LIMIT_EXCEEDED. */
  put(folder: string, bytes: Uint8Array): Promise<string>;
  has(bundle: StoredBundle): Promise<boolean>;
  /** Rejects with NOT_FOUND, ARTIFACT_CORRUPT (the bytes do not have this sha-256). */
  get(bundle: StoredBundle): Promise<Uint8Array>;
  /** Names of the folders there are. Rejects with DISK_FAILED. */
  folders(): Promise<readonly string[]>;
  /** The sha-256 of all that is in a folder. Rejects with DISK_FAILED. */
  list(folder: string): Promise<readonly string[]>;
  /** Of a folder whose leader is none any more: what it had begun to put and will not end. A put that goes on all the same begins again. Rejects with DISK_FAILED. */
  removeUnfinished(folder: string): Promise<void>;
  /** Harmless when it is gone; an empty folder goes with its last bundle. Rejects with DISK_FAILED. */
  remove(bundle: StoredBundle): Promise<void>;
}
