/**
 * One subtask of a vertex: runs the generated loops over its batches, and does what the loops had to leave: waits for promises, for
 * credit, for calls under way; always in the order of the records.
 *
 * Boundary: knows units and outputs by their interfaces; `subtask.ts` feeds it with batches and ends it.
 *
 * Invariants:
 *   1. One logical thread: at any time one batch is in work, and what it deferred is finished before its next record begins.
 *   2. User functions of a chain are never called concurrently, but for those of mapAsync.
 *   3. A loop never runs longer than about LOOP_BUDGET_MS plus the time of one record: the number of records it is given adapts.
 */
import type { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { ChainNode, Deferred, Outlet, Resumable, Target, Unit } from "./chain-nodes.js";
import { type BatchFunction, generate } from "./codegen.js";
import type { Blockable, ChainControl, EdgeOutput } from "./edge-output.js";
import { FunctionUnit } from "./function-unit.js";
import { BATCH_RECORDS } from "./network.js";
import type { Pacer } from "./pacer.js";
import type { SinkUnit } from "./sink-unit.js";
import { ChainTime } from "./time/chain-time.js";
import { operatorFailed } from "./user-errors.js";
import { Wakeup } from "./wakeup.js";

/** A loop over user functions gives way to the rest of the process after about so long. */
export const LOOP_BUDGET_MS = 4;
const FIRST_STEP_RECORDS = 16;

export interface ChainOptions {
  readonly nodes: number;
  readonly segments: number;
  readonly pacer: Pacer;
  /** Of timers. */
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export class Chain implements ChainControl {
  /** Read by generated code after each record. */
  stop = false;
  /** Read by generated code before each sibling. */
  deferredCount = 0;
  readonly counts: Float64Array;
  readonly wakeup = new Wakeup();
  readonly signal: AbortSignal;
  readonly nodes: ChainNode[] = [];
  readonly edges: EdgeOutput[] = [];
  readonly sinks: SinkUnit[] = [];
  readonly time: ChainTime;
  private readonly pacer: Pacer;
  private deferred: Deferred[] = [];
  private waits: Blockable[] = [];
  private readonly labels: string[] = [];
  private step = FIRST_STEP_RECORDS;
  private readonly tails = new Map<Outlet | Target, BatchFunction>();
  private readonly functionUnits = new Map<ChainNode, FunctionUnit>();
  /** Units that are being emptied further up the call stack: they can't be waited for. */
  private readonly pumping = new Set<Unit>();
  private asyncUnits: readonly Unit[] = [];

  constructor(options: ChainOptions) {
    this.counts = new Float64Array(options.segments);
    this.pacer = options.pacer;
    this.signal = options.signal;
    this.time = new ChainTime(this, options.clock);
  }

  /** To be called once all nodes and edges are in. */
  seal(): void {
    this.asyncUnits = this.nodes.flatMap((node) => (node.unit?.pump === undefined ? [] : [node.unit]));
    this.time.seal();
  }

  // ------------------------------------------------------------------------------ called by generated code and units

  defer(unit: Resumable, stage: number, record: unknown, value: unknown, key: unknown): void {
    this.deferred.push({ unit, stage, record, value, key });
    this.deferredCount = this.deferred.length;
    this.stop = true;
  }

  /** A sibling of something deferred: the record goes to the target when its turn comes. */
  feed(target: Target, record: unknown): void {
    this.defer(this.feeder, 0, record, target, undefined);
  }

  blocked(output: Blockable): void {
    this.waits.push(output);
    this.stop = true;
  }

  /** A snapshot holds as many copies of state as it may: the chain waits for it after the record that it is at. */
  waitFor(drained: () => Promise<void>): void {
    this.blocked({ unblocked: drained });
  }

  /** The unit may have become full. */
  checkFull(): void {
    this.stop = true;
  }

  /** `place`: the index of a node, or what `label` gave. `record`: what the chain was given and could not handle, where that is known. */
  failed(place: number, thrown: unknown, record?: unknown): CodedError {
    return operatorFailed(this.nodes[place]?.spec.uid ?? this.labels[place - this.nodes.length] ?? "unknown", thrown, record);
  }

  /** A place for errors of functions that belong to an operator of another vertex (keys of an exchange). Once all nodes are in. */
  label(uid: string): number {
    return this.nodes.length + this.labels.push(uid) - 1;
  }

  resumableOf(node: ChainNode): Resumable {
    const unit = this.functionUnits.get(node) ?? new FunctionUnit(this, node);
    this.functionUnits.set(node, unit);
    return unit;
  }

  // --------------------------------------------------------------------------------------------- running and emitting

  /** Code that hands each record of a batch to the targets. */
  compile(targets: readonly Target[]): BatchFunction {
    return generate(this, targets);
  }

  /** Runs the code over the batch; resolves when everything that it led to in this chain is done, or handed on. */
  async run(code: BatchFunction, batch: readonly unknown[], count: number): Promise<void> {
    let done = 0;
    while (done < count) {
      const startedAt = this.pacer.now();
      const end = Math.min(count, done + this.step);
      const begun = done;
      done = code(batch, done, end);
      const now = this.pacer.now();
      if (done === begun + this.step) this.adapt(now - startedAt);
      if (this.stop) await this.settle();
      if (this.pacer.isDue(now)) await this.breathe();
    }
  }

  /** Emits one record; only a promise when there is something to wait for. */
  emit(outlet: Outlet, record: unknown): Promise<void> | undefined {
    if (outlet.counted) this.counts[outlet.segment] = (this.counts[outlet.segment] ?? 0) + 1;
    if (outlet.targets.length === 0) return undefined;
    this.tailOf(outlet, outlet.targets)([record], 0, 1);
    return this.stop ? this.settle() : undefined;
  }

  async emitBatch(outlet: Outlet, records: readonly unknown[], count: number): Promise<void> {
    if (outlet.counted) this.counts[outlet.segment] = (this.counts[outlet.segment] ?? 0) + count;
    if (outlet.targets.length > 0) await this.run(this.tailOf(outlet, outlet.targets), records, count);
  }

  /** For units that emit many records one by one: lets the process breathe when it is time. */
  async breathe(): Promise<void> {
    this.signal.throwIfAborted();
    if (!this.pacer.isDue(this.pacer.now())) return;
    this.flush(false);
    await this.pacer.pause();
    this.signal.throwIfAborted();
  }

  /** Awaits a user's promise; its failure is the operator's. */
  async result(node: ChainNode, value: unknown, record?: unknown): Promise<unknown> {
    let result: unknown;
    try {
      result = await value;
    } catch (thrown) {
      throw this.failed(node.index, thrown, record);
    }
    this.signal.throwIfAborted();
    return result;
  }

  // ------------------------------------------------------------------------------------------------- between batches

  /** Emits results that came by themselves. */
  async pump(): Promise<void> {
    for (const unit of this.asyncUnits) await this.pumpUnit(unit);
  }

  /** Calls of mapAsync are under way. */
  isBusy(): boolean {
    return this.asyncUnits.some((unit) => unit.isBusy?.() === true);
  }

  /** Something waits in a buffer for its batch to fill. */
  isHolding(): boolean {
    return this.edges.some((edge) => edge.held) || this.sinks.some((sink) => sink.held);
  }

  /** Hands on part-filled batches: those that waited since the last call, or all. */
  flush(all: boolean): void {
    for (const edge of this.edges) edge.flush(all);
    for (const sink of this.sinks) sink.flush(all);
  }

  /** After a flush: waits for credit. */
  async settle(): Promise<void> {
    this.stop = false;
    for (;;) {
      if (this.deferredCount > 0) await this.resumeAll();
      const wait = this.waits.pop();
      if (wait !== undefined) {
        await wait.unblocked();
        this.signal.throwIfAborted();
        continue;
      }
      const full = this.asyncUnits.find((unit) => unit.isFull?.() === true && !this.pumping.has(unit));
      if (full !== undefined) {
        await full.relieve?.();
        this.signal.throwIfAborted();
        await this.pumpUnit(full);
        continue;
      }
      if (this.deferredCount === 0 && this.waits.length === 0) break;
    }
    this.stop = false;
  }

  /** Nothing is under way any more: what the chain holds is keyed state, and sinks have been given the rest. */
  async quiesce(): Promise<void> {
    for (const node of this.nodes) await node.unit?.beforeBarrier?.();
    await this.settle();
    for (const sink of this.sinks) await sink.finish();
  }

  /** Passes a checkpoint's barrier on behind everything that was emitted. */
  async barrier(id: number): Promise<void> {
    await Promise.all(this.edges.map((edge) => edge.barrier(id)));
    this.signal.throwIfAborted();
  }

  /**
   * The input has ended: each unit, from the first to the last, emits what it still has; then outputs end. `again`: that was emitted before the
   * checkpoint from which the chain was restored.
   */
  async end(again = false): Promise<void> {
    if (!again) for (const node of this.nodes) await node.unit?.end?.();
    await this.settle();
    for (const sink of this.sinks) await sink.finish();
    for (const edge of this.edges) await edge.end();
  }

  private async resumeAll(): Promise<void> {
    const entries = this.deferred;
    this.deferred = [];
    this.deferredCount = 0;
    for (const entry of entries) await entry.unit.resume(entry);
  }

  private async pumpUnit(unit: Unit): Promise<void> {
    if (this.pumping.has(unit)) return;
    this.pumping.add(unit);
    try {
      await unit.pump?.();
    } finally {
      this.pumping.delete(unit);
    }
  }

  private readonly feeder: Resumable = {
    resume: async ({ record, value }) => {
      const target = value as Target;
      this.tailOf(target, [target])([record], 0, 1);
      if (this.stop) await this.settle();
    },
  };

  private tailOf(of: Outlet | Target, targets: readonly Target[]): BatchFunction {
    const known = this.tails.get(of);
    if (known !== undefined) return known;
    const made = this.compile(targets);
    this.tails.set(of, made);
    return made;
  }

  private adapt(elapsedMs: number): void {
    if (elapsedMs < LOOP_BUDGET_MS / 4) this.step = Math.min(BATCH_RECORDS, this.step * 2);
    else if (elapsedMs > LOOP_BUDGET_MS) this.step = Math.max(1, this.step >> 1);
  }
}
