/**
 * A picture of a `DiskTable` at a barrier: all rows of the store, or those that the index of changes names.
 *
 * Invariant: each row is given once, also when it changed in several epochs: by the entry of the last of them.
 */
import type { ScratchPicture } from "../../../env/scratch-store.js";
import type { StateEntry } from "../keyed-state.js";
import { idOf, indexed, type StoredRow } from "./disk-keys.js";
import type { EntryOf } from "./keyed-table.js";
import type { OpenSnapshot } from "./open-snapshot.js";

/** Rows that are read ahead. */
const AHEAD_ROWS = 1_024;

export interface DiskSnapshotOptions {
  readonly isFull: boolean;
  readonly picture: ScratchPicture;
  /** Of rows, if it is full; else of the index. */
  readonly range: { readonly from: string; readonly to: string };
  /** From the value as the store has it. */
  readonly entryOf: EntryOf;
  readonly onClose: () => void;
}

export class DiskSnapshot implements OpenSnapshot {
  readonly isFull: boolean;
  private readonly options: DiskSnapshotOptions;
  private ahead: StateEntry[] = [];
  private isOver = false;
  private closed = false;

  constructor(options: DiskSnapshotOptions) {
    this.options = options;
    this.isFull = options.isFull;
  }

  /** Reads ahead until there is something to take, or nothing left. */
  async ready(): Promise<void> {
    const { picture, range } = this.options;
    while (this.ahead.length === 0 && !this.isOver && !this.closed) {
      const rows = await picture.next(range.from, range.to, AHEAD_ROWS);
      if (rows.length === 0) this.isOver = true;
      else this.ahead = this.isFull ? this.entriesOf(rows) : await this.changed(rows.map(([key]) => key));
    }
  }

  take(limit: number): readonly StateEntry[] {
    return this.closed ? [] : this.ahead.splice(0, limit);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.ahead = [];
    // A picture of a store that is closed or broken is gone already.
    this.options.picture.close().catch(() => undefined);
    this.options.onClose();
  }

  private async changed(keys: readonly string[]): Promise<StateEntry[]> {
    const places = keys.map(indexed);
    const rows = await this.options.picture.getMany(places.map(({ row }) => row));
    const last = places.flatMap(({ row, epoch }, at) => {
      const stored = rows[at] as StoredRow | undefined;
      return stored?.[0] === epoch ? [[row, stored] as const] : [];
    });
    return this.entriesOf(last);
  }

  private entriesOf(rows: readonly (readonly [string, unknown])[]): StateEntry[] {
    return rows.map(([key, row]) => this.options.entryOf(idOf(key), (row as StoredRow)[1]));
  }
}
