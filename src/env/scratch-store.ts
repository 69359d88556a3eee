/**
 * Room on disk for what doesn't fit into memory, of one try of one executor. It is never the truth: nothing of it is synced, and nothing of it is read by anybody later.
 *
 * What was written is found by `get` as soon as `write` has resolved. Everything rejects (and `get` throws) with DISK_FAILED, which names operator and directory.
 */

/** Values are what the structured clone algorithm copies; they come back as copies. */
export type ScratchRow = readonly [key: string, value: unknown];

export interface ScratchChanges {
  readonly removed: readonly string[];
  /** Counts where a key is in both. */
  readonly rows: readonly ScratchRow[];
}

export interface ScratchStore {
  /** Undefined: not there. Synchronous, so that it can stand in a loop over records. */
  get(key: string): unknown;
  /** All or nothing. Resolves with the bytes of the values. */
  write(changes: ScratchChanges): Promise<number>;
  /** Removes all keys with from <= key < to. */
  clear(from: string, to: string): Promise<void>;
  /** Of this moment: later writes don't reach it. To be closed. */
  picture(): ScratchPicture;
}

export interface ScratchPicture {
  /** The next rows with from <= key < to, `limit` at most; none: it is at its end. One scan a picture. */
  next(from: string, to: string, limit: number): Promise<readonly ScratchRow[]>;
  /** In the order of the keys. */
  getMany(keys: readonly string[]): Promise<readonly unknown[]>;
  close(): Promise<void>;
}

export interface ScratchStores {
  /** An empty one. `owner`: the operator, for messages. */
  open(owner: string): Promise<ScratchStore>;
  /** Closes all and removes what they wrote. Never rejects, and may be called again. */
  close(): Promise<void>;
}
