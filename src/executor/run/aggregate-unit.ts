/**
 * aggregate, reduce and combine: one accumulator a key, in one mutable table (performance.md section 5, rule 6).
 *
 * The fast path is generated code over `table` and `add`; here are the first record of a key, promises, and what is emitted.
 *   aggregate, reduce   emit `{ key, value }`: all at the end, or after each record (`updates`)
 *   combine             emits `{ key, value: accumulator }` before the exchange, at the end or when COMBINE_MAX_KEYS keys are held
 *   aggregate after combine: its records are such accumulators, and `merge` adds them
 */
import type { AggregateFunctions } from "../../api/built.js";
import type { OperatorContext } from "../../api/context.js";
import type { ScratchStore } from "../../env/scratch-store.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable, Unit } from "./chain-nodes.js";
import type { StateEntry } from "./keyed-state.js";
import { KeyedUnit } from "./keyed-unit.js";
import { BATCH_RECORDS } from "./network.js";
import { KEY, KEYED_BY_RECORD, NONE } from "./stages.js";
import { DiskTable } from "./state/disk-table.js";
import { KeyedTable } from "./state/keyed-table.js";
import type { OpenSnapshot, SnapshotState } from "./state/open-snapshot.js";
import { plainState } from "./state/plain-state.js";
import { isThenable } from "./thenable.js";

/** Called when there is something to write for the first time. */
export type OpenDisk = () => Promise<ScratchStore>;

/** Accumulators that a combine holds before it hands them on: bounds its memory, and keeps it useful where few records share a key. */
export const COMBINE_MAX_KEYS = 65_536;

const INIT = 3;
const UPDATE = 4;
const HAND_ON = 5;

interface Partial {
  readonly key: unknown;
  readonly value: unknown;
}

type Add = (accumulator: unknown, record: unknown, context: OperatorContext) => unknown;

export class AggregateUnit extends KeyedUnit implements Unit, SnapshotState {
  readonly table: KeyedTable | DiskTable;
  readonly makeRoom: (() => Promise<void>) | undefined;
  /** Generated code calls it for keys that are known. */
  readonly add: Add;
  readonly emitsUpdates: boolean;
  private readonly functions: Omit<AggregateFunctions, "kind">;
  private readonly combines: boolean;
  private readonly combined: boolean;

  /** `openDisk`: where state goes that has no room in memory; null: it stays there. */
  constructor(chain: Chain, node: ChainNode, functions: Omit<AggregateFunctions, "kind">, openDisk: OpenDisk | null) {
    const config = node.spec.config as { readonly emit?: string; readonly combined?: boolean } | null;
    const combined = config?.combined === true;
    super(chain, node, combined ? (record) => (record as Partial).key : functions.key);
    this.functions = functions;
    if (openDisk === null) this.table = new KeyedTable((drained) => chain.waitFor(drained));
    else {
      const pack = (value: unknown) => plainState(node.spec.uid, value);
      const table = new DiskTable({
        open: openDisk,
        onCrowded: (relieved) => chain.waitFor(relieved),
        pack,
        unpack: (value) => value,
      });
      this.table = table;
      this.makeRoom = () => table.makeRoom();
    }
    this.combines = node.spec.kind === "combine";
    this.combined = combined;
    this.emitsUpdates = config?.emit === "updates";
    const { add, merge } = functions;
    this.add = combined && merge !== null ? (accumulator, record) => merge(accumulator, (record as Partial).value) : add;
  }

  /** The accumulator after the first record of a key; a promise of it; or NONE when that waits for `init`. */
  first(record: unknown, _id: unknown, key: unknown): unknown {
    if (this.combines && this.size >= COMBINE_MAX_KEYS) this.chain.defer(this, HAND_ON, undefined, undefined, undefined);
    if (this.combined) return (record as Partial).value;
    if (this.functions.init === null) return record;
    const accumulator = this.functions.init(key);
    if (isThenable(accumulator)) {
      this.chain.defer(this, INIT, record, accumulator, key);
      return NONE;
    }
    return this.add(accumulator, record, this.node.context);
  }

  /** What `emit: "updates"` emits; NONE when it waits for `result`. `before` undefined: the key is new. */
  update(key: unknown, before: unknown, accumulator: unknown): unknown {
    const { result } = this.functions;
    // An accumulator that `add` changes in place would change in the records that were emitted before.
    if (result === null)
      return { key, value: before === undefined || before === accumulator ? shallowCopy(accumulator) : accumulator };
    const value = result(accumulator, key);
    if (!isThenable(value)) return { key, value };
    this.chain.defer(this, UPDATE, undefined, value, key);
    return NONE;
  }

  async resume({ stage, record, value, key }: Deferred): Promise<void> {
    const { chain, node } = this;
    if (stage === HAND_ON) return await this.emitAll();
    const result = await chain.result(node, value);
    if (stage === UPDATE) return await chain.emit(node.main, { key, value: result });
    if (stage === KEYED_BY_RECORD) return await this.store(key, result);
    const known = stage === INIT ? result : undefined;
    await this.take(record, stage === KEY ? result : key, known);
  }

  get size(): number {
    return this.table.slots.size;
  }

  get needsFull(): boolean {
    return this.table.needsFull;
  }

  track(): void {
    this.table.track();
  }

  settle(isComplete: boolean): void {
    this.table.settle(isComplete);
  }

  snapshot(isFull: boolean, maxParallelism: number): OpenSnapshot {
    return this.table.snapshot(isFull, this.entriesOf(maxParallelism));
  }

  expect(entries: number): void {
    this.table.expect(entries);
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value, removed } of entries) {
      if (removed === true) this.table.restoreRemoved(this.rememberedId(key));
      else this.table.restore(this.rememberedId(key), value);
    }
  }

  async end(): Promise<void> {
    if (!this.emitsUpdates) await this.emitAll();
  }

  /** What a combine has gathered belongs to the records before the barrier; the aggregate behind the exchange keeps it. */
  async beforeBarrier(): Promise<void> {
    if (this.combines) await this.emitAll();
    if (this.table instanceof DiskTable) await this.table.flush();
  }

  protected resumable(): Resumable {
    return this;
  }

  /** The slow way of the generated code, awaiting everything. `fresh`: what `init` gave, when that is already known. */
  private async take(record: unknown, key: unknown, fresh: unknown): Promise<void> {
    const { chain, node, functions } = this;
    const slot = this.table.slots.get(this.rememberedId(key));
    if (slot !== undefined) this.table.beforeChange(slot);
    const known = fresh ?? slot?.value;
    if (known === undefined && (this.combined || functions.init === null)) {
      await this.store(key, this.combined ? (record as Partial).value : record);
      return;
    }
    const before = known ?? (await this.call(() => functions.init?.(key)));
    await this.store(key, await this.call(() => this.add(before, record, node.context)));
    await chain.breathe();
  }

  private async store(key: unknown, accumulator: unknown): Promise<void> {
    const id = this.rememberedId(key);
    if (this.combines && this.size >= COMBINE_MAX_KEYS && !this.table.slots.has(id)) await this.emitAll();
    this.table.set(id, accumulator);
    if (!this.emitsUpdates) return;
    const { result } = this.functions;
    const value = result === null ? shallowCopy(accumulator) : await this.call(() => result(accumulator, key));
    await this.chain.emit(this.node.main, { key, value });
  }

  private async emitAll(): Promise<void> {
    const { chain, node, table } = this;
    const batch: unknown[] = [];
    if (table instanceof DiskTable) for await (const some of table.all()) await this.emitSome(some, batch);
    else await this.emitSome(table.slots.values(), batch);
    await chain.emitBatch(node.main, batch, batch.length);
    table.clear();
    this.forgetKeys();
  }

  /** What does not fill the batch stays in it. */
  private async emitSome(some: Iterable<{ readonly id: unknown; readonly value: unknown }>, batch: unknown[]): Promise<void> {
    const { chain, node } = this;
    for (const { id, value: accumulator } of some) {
      const key = this.keyOf(id);
      const value = this.finalValue(accumulator, key);
      batch.push({ key, value: isThenable(value) ? await chain.result(node, value) : value });
      if (batch.length < BATCH_RECORDS) continue;
      await chain.emitBatch(node.main, batch, batch.length);
      batch.length = 0;
    }
  }

  private finalValue(accumulator: unknown, key: unknown): unknown {
    const { result } = this.functions;
    if (this.combines || result === null) return accumulator;
    try {
      return result(accumulator, key);
    } catch (thrown) {
      throw this.chain.failed(this.node.index, thrown);
    }
  }

  private async call(run: () => unknown): Promise<unknown> {
    const { chain, node } = this;
    return await chain.result(node, new Promise((resolve) => resolve(run())));
  }
}

/** Enough where the accumulator is flat; a nested one that is changed in place needs `result`. */
export function shallowCopy(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.slice();
  if (value instanceof Map) return new Map(value);
  if (value instanceof Set) return new Set(value);
  return Object.getPrototypeOf(value) === Object.prototype ? { ...value } : value;
}
