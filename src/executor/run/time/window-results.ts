/** What both kinds of windows share: how an accumulator is made, and becomes a result; where results and late records go. */
import type { WindowFunctions } from "../../../api/built.js";
import { keyIdentity } from "../../../dataflow/hash.js";
import { BEGINNING } from "../../../dataflow/time/watermarks.js";
import type { TimeWindow, Windows } from "../../../dataflow/time/windows.js";
import { shallowCopy } from "../aggregate-unit.js";
import type { Chain } from "../chain.js";
import type { ChainNode, Deferred, Resumable } from "../chain-nodes.js";
import { KeyedUnit } from "../keyed-unit.js";
import { BATCH_RECORDS } from "../network.js";
import { KEY } from "../stages.js";
import { isThenable } from "../thenable.js";

export interface WindowConfig {
  readonly windows: Windows;
  readonly latenessMs: number;
}

/** Counter of records that came too late for all their windows. */
export const LATE = "late";

export abstract class WindowUnit extends KeyedUnit implements Resumable {
  /** Emptied by generated code after each record: results of windows that late records changed, then side outputs. */
  readonly outputs: readonly unknown[][];
  protected readonly functions: WindowFunctions;
  protected readonly latenessMs: number;
  protected watermarkMs = BEGINNING;
  private readonly lateOutput: unknown[] | null;
  private batch: unknown[] = [];

  constructor(chain: Chain, node: ChainNode, functions: WindowFunctions) {
    super(chain, node, functions.key);
    this.functions = functions;
    this.latenessMs = (node.spec.config as unknown as WindowConfig).latenessMs;
    this.outputs = [[], ...node.sides.map(() => [])];
    const late = node.sides.findIndex(({ side }) => side === LATE);
    this.lateOutput = this.outputs[late < 0 ? this.outputs.length : late + 1] ?? null;
  }

  /** Takes a record into its windows. True: `outputs` hold what that gave. */
  abstract element(record: unknown, key: unknown, id: unknown): boolean;
  abstract onWatermark(ms: number): Promise<void>;

  startAt(ms: number): void {
    this.watermarkMs = ms;
  }

  async end(): Promise<void> {
    await this.onWatermark(Number.POSITIVE_INFINITY);
  }

  async resume({ stage, record, value }: Deferred): Promise<void> {
    const { chain, node } = this;
    const result = await chain.result(node, value);
    if (stage !== KEY) {
      await chain.emit(node.main, result);
      return;
    }
    try {
      this.element(record, result, this.rememberedId(result));
    } catch (thrown) {
      throw chain.failed(node.index, thrown);
    }
    for (const [index, buffer] of this.outputs.entries()) {
      const records = buffer.splice(0);
      const outlet = index === 0 ? node.main : node.sides[index - 1];
      if (outlet !== undefined) await chain.emitBatch(outlet, records, records.length);
    }
  }

  protected override resumable(): Resumable {
    return this;
  }

  /** Windows come and go, and the keys with them: each window holds its own. */
  protected override rememberedId(key: unknown): unknown {
    return typeof key === "object" && key !== null ? keyIdentity(key) : key;
  }

  protected timeOf(record: unknown): number {
    const timeMs = this.functions.time(record);
    if (!Number.isFinite(timeMs)) throw new TypeError(`the time of a record is ${String(timeMs)}, not milliseconds since 1970`);
    return timeMs;
  }

  protected added(accumulator: unknown, record: unknown, key: unknown): unknown {
    const { init, add } = this.functions;
    return sync(add(accumulator === undefined ? sync(init(key), "init") : accumulator, record, this.node.context), "add");
  }

  protected late(record: unknown): void {
    this.node.context.metrics.count(LATE);
    this.lateOutput?.push(record);
  }

  /** A window that has given its result was changed by a late record. */
  protected update(key: unknown, window: TimeWindow, accumulator: unknown): void {
    const value = this.finalValue(key, window, accumulator);
    if (isThenable(value)) this.chain.defer(this, KEY + 1, undefined, resultOf(key, window, value), undefined);
    else this.outputs[0]?.push({ key, window, value });
  }

  /** A window is due. */
  protected async give(key: unknown, window: TimeWindow, accumulator: unknown): Promise<void> {
    const { chain, node } = this;
    let value: unknown;
    try {
      value = this.finalValue(key, window, accumulator);
    } catch (thrown) {
      throw chain.failed(node.index, thrown);
    }
    this.batch.push({ key, window, value: isThenable(value) ? await chain.result(node, value) : value });
    if (this.batch.length >= BATCH_RECORDS) await this.given();
  }

  /** Hands on the results that were gathered. */
  protected async given(): Promise<void> {
    if (this.batch.length === 0) return;
    const { batch } = this;
    this.batch = [];
    await this.chain.emitBatch(this.node.main, batch, batch.length);
    await this.chain.breathe();
  }

  private finalValue(key: unknown, window: TimeWindow, accumulator: unknown): unknown {
    const { result } = this.functions;
    if (result !== null) return result(accumulator, key, window);
    // A late record may change the accumulator after it was emitted.
    return this.latenessMs > 0 ? shallowCopy(accumulator) : accumulator;
  }
}

async function resultOf(key: unknown, window: TimeWindow, value: PromiseLike<unknown>): Promise<unknown> {
  return { key, window, value: await value };
}

/** Windows keep an accumulator for each of many windows: a promise in place of one would have to be waited for by all of them. */
export function sync<T>(value: T, name: string): T {
  if (isThenable(value)) throw new TypeError(`${name} of a window is async: let a map or mapAsync before it do what takes time`);
  return value;
}
