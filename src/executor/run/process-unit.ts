/**
 * process: a handler with keyed state, timers and side outputs.
 *
 * Generated code calls `element` and then empties `outputs` (the main output first, then each consumed side output). State is one Map of
 * rows by key id; a row has one slot for each declared state.
 */
import type { ProcessFunctions } from "../../api/built.js";
import type { ProcessContext } from "../../api/context.js";
import { CodedError } from "../../base/errors.js";
import { BEGINNING, END_OF_TIME } from "../../dataflow/time/watermarks.js";
import type { Clock } from "../../env/clock.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable, Unit } from "./chain-nodes.js";
import { type KeyedState, type StateEntry, stateEntries } from "./keyed-state.js";
import { KeyedUnit } from "./keyed-unit.js";
import { KEY, RESULT } from "./stages.js";
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

export class ProcessUnit extends KeyedUnit implements Unit, KeyedState {
  readonly outputs: readonly unknown[][];
  readonly state = new Map<unknown, StateRow>();
  /** Null: it has no `onTimer`. */
  readonly timers: ProcessTimers | null;
  private readonly functions: ProcessFunctions;
  private readonly cursor: StateCursor = { row: [] };
  private readonly slots: number;
  private readonly handlerContext: { -readonly [P in keyof ProcessContext]: ProcessContext[P] };
  private readonly out: { emit(record: unknown): void; side(tag: string, record: unknown): void };

  constructor(chain: Chain, node: ChainNode, functions: ProcessFunctions, clock: Clock) {
    super(chain, node, functions.key);
    this.functions = functions;
    this.slots = Object.keys(functions.state).length;
    const { eventTime } = (node.spec.config ?? {}) as { readonly eventTime?: boolean };
    this.timers = functions.onTimer === null ? null : new ProcessTimers(clock, eventTime === true);
    this.handlerContext = {
      ...node.context,
      key: undefined,
      state: createHandles(functions.state, this.cursor),
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
    return this.state.size;
  }

  *entries(maxParallelism: number): Iterable<StateEntry> {
    const { timers } = this;
    const rows = stateEntries(this.state, (id) => id, maxParallelism);
    for (const { keyGroup, key: id, value } of rows)
      yield { keyGroup, key: this.keyOf(id), value: timers === null ? value : { row: value, ...timers.of(id) } };
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value } of entries) {
      const id = this.rememberedId(key);
      const row = Array.isArray(value) ? (value as StateRow) : (value as TimedRow).row;
      this.state.set(id, [...row]);
      if (!Array.isArray(value)) this.timers?.restore(id, value as TimedRow);
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
    return this.timers?.nextProcessing() ?? null;
  }

  async onClock(wallMs: number): Promise<void> {
    await this.fire(() => this.timers?.takeProcessing(wallMs) ?? null);
  }

  async end(): Promise<void> {
    // Timers that are set from here on would never come.
    this.timers?.close();
    await this.onWatermark(END_OF_TIME);
    await this.onClock(END_OF_TIME);
    const { onEnd } = this.functions;
    if (onEnd !== null) {
      if (this.key === null) await this.endOf(UNKEYED, undefined, onEnd);
      for (const id of this.state.keys()) {
        await this.endOf(id, this.keyOf(id), onEnd);
        await this.chain.breathe();
      }
    }
    this.state.clear();
    this.forgetKeys();
  }

  protected resumable(): Resumable {
    return this;
  }

  private async endOf(id: unknown, key: unknown, onEnd: NonNullable<ProcessFunctions["onEnd"]>): Promise<void> {
    await this.call(id, key, () => onEnd(key, this.handlerContext, this.out));
  }

  private async fire(take: () => KeyedTimer | null): Promise<void> {
    const { onTimer } = this.functions;
    if (onTimer === null) return;
    for (let due = take(); due !== null; due = take()) {
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
    let row = this.state.get(id);
    if (row === undefined) {
      row = new Array(this.slots).fill(undefined);
      this.state.set(id, row);
    }
    this.cursor.row = row;
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
