/**
 * The live keyed state of one operator's subtask: one mutable index of slots, which knows what has changed since the last checkpoint and can be written down
 * while it goes on changing.
 *
 * A slot's stamp says when it was last touched. Whoever is about to change a slot compares the stamp with `epoch` and calls `touch` when they differ, which is once a
 * key between two snapshots: noting changes costs a comparison a record. A snapshot begins a new epoch, and holds what was dirty before it, or all. A slot that
 * is touched before the snapshot has given it is copied first, so that the snapshot shows the moment of the barrier.
 *
 * Invariants:
 *   1. 0 < stamp: changed since the last snapshot that may count, and in `dirty` or in what is unsettled. stamp <= 0: not changed.
 *   2. What a snapshot held is dirty again unless its checkpoint is known to be complete (`settle`).
 *   3. A delta tells first which keys went and then which values are there: of a key that went and came back the value counts.
 */
import type { StateEntry } from "../keyed-state.js";
import { SlotIndex } from "./slot-index.js";
import { TableSnapshot } from "./table-snapshot.js";

/** Removals that are noted; more, and the next snapshot is full. Bounds what grows while no checkpoint completes. */
export const MAX_NOTED_REMOVALS = 262_144;

export class Slot {
  readonly id: unknown;
  value: unknown;
  stamp: number;
  removed = false;

  constructor(id: unknown, value: unknown, stamp: number) {
    this.id = id;
    this.value = value;
    this.stamp = stamp;
  }
}

/** What an entry of a checkpoint says of a slot. */
export type EntryOf = (id: unknown, value: unknown) => StateEntry;

/** Changes that no complete checkpoint holds. */
interface Changes {
  readonly dirty: readonly Slot[];
  readonly removed: readonly unknown[];
}

const NO_CHANGES: Changes = { dirty: [], removed: [] };

export class KeyedTable {
  readonly slots = new SlotIndex<Slot>();
  /** Read by generated code before each change. */
  epoch = 1;
  /** More copies wait than may: the chain is to stop after its record until `drained` resolves. */
  private readonly onCrowded: (drained: () => Promise<void>) => void;
  private tracking = false;
  /** When removals were more than are noted; 0: never since a full snapshot. */
  private overflownIn = 0;
  private dirty: Slot[] = [];
  private removed: unknown[] = [];
  /** What the last snapshot held, while it is not known whether its checkpoint counts. */
  private unsettled = NO_CHANGES;
  private open: TableSnapshot | null = null;

  constructor(onCrowded: (drained: () => Promise<void>) => void) {
    this.onCrowded = onCrowded;
  }

  get needsFull(): boolean {
    return this.overflownIn > 0;
  }

  /** Keys that went since the last snapshot that may count. */
  get removals(): number {
    return this.removed.length;
  }

  track(): void {
    this.tracking = true;
  }

  insert(id: unknown, value: unknown): Slot {
    const slot = new Slot(id, value, this.epoch);
    this.slots.put(slot);
    if (this.tracking) this.dirty.push(slot);
    return slot;
  }

  /** For whoever is not generated code: before a value is changed in place ... */
  beforeChange(slot: Slot): void {
    if (slot.stamp !== this.epoch) this.touch(slot);
  }

  /** ... and to put another one in its place. */
  set(id: unknown, value: unknown): void {
    const slot = this.slots.get(id);
    if (slot === undefined) {
      this.insert(id, value);
      return;
    }
    this.beforeChange(slot);
    slot.value = value;
  }

  /** The slot is about to change, for the first time in this epoch (its stamp is another one). */
  touch(slot: Slot): void {
    this.keep(slot);
    slot.stamp = this.epoch;
    this.dirty.push(slot);
  }

  remove(slot: Slot): void {
    if (slot.stamp !== this.epoch) this.keep(slot);
    slot.stamp = this.epoch;
    slot.removed = true;
    this.slots.delete(slot.id);
    if (!this.tracking) return;
    this.removed.push(slot.id);
    if (this.removed.length > MAX_NOTED_REMOVALS) this.overflow();
  }

  /** Everything goes and is not asked for again: the input has ended, or it is never in a checkpoint. */
  clear(): void {
    this.slots.clear();
    this.dirty = [];
  }

  /** So many are about to be restored. */
  expect(entries: number): void {
    this.slots.expect(entries);
  }

  restore(id: unknown, value: unknown): void {
    this.slots.put(new Slot(id, value, 0));
  }

  restoreRemoved(id: unknown): void {
    this.slots.delete(id);
  }

  settle(isComplete: boolean): void {
    this.open?.close();
    const { dirty, removed } = this.unsettled;
    this.unsettled = NO_CHANGES;
    if (isComplete) {
      // It was full if that had happened before it.
      if (this.overflownIn < this.epoch) this.overflownIn = 0;
      return;
    }
    const again = dirty.filter((slot) => slot.stamp !== this.epoch && !slot.removed);
    for (const slot of again) slot.stamp = this.epoch;
    this.dirty = again.concat(this.dirty);
    this.removed = removed.concat(this.removed);
  }

  snapshot(isFull: boolean, entryOf: EntryOf, goneOf = goneBy(entryOf)): TableSnapshot {
    this.settle(false);
    this.unsettled = { dirty: this.dirty, removed: this.removed };
    this.dirty = [];
    this.removed = [];
    this.epoch += 1;
    const { dirty, removed } = this.unsettled;
    const parts = isFull ? { removed: [], slots: this.slots.values() } : { removed, slots: dirty.values() };
    this.open = new TableSnapshot({
      isFull,
      epoch: this.epoch,
      entryOf,
      goneOf,
      ...parts,
      onClose: () => {
        this.open = null;
      },
    });
    return this.open;
  }

  private keep(slot: Slot): void {
    const { open } = this;
    if (open === null || !open.stillHolds(slot)) return;
    open.keep(slot);
    if (open.isCrowded) this.onCrowded(() => open.drained());
  }

  /** Changes are noted again from the next snapshot on, which is full. */
  private overflow(): void {
    this.overflownIn = this.epoch;
    this.removed = [];
    this.dirty = this.dirty.filter((slot) => !slot.removed);
  }
}

const goneBy =
  (entryOf: EntryOf) =>
  (id: unknown): StateEntry => ({ ...entryOf(id, undefined), value: undefined, removed: true });
