/**
 * process: a handler with keyed state, timers and side outputs.
 *
 * Generated code calls `element` and then empties `outputs` (the main output first, then each consumed side output). State is one table of rows by key id; a row
 * has one slot for each declared state. A handler may change whatever it sees of its key, so a key counts as changed when its handler is called.
 */
import type { ProcessFunctions } from "../../api/built.js";
import type { ProcessContext } from "../../api/context.js";
import { CodedError } from "../../base/errors.js";
import { BEGINNING, END_OF_TIME } from "../../dataflow/time/watermarks.js";
import type { Clock } from "../../env/clock.js";
import type { OpenDisk } from "./aggregate-unit.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable, Unit } from "./chain-nodes.js";
import type { StateEntry, StateLayout } from "./keyed-state.js";
import { KeyedUnit } from "./keyed-unit.js";
import { KEY, RESULT } from "./stages.js";
import { DiskTable } from "./state/disk-table.js";
import { KeyedTable, type Slot } from "./state/keyed-table.js";
import type { OpenSnapshot, SnapshotState } from "./state/open-snapshot.js";
import { plainState } from "./state/plain-state.js";
import { RowFormat } from "./state/row-format.js";
import { createHandles, type StateCursor, type StateRow } from "./state-handles.js";
import { isThenable, iteratorOf } from "./thenable.js";
import { type KeyedTimer, noTimers, ProcessTimers } from "./time/process-timers.js";

const UNKEYED: unique symbol = Symbol("no key");

/** A key of a process with timers, in a checkpoint; without timers it is its row alone. */
interface TimedRow {
  readonly row: StateRow;
  readonly event: readonly number[];
  readonly processing: readonly number[];
}

/** Rows that one sweep looks at, and how often one comes: what has expired and is not asked for goes then. */
export const SWEEP_ROWS = 1_000;
export const SWEEP_EVERY_MS = 100;

export class ProcessUnit extends KeyedUnit implements Unit, SnapshotState {
  readonly outputs: readonly unknown[][];
  readonly table: KeyedTable | DiskTable;
  readonly makeRoom: (() => Promise<void>) | undefined;
  /** Null: it has no `onTimer`. */
  readonly timers: ProcessTimers | null;
  private readonly functions: ProcessFunctions;
  private readonly cursor: StateCursor = { row: [] };
  private readonly slots: number;
  private readonly rows: RowFormat;
  private readonly clock: Clock;
  private sweeping: Iterator<Slot> | null = null;
  private sweepAt: number | null = null;
  private readonly handlerContext: { -readonly [P in keyof ProcessContext]: ProcessContext[P] };
  private readonly out: { emit(record: unknown): void; side(tag: string, record: unknown): void };

  /** `openDisk`: where state goes that has no room in memory; null: it stays there. Jobs with timers or times to live have none. */
  constructor(chain: Chain, node: ChainNode, functions: ProcessFunctions, clock: Clock, openDisk: OpenDisk | null) {
    super(chain, node, functions.key);
    this.functions = functions;
    this.slots = Object.keys(functions.state).length;
    this.clock = clock;
    this.rows = new RowFormat(node.spec.uid, functions.state, () => clock.wallNow());
    if (openDisk === null) this.table = new KeyedTable((drained) => chain.waitFor(drained));
    else {
      const table = this.diskTable(openDisk);
      this.table = table;
      this.makeRoom = () => table.makeRoom();
    }
    const { eventTime } = (node.spec.config ?? {}) as { readonly eventTime?: boolean };
    this.timers = functions.onTimer === null ? null : new ProcessTimers(clock, eventTime === true);
    this.handlerContext = {
      ...node.context,
      key: undefined,
      state: createHandles(functions.state, this.cursor, () => clock.wallNow()),
      timers: this.timers?.handle ?? noTimers,
      watermark: BEGINNING,
    };
    const main: unknown[] = [];
    const sides = new Map(node.sides.map((outlet) => [outlet.side, [] as unknown[]]));
    this.outputs = [main, ...sides.values()];
    this.out = {
      emit: (record) => void main.push(record),
      // Side outputs that nobody consumes are dropped.
      side: (tag, record) => void sides.get(tag)?.push(record),
    };
  }

  /** True: `outputs` hold what the record gave. False: the record was deferred. */
  element(record: unknown, key: unknown, id: unknown): boolean {
    this.enter(key, id);
    return this.accept(this.functions.onElement(record, this.handlerContext, this.out));
  }

  async resume({ stage, record, value }: Deferred): Promise<void> {
    const { chain, node } = this;
    if (stage === KEY) {
      const key = await chain.result(node, value);
      const done = await this.guarded(() => this.element(record, key, this.rememberedId(key)));
      if (done) await this.emitOutputs();
      return;
    }
    const result = stage === RESULT ? await chain.result(node, value) : value;
    await this.emitOutputs();
    await this.emitReturned(result);
  }

  get size(): number {
    return this.table.slots.size;
  }

  get needsFull(): boolean {
    return this.table.needsFull;
  }

  get layout(): StateLayout {
    return this.rows.layout;
  }

  track(): void {
    this.table.track();
  }

  settle(isComplete: boolean): void {
    this.table.settle(isComplete);
  }

  snapshot(isFull: boolean, maxParallelism: number): OpenSnapshot {
    const { timers, rows } = this;
    const entryOf = this.entriesOf(maxParallelism);
    return this.table.snapshot(isFull, (id, value) => {
      const row = value === undefined ? undefined : rows.written(value as StateRow);
      return entryOf(id, timers === null || row === undefined ? row : { row, ...timers.of(id) });
    });
  }

  expect(entries: number): void {
    this.table.expect(entries);
  }

  restore(entries: Iterable<StateEntry>, layout: StateLayout | null): void {
    for (const { key, value, removed } of entries) {
      const id = this.rememberedId(key);
      // An entry that comes later counts alone, also its timers.
      this.timers?.forget(id);
      if (removed === true) {
        this.table.restoreRemoved(id);
        continue;
      }
      const timed = Array.isArray(value) ? null : (value as TimedRow);
      this.table.restore(id, this.rows.read(timed?.row ?? (value as StateRow), layout ?? this.layout));
      if (timed !== null) this.timers?.restore(id, timed);
    }
  }

  startAt(ms: number): void {
    this.handlerContext.watermark = ms;
  }

  async onWatermark(ms: number): Promise<void> {
    this.handlerContext.watermark = ms;
    await this.fire(() => this.timers?.takeEvent(ms) ?? null);
  }

  nextClockAt(): number | null {
    const timerAt = this.timers?.nextProcessing() ?? null;
    const sweepAt = this.nextSweepAt(this.clock.wallNow());
    if (sweepAt === null) return timerAt;
    return timerAt === null ? sweepAt : Math.min(timerAt, sweepAt);
  }

  async onClock(wallMs: number): Promise<void> {
    const sweepAt = this.nextSweepAt(wallMs);
    if (sweepAt !== null && wallMs >= sweepAt) this.sweep();
    await this.fireClock(wallMs);
  }

  async beforeBarrier(): Promise<void> {
    if (this.table instanceof DiskTable) await this.table.flush();
  }

  async end(): Promise<void> {
    // Timers that are set from here on would never come.
    this.timers?.close();
    await this.onWatermark(END_OF_TIME);
    await this.fireClock(END_OF_TIME);
    const { onEnd } = this.functions;
    if (onEnd !== null) {
      if (this.key === null) await this.endOf(UNKEYED, undefined, onEnd);
      const { table } = this;
      if (table instanceof DiskTable) for await (const some of table.all()) await this.endOfAll(some, onEnd);
      else await this.endOfAll(table.slots.values(), onEnd);
    }
    this.table.clear();
    this.forgetKeys();
  }

  protected resumable(): Resumable {
    return this;
  }

  private async endOfAll(some: Iterable<{ readonly id: unknown }>, onEnd: NonNullable<ProcessFunctions["onEnd"]>): Promise<void> {
    for (const { id } of some) {
      await this.endOf(id, this.keyOf(id), onEnd);
      await this.chain.breathe();
    }
  }

  private async endOf(id: unknown, key: unknown, onEnd: NonNullable<ProcessFunctions["onEnd"]>): Promise<void> {
    await this.call(id, key, () => onEnd(key, this.handlerContext, this.out));
  }

  /** Rows there are as a checkpoint holds them. */
  private diskTable(open: OpenDisk): DiskTable {
    const { chain, node, rows } = this;
    return new DiskTable({
      open,
      onCrowded: (relieved) => chain.waitFor(relieved),
      pack: (row) => rows.written(row as StateRow).map((value) => plainState(node.spec.uid, value)),
      unpack: (row) => rows.read(row as StateRow, rows.layout),
    });
  }

  /** Null: nothing can expire. */
  private nextSweepAt(wallMs: number): number | null {
    if (!this.rows.expires || this.size === 0) return null;
    this.sweepAt ??= wallMs + SWEEP_EVERY_MS;
    return this.sweepAt;
  }

  /** Looks at the next rows: what has expired is dropped, and rows of which nothing is left. */
  private sweep(): void {
    this.sweepAt = null;
    // What can expire is not on disk.
    if (this.table instanceof DiskTable) return;
    this.sweeping ??= this.table.slots.values();
    for (let i = 0; i < SWEEP_ROWS; i++) {
      const { value: slot, done } = this.sweeping.next();
      if (done === true) {
        this.sweeping = null;
        return;
      }
      const row = slot.value as StateRow;
      if (!this.rows.hasExpired(row)) continue;
      this.table.beforeChange(slot);
      if (this.rows.sweep(row) && this.timers?.has(slot.id) !== true) this.table.remove(slot);
    }
  }

  private async fireClock(wallMs: number): Promise<void> {
    await this.fire(() => this.timers?.takeProcessing(wallMs) ?? null);
  }

  private async fire(take: () => KeyedTimer | null): Promise<void> {
    const { timers, table } = this;
    const { onTimer } = this.functions;
    if (onTimer === null || timers === null) return;
    for (let due = take(); due !== null; due = take()) {
      // A snapshot that still has to give the key gives it with this timer.
      const slot = table.slots.get(due.id);
      if (slot !== undefined) timers.asBefore(due, () => table.beforeChange(slot));
      const { id, timer } = due;
      await this.call(id, this.keyOf(id), () => onTimer(timer, this.handlerContext, this.out));
      await this.chain.breathe();
    }
  }

  /** A handler that no record leads to. */
  private async call(id: unknown, key: unknown, run: () => unknown): Promise<void> {
    const done = await this.guarded(() => {
      this.enter(key, id);
      return this.accept(run());
    });
    if (done) await this.emitOutputs();
    await this.chain.settle();
  }

  /** Makes the handles show the state of this key. */
  private enter(key: unknown, id: unknown): void {
    if (this.key === null) return;
    const { table } = this;
    let slot = table.slots.get(id);
    if (slot === undefined) slot = table.insert(id, new Array(this.slots).fill(undefined));
    else if (slot.stamp !== table.epoch) table.touch(slot);
    this.cursor.row = slot.value as StateRow;
    this.timers?.enter(id);
    this.handlerContext.key = key;
  }

  /** What a handler returned: nothing, records to emit, or something to wait for. */
  private accept(returned: unknown): boolean {
    if (returned === undefined || returned === null) return true;
    if (Array.isArray(returned)) {
      for (const record of returned) this.out.emit(record);
      return true;
    }
    this.chain.defer(this, isThenable(returned) ? RESULT : RESULT + 10, undefined, returned, undefined);
    return false;
  }

  private async emitReturned(returned: unknown): Promise<void> {
    const { chain, node } = this;
    if (returned === undefined || returned === null) return;
    const iterator = iteratorOf(returned);
    if (iterator === null) {
      throw new CodedError("OPERATOR_FAILED", `Operator '${node.spec.uid}' failed: its handler returned a ${typeof returned}.`, {
        hint: "Return an array (or another iterable) of records, or nothing and use out.emit.",
        details: { operator: node.spec.uid },
      });
    }
    for (;;) {
      const next = (await chain.result(
        node,
        this.guarded(() => iterator.next()),
      )) as IteratorResult<unknown>;
      await this.emitOutputs();
      if (next.done === true) return;
      await chain.emit(node.main, next.value);
      await chain.breathe();
    }
  }

  /** Copies before emitting: what is emitted may lead to calls that fill the buffers again. */
  private async emitOutputs(): Promise<void> {
    for (const [index, buffer] of this.outputs.entries()) {
      if (buffer.length === 0) continue;
      const outlet = index === 0 ? this.node.main : this.node.sides[index - 1];
      const records = buffer.splice(0);
      if (outlet !== undefined) await this.chain.emitBatch(outlet, records, records.length);
    }
  }

  private async guarded<T>(run: () => T): Promise<T> {
    try {
      return run();
    } catch (thrown) {
      throw this.chain.failed(this.node.index, thrown);
    }
  }
}
