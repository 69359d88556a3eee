/** Files of savepoints: each in a directory of its own, by names relative to it, so that a copy of the directory is the savepoint, too. */
export interface SavepointFiles {
  /** Makes a directory of this name below `parent`, and what is missing above; harmless when it is there. Gives its path. Rejects with DISK_FAILED. */
  create(parent: string, name: string): Promise<string>;
  /** Durable, and there whole or not at all, when it resolves. Rejects with DISK_FAILED. */
  write(directory: string, name: string, bytes: Uint8Array): Promise<void>;
  /** Rejects with NOT_FOUND or DISK_FAILED. */
  read(directory: string, name: string): Promise<Uint8Array>;
}
