/**
 * A picture of a `KeyedTable` at a barrier, given out in pieces while the table goes on changing.
 *
 * Invariants:
 *   1. Each slot that was there (of a delta: that was dirty) is given once, with its value of the barrier; none that came later is.
 *   2. At most about MAX_EARLY_COPIES copies wait: past it the chain waits.
 */
import type { StateEntry } from "../keyed-state.js";
import { copyValue } from "./copy-value.js";
import type { EntryOf, Slot } from "./keyed-table.js";
import type { OpenSnapshot } from "./open-snapshot.js";

export const MAX_EARLY_COPIES = 16_384;

export interface TableSnapshotOptions {
  readonly isFull: boolean;
  /** Of the changes that come while it is open. */
  readonly epoch: number;
  readonly removed: readonly unknown[];
  readonly slots: Iterator<Slot>;
  readonly entryOf: EntryOf;
  /** The entry of a key that went. */
  readonly goneOf: (id: unknown) => StateEntry;
  readonly onClose: () => void;
}

export class TableSnapshot implements OpenSnapshot {
  readonly isFull: boolean;
  private readonly options: TableSnapshotOptions;
  private removedGiven = 0;
  /** Copies of slots that have changed since. */
  private early: StateEntry[] = [];
  private waiting: (() => void)[] = [];
  private closed = false;
  private failure: { readonly thrown: unknown } | null = null;

  constructor(options: TableSnapshotOptions) {
    this.options = options;
    this.isFull = options.isFull;
  }

  /** It was there at the barrier, and has not been given. Its stamp is not that of this epoch. */
  stillHolds({ stamp }: Slot): boolean {
    return this.isFull ? stamp !== -this.options.epoch : stamp > 0;
  }

  /** What a codec throws here is the checkpoint's failure, not that of the record that is about to change the slot. */
  keep({ id, value }: Slot): void {
    try {
      const entry = this.options.entryOf(id, value);
      this.early.push({ ...entry, value: copyValue(entry.value) });
    } catch (thrown) {
      this.failure ??= { thrown };
    }
  }

  get isCrowded(): boolean {
    return this.early.length >= MAX_EARLY_COPIES;
  }

  drained(): Promise<void> {
    return this.closed || !this.isCrowded ? Promise.resolve() : new Promise((resolve) => this.waiting.push(resolve));
  }

  take(limit: number): readonly StateEntry[] {
    if (this.failure !== null) throw this.failure.thrown;
    if (this.closed) return [];
    if (this.removedGiven < this.options.removed.length) return this.takeRemoved(limit);
    const entries = this.early.length > 0 ? this.early.splice(0, limit) : this.next(limit);
    if (!this.isCrowded) this.release();
    return entries;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.early = [];
    this.release();
    this.options.onClose();
  }

  private takeRemoved(limit: number): StateEntry[] {
    const { removed, goneOf } = this.options;
    const ids = removed.slice(this.removedGiven, this.removedGiven + limit);
    this.removedGiven += ids.length;
    return ids.map(goneOf);
  }

  private next(limit: number): StateEntry[] {
    const { slots, epoch, entryOf } = this.options;
    const entries: StateEntry[] = [];
    while (entries.length < limit) {
      const { value: slot, done } = slots.next();
      if (done === true) break;
      // Changed since: it was copied. Or it is new, and not in the picture.
      if (slot.stamp === epoch || slot.removed) continue;
      slot.stamp = -epoch;
      entries.push(entryOf(slot.id, slot.value));
    }
    return entries;
  }

  private release(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
