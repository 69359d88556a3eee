/**
 * Tumbling and sliding windows: one accumulator for each key of each window.
 *
 * State is by window, then by key, so that a window is given and forgotten as a whole, in one pass. Each window has a table of its own, so its accumulators are written down
 * while they change, and what has not changed is not written again. In checkpoints an entry is a key with `[start, accumulator]`, or with `[start]`: it is gone from that window.
 *
 * Invariants:
 *   1. A window that is over is in `leaving` until a checkpoint that tells of it is complete.
 *   2. While changes are noted an accumulator is taken out of its table before it is handed on: a snapshot that still has to give it gives a copy.
 */
import type { WindowFunctions } from "../../../api/built.js";
import { MinHeap } from "../../../dataflow/time/min-heap.js";
import { dueAt, eachStartOf, type FixedWindows, lastStartOf, overAt, type TimeWindow } from "../../../dataflow/time/windows.js";
import type { Chain } from "../chain.js";
import type { ChainNode, Unit } from "../chain-nodes.js";
import type { StateEntry } from "../keyed-state.js";
import { type EntryOf, KeyedTable } from "../state/keyed-table.js";
import type { OpenSnapshot, SnapshotState } from "../state/open-snapshot.js";
import { JointSnapshot } from "./joint-snapshot.js";
import { WindowUnit } from "./window-results.js";

/** Accumulators of a window that is over, which go without a pause. */
const STEP_SLOTS = 1_024;

/** A window, and what it holds. */
interface Open {
  readonly window: TimeWindow;
  readonly table: KeyedTable;
  /** Of the keys that are objects, by id. */
  readonly objectKeys: Map<unknown, unknown>;
  /** Its results were given; what comes now changes them. */
  given: boolean;
  /** The watermark at which something is to be done with it. */
  at: number;
}

export class FixedWindowUnit extends WindowUnit implements Unit, SnapshotState {
  private readonly windows: FixedWindows;
  private readonly open = new Map<number, Open>();
  private readonly agenda = new MinHeap<Open>((open) => open.at);
  /** Where the last record went: the next one often goes there, too. */
  private latest: Open | null = null;
  private tracking = false;
  private leaving: Open[] = [];
  /** Of `leaving`, what the last snapshot told of. */
  private told: ReadonlySet<Open> = new Set();

  constructor(chain: Chain, node: ChainNode, functions: WindowFunctions, windows: FixedWindows) {
    super(chain, node, functions);
    this.windows = windows;
  }

  element(record: unknown, key: unknown, id: unknown): boolean {
    const timeMs = this.timeOf(record);
    let taken = false;
    if (this.windows.kind === "tumbling") taken = this.take(lastStartOf(this.windows, timeMs), record, key, id);
    else {
      eachStartOf(this.windows, timeMs, (start) => {
        if (this.take(start, record, key, id)) taken = true;
      });
    }
    if (!taken) this.late(record);
    return true;
  }

  async onWatermark(ms: number): Promise<void> {
    this.watermarkMs = ms;
    for (let least = this.agenda.least(); least !== null && least <= ms; least = this.agenda.least()) {
      const open = this.agenda.take();
      if (open !== undefined) await this.advance(open, ms);
    }
    await this.given();
  }

  get size(): number {
    let size = 0;
    for (const { table } of this.open.values()) size += table.slots.size;
    return size;
  }

  /** Also when more has gone than is there: then all is less than the changes. */
  get needsFull(): boolean {
    let removals = 0;
    for (const { table } of this.leaving) {
      if (table.needsFull) return true;
      removals += table.removals;
    }
    return removals > this.size;
  }

  track(): void {
    this.tracking = true;
    for (const { table } of this.open.values()) table.track();
  }

  settle(isComplete: boolean): void {
    const { told } = this;
    this.told = new Set();
    if (isComplete) this.leaving = this.leaving.filter((open) => !told.has(open));
    for (const { table } of this.leaving) table.settle(isComplete);
    for (const { table } of this.open.values()) table.settle(isComplete);
  }

  snapshot(isFull: boolean, maxParallelism: number): OpenSnapshot {
    const entryOf = this.entriesOf(maxParallelism);
    const parts = [...this.leaving, ...this.open.values()].map((open) => open.table.snapshot(isFull, ...rowsOf(open, entryOf)));
    this.told = new Set(this.leaving);
    return new JointSnapshot(isFull, parts);
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value } of entries) {
      const [start, ...accumulator] = value as readonly [number, unknown?];
      const id = this.rememberedId(key);
      if (accumulator.length === 0) {
        this.open.get(start)?.table.restoreRemoved(id);
        continue;
      }
      const open = this.open.get(start) ?? this.begin(start);
      this.remember(open, key, id);
      open.table.restore(id, accumulator[0]);
    }
  }

  /** Windows whose results were given, and which still take late records: told from the watermark of the checkpoint. */
  override startAt(ms: number): void {
    super.startAt(ms);
    this.agenda.clear();
    for (const open of this.open.values()) this.plan(open);
  }

  /** False: the window is over. */
  private take(start: number, record: unknown, key: unknown, id: unknown): boolean {
    let open = this.latest;
    if (open === null || open.window.start !== start) {
      const known = this.open.get(start);
      if (known === undefined && overAt(start + this.windows.sizeMs, this.latenessMs) <= this.watermarkMs) return false;
      open = known ?? this.begin(start);
      this.latest = open;
    }
    const { table } = open;
    const slot = table.slots.get(id);
    if (slot !== undefined) table.beforeChange(slot);
    const after = this.added(slot?.value, record, key);
    if (slot !== undefined) slot.value = after;
    else {
      this.remember(open, key, id);
      table.insert(id, after);
    }
    if (open.given) this.update(key, open.window, after);
    return true;
  }

  private remember({ objectKeys }: Open, key: unknown, id: unknown): void {
    if (typeof key === "object" && key !== null && !objectKeys.has(id)) objectKeys.set(id, key);
  }

  private begin(start: number): Open {
    const window = { start, end: start + this.windows.sizeMs };
    const table = new KeyedTable((drained) => this.chain.waitFor(drained));
    if (this.tracking) table.track();
    const open: Open = { window, table, objectKeys: new Map(), given: false, at: 0 };
    this.open.set(start, open);
    this.plan(open);
    return open;
  }

  private plan(open: Open): void {
    const { end } = open.window;
    open.given = dueAt(end) <= this.watermarkMs;
    open.at = open.given ? overAt(end, this.latenessMs) : dueAt(end);
    this.agenda.put(open);
  }

  private async advance(open: Open, ms: number): Promise<void> {
    const { window, table, objectKeys, given } = open;
    const isOver = overAt(window.end, this.latenessMs) <= ms;
    let count = 0;
    for (const slot of table.slots.values()) {
      const { id, value } = slot;
      if (isOver && this.tracking) table.remove(slot);
      if (!given) await this.give(objectKeys.get(id) ?? id, window, value);
      if (++count % STEP_SLOTS === 0) await this.pause();
    }
    if (!isOver) return this.plan(open);
    this.open.delete(window.start);
    if (this.latest === open) this.latest = null;
    if (!this.tracking) return;
    table.clear();
    this.leaving.push(open);
  }

  /** For as long as copies of what goes wait for a snapshot, and for the rest of the process when it is its turn. */
  private async pause(): Promise<void> {
    if (this.chain.stop) await this.chain.settle();
    await this.chain.breathe();
  }
}

/** Entries of one window: what is there is told with its accumulator, what is gone without. */
function rowsOf({ window, objectKeys }: Open, entryOf: EntryOf): [EntryOf, (id: unknown) => StateEntry] {
  const row = (id: unknown, value: unknown): StateEntry => ({ ...entryOf(id, value), key: objectKeys.get(id) ?? id });
  return [(id, value) => row(id, [window.start, value]), (id) => row(id, [window.start])];
}
