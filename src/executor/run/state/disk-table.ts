/**
 * The live keyed state of one operator's subtask, of which only a bounded number of slots is in memory: a cache over a scratch store. For jobs that choose
 * `state: "disk"`; to units and generated code it looks like a `KeyedTable`.
 *
 * Memory is two generations. What is asked for is in the young one; when that is full the chain stops after its record, the changed slots of the old
 * generation are written, then they go, and the young one becomes the old one. A barrier writes what has changed and takes a picture of the store, so a snapshot needs no copies. With a
 * changed row goes an entry in an index by epoch: changes since the last complete checkpoint are a range of it, however many keys there are.
 *
 * Invariants:
 *   1. A slot leaves memory only when the store has its value. The slot that was asked for last stays: user code may still change its value.
 *   2. stamp WRITTEN: the store has it as it is. RESTORED: not written yet, not changed either. Else the epoch in which it changed: not written yet.
 *   3. While slots are written no record is in work: the chain waits.
 *   4. A row that changed in an epoch after `settled` has an index entry of that epoch, from its write on.
 */
import { CodedError } from "../../../base/errors.js";
import type { ScratchStore } from "../../../env/scratch-store.js";
import { ALL_INDEX_ROWS, ALL_ROWS, idOf, indexBound, indexKey, rowKey, type StoredRow } from "./disk-keys.js";
import { DiskSnapshot } from "./disk-snapshot.js";
import { type EntryOf, Slot } from "./keyed-table.js";
import type { OpenSnapshot } from "./open-snapshot.js";

/** Slots in memory: twice as many as a generation holds. Fewer when they are large: about HOT_BYTES, as they are written. */
export const MAX_HOT_SLOTS = 65_536;
export const HOT_BYTES = 16 * 1024 * 1024;
/** Until it is known how large slots are. */
const FIRST_HOT_SLOTS = 4_096;
const MIN_HOT_SLOTS = 64;
/** Written or read in one go. */
const STEP_SLOTS = 1_024;

const WRITTEN = 0;
const RESTORED = -1;

export interface DiskTableOptions {
  /** Called when something has to be written for the first time. */
  readonly open: () => Promise<ScratchStore>;
  /** More slots are in memory than may: the chain is to stop after its record until the promise resolves. */
  readonly onCrowded: (relieved: () => Promise<void>) => void;
  /** As the store holds a value, and back. */
  readonly pack: (value: unknown) => unknown;
  readonly unpack: (packed: unknown) => unknown;
  /** Default: by the sizes of the slots. */
  readonly hotSlots?: number;
}

export class DiskTable {
  /** Generated code looks slots up here. */
  readonly slots = this;
  /** Read by generated code before each change. */
  epoch = 1;
  readonly needsFull = false;
  private readonly options: DiskTableOptions;
  private young = new Map<unknown, Slot>();
  private old = new Map<unknown, Slot>();
  private hotSlots: number;
  private store: ScratchStore | null = null;
  private tracking = false;
  private isCrowded = false;
  /** Something may have changed since everything was written. */
  private isChanged = false;
  private removed: string[] = [];
  /** What changed up to this epoch is in a complete checkpoint; and up to which the index is cleared. */
  private settled = 0;
  private cleared = 0;
  /** The epoch that the last snapshot ended, while it is not known whether its checkpoint counts. */
  private unsettled = 0;
  private open: DiskSnapshot | null = null;

  constructor(options: DiskTableOptions) {
    this.options = options;
    this.hotSlots = options.hotSlots ?? FIRST_HOT_SLOTS;
  }

  /** Slots in memory. */
  get size(): number {
    return this.young.size + this.old.size;
  }

  get(id: unknown): Slot | undefined {
    const young = this.young.get(id);
    if (young !== undefined) return young;
    const slot = this.old.get(id) ?? this.load(id);
    if (slot !== undefined) this.admit(slot);
    return slot;
  }

  has(id: unknown): boolean {
    return this.get(id) !== undefined;
  }

  track(): void {
    this.tracking = true;
  }

  /** It is not there yet. */
  insert(id: unknown, value: unknown): Slot {
    const slot = new Slot(id, value, this.epoch);
    this.isChanged = true;
    this.admit(slot);
    return slot;
  }

  beforeChange(slot: Slot): void {
    if (slot.stamp !== this.epoch) this.touch(slot);
  }

  set(id: unknown, value: unknown): void {
    const slot = this.get(id);
    if (slot === undefined) {
      this.insert(id, value);
      return;
    }
    this.beforeChange(slot);
    slot.value = value;
  }

  touch(slot: Slot): void {
    slot.stamp = this.epoch;
    this.isChanged = true;
  }

  /** The store makes its own room. */
  expect(_entries: number): void {}

  /** Before the first record; `makeRoom` is to be awaited now and then. */
  restore(id: unknown, value: unknown): void {
    this.old.delete(id);
    this.young.set(id, new Slot(id, value, RESTORED));
    this.isChanged = true;
  }

  restoreRemoved(id: unknown): void {
    this.young.delete(id);
    this.old.delete(id);
    this.removed.push(rowKey(id));
  }

  async makeRoom(): Promise<void> {
    if (this.removed.length > 0) await this.writeSlots([]);
    if (this.young.size > this.hotSlots / 2) await this.relieve();
  }

  /** Everything is in the store from here on, and changes only when records come. Before a snapshot. */
  async flush(): Promise<void> {
    const store = await this.opened();
    if (this.cleared < this.settled) {
      await store.clear(ALL_INDEX_ROWS.from, indexBound(this.settled + 1));
      this.cleared = this.settled;
    }
    await this.write(this.old.values());
    await this.write(this.young.values());
    this.isChanged = false;
  }

  settle(isComplete: boolean): void {
    this.open?.close();
    if (isComplete) this.settled = Math.max(this.settled, this.unsettled);
    this.unsettled = 0;
  }

  /** Right after a `flush`. */
  snapshot(isFull: boolean, entryOf: EntryOf): OpenSnapshot {
    this.settle(false);
    if (this.isChanged || this.store === null) throw new CodedError("INTERNAL", "invariant broken: state on disk was not written");
    this.unsettled = this.epoch;
    this.epoch += 1;
    this.open = new DiskSnapshot({
      isFull,
      picture: this.store.picture(),
      range: isFull ? ALL_ROWS : { from: indexBound(this.settled + 1), to: indexBound(this.epoch) },
      entryOf: (id, packed) => entryOf(id, this.options.unpack(packed)),
      onClose: () => {
        this.open = null;
      },
    });
    return this.open;
  }

  /** All ids with their values, in no order; what changes meanwhile is not seen. */
  async *all(): AsyncIterable<readonly { readonly id: unknown; readonly value: unknown }[]> {
    await this.flush();
    const picture = (await this.opened()).picture();
    try {
      for (;;) {
        const rows = await picture.next(ALL_ROWS.from, ALL_ROWS.to, STEP_SLOTS);
        if (rows.length === 0) return;
        yield rows.map(([key, row]) => ({ id: idOf(key), value: this.options.unpack((row as StoredRow)[1]) }));
      }
    } finally {
      await picture.close();
    }
  }

  /** Nothing is asked for again. */
  clear(): void {
    this.young.clear();
    this.old.clear();
  }

  private load(id: unknown): Slot | undefined {
    const row = this.store?.get(rowKey(id)) as StoredRow | undefined;
    return row === undefined ? undefined : new Slot(id, this.options.unpack(row[1]), WRITTEN);
  }

  private admit(slot: Slot): void {
    this.old.delete(slot.id);
    this.young.set(slot.id, slot);
    if (this.isCrowded || this.young.size <= this.hotSlots / 2) return;
    this.isCrowded = true;
    this.options.onCrowded(() => (this.isCrowded ? this.relieve() : Promise.resolve()));
  }

  private async relieve(): Promise<void> {
    await this.write(this.old.values());
    this.old = this.young;
    this.young = new Map();
    this.isCrowded = false;
  }

  private async write(slots: Iterable<Slot>): Promise<void> {
    let some: Slot[] = [];
    for (const slot of slots) {
      if (slot.stamp === WRITTEN) continue;
      some.push(slot);
      if (some.length < STEP_SLOTS) continue;
      await this.writeSlots(some);
      some = [];
    }
    if (some.length > 0) await this.writeSlots(some);
  }

  private async writeSlots(slots: readonly Slot[]): Promise<void> {
    const store = await this.opened();
    const rows = slots.map(({ id, value, stamp }) => [rowKey(id), [Math.max(0, stamp), this.options.pack(value)]] as const);
    const index = this.tracking
      ? slots.filter(({ stamp }) => stamp > 0).map(({ id, stamp }) => [indexKey(stamp, id), null] as const)
      : [];
    const { removed } = this;
    this.removed = [];
    const bytes = await store.write({ removed, rows: [...rows, ...index] });
    for (const slot of slots) slot.stamp = WRITTEN;
    if (this.options.hotSlots === undefined && slots.length > 0) this.hotSlots = hotSlotsFor(bytes / slots.length);
  }

  private async opened(): Promise<ScratchStore> {
    this.store ??= await this.options.open();
    return this.store;
  }
}

function hotSlotsFor(slotBytes: number): number {
  return Math.max(MIN_HOT_SLOTS, Math.min(MAX_HOT_SLOTS, Math.floor(HOT_BYTES / Math.max(1, slotBytes))));
}
