/**
 * Interval join: pairs of records of two streams with equal keys, whose times are near to each other: right - left within [lowerMs, upperMs].
 *
 * Each record is held until no partner can follow, and is joined when it comes with what is held of the other side. So every pair is made once, by the later of
 * the two to arrive. Records that are late (at or behind the watermark) are not joined.
 *
 * Memory: at most `maxRecords` of both sides in a subtask.
 */
import type { IntervalJoinFunctions } from "../../../api/built.js";
import { CodedError } from "../../../base/errors.js";
import { hashKey, keyIdentity } from "../../../dataflow/hash.js";
import { keyGroupOf } from "../../../dataflow/key-groups.js";
import { TimerQueue } from "../../../dataflow/time/timers.js";
import { BEGINNING, END_OF_TIME } from "../../../dataflow/time/watermarks.js";
import type { Chain } from "../chain.js";
import type { ChainNode, Deferred, Unit } from "../chain-nodes.js";
import { HELD_RECORDS, type KeyedState, type StateEntry } from "../keyed-state.js";
import { RESULT } from "../stages.js";
import { isThenable } from "../thenable.js";
import { LATE } from "./window-results.js";

export type Side = "left" | "right";

export interface IntervalJoinConfig {
  readonly lowerMs: number;
  readonly upperMs: number;
  readonly maxRecords: number;
}

/** In ascending order of time; of equal times in the order of arrival. */
interface Held {
  readonly times: number[];
  readonly records: unknown[];
}

interface Pair {
  readonly key: unknown;
  readonly left: Held;
  readonly right: Held;
}

/** Of one key and side, in a checkpoint: at most HELD_RECORDS. */
type HeldPart = readonly [Side, readonly number[], readonly unknown[]];

/** What is held of a key is looked through when so much of the interval has passed, not for each record. */
const LOOKS_PER_INTERVAL = 8;

export class IntervalJoinUnit implements Unit, KeyedState {
  /** Emptied by generated code: pairs, then side outputs. */
  readonly outputs: readonly unknown[][];
  readonly leftKey: IntervalJoinFunctions["leftKey"];
  readonly rightKey: IntervalJoinFunctions["rightKey"];
  private readonly chain: Chain;
  private readonly node: ChainNode;
  private readonly functions: IntervalJoinFunctions;
  private readonly config: IntervalJoinConfig;
  private readonly grainMs: number;
  /** A record of that side may have a partner so much later. */
  private readonly leftReachMs: number;
  private readonly rightReachMs: number;
  private readonly pairs = new Map<unknown, Pair>();
  private readonly expiries = new TimerQueue<unknown>();
  private readonly lateOutputs: Readonly<Record<Side, unknown[] | null>>;
  private held = 0;
  private watermarkMs = BEGINNING;

  constructor(chain: Chain, node: ChainNode, functions: IntervalJoinFunctions) {
    this.chain = chain;
    this.node = node;
    this.functions = functions;
    this.leftKey = functions.leftKey;
    this.rightKey = functions.rightKey;
    this.config = node.spec.config as unknown as IntervalJoinConfig;
    const { lowerMs, upperMs } = this.config;
    this.grainMs = Math.max(1, (upperMs - lowerMs) / LOOKS_PER_INTERVAL);
    this.leftReachMs = Math.max(0, upperMs);
    this.rightReachMs = Math.max(0, -lowerMs);
    this.outputs = [[], ...node.sides.map(() => [])];
    const output = (name: string) => this.outputs.find((_output, index) => node.sides[index - 1]?.side === name) ?? null;
    this.lateOutputs = { left: output("lateLeft"), right: output("lateRight") };
  }

  /** The id of a key that is an object; a promise is refused. */
  idOf(key: object): unknown {
    if (isThenable(key)) throw new TypeError("the key of an interval join is a promise: let a map before it make the key");
    return keyIdentity(key);
  }

  /** A record of the left stream. `outputs` hold what it gave. */
  left(record: unknown, key: unknown, id: unknown): void {
    const timeMs = this.timeOf("left", record);
    const { lowerMs, upperMs } = this.config;
    if (timeMs <= this.watermarkMs) {
      this.late("left", record);
      return;
    }
    const pair = this.pairOf(key, id);
    this.hold(pair.left, timeMs, record);
    this.expire(id, timeMs + this.leftReachMs);
    const { times, records } = pair.right;
    for (let i = indexOf(times, timeMs + lowerMs, false); i < times.length && (times[i] ?? 0) <= timeMs + upperMs; i++)
      this.select(record, records[i]);
  }

  /** A record of the right stream. */
  right(record: unknown, key: unknown, id: unknown): void {
    const timeMs = this.timeOf("right", record);
    const { lowerMs, upperMs } = this.config;
    if (timeMs <= this.watermarkMs) {
      this.late("right", record);
      return;
    }
    const pair = this.pairOf(key, id);
    this.hold(pair.right, timeMs, record);
    this.expire(id, timeMs + this.rightReachMs);
    const { times, records } = pair.left;
    for (let i = indexOf(times, timeMs - upperMs, false); i < times.length && (times[i] ?? 0) <= timeMs - lowerMs; i++)
      this.select(records[i], record);
  }

  startAt(ms: number): void {
    this.watermarkMs = ms;
  }

  async onWatermark(ms: number): Promise<void> {
    this.watermarkMs = ms;
    for (let timer = this.expiries.take(ms); timer !== null; timer = this.expiries.take(ms)) this.prune(timer.key, ms);
  }

  async end(): Promise<void> {
    this.pairs.clear();
    this.expiries.clear();
    this.held = 0;
  }

  /** A selection that was a promise. */
  async resume({ value }: Deferred): Promise<void> {
    const { chain, node } = this;
    await chain.emit(node.main, await chain.result(node, value));
  }

  get size(): number {
    return this.pairs.size;
  }

  *entries(maxParallelism: number): Iterable<StateEntry> {
    for (const [id, { key, left, right }] of this.pairs) {
      const keyGroup = keyGroupOf(hashKey(id), maxParallelism);
      for (const side of ["left", "right"] as const) {
        const { times, records } = side === "left" ? left : right;
        for (let at = 0; at < times.length; at += HELD_RECORDS) {
          const value: HeldPart = [side, times.slice(at, at + HELD_RECORDS), records.slice(at, at + HELD_RECORDS)];
          yield { keyGroup, key, value };
        }
      }
    }
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value } of entries) {
      const [side, times, records] = value as HeldPart;
      const id = typeof key === "object" && key !== null ? keyIdentity(key) : key;
      const pair = this.pairOf(key, id);
      pair[side].times.push(...times);
      pair[side].records.push(...records);
      this.held += times.length;
      this.expireRest(id, pair);
    }
  }

  private timeOf(side: Side, record: unknown): number {
    const timeMs = side === "left" ? this.functions.leftTime(record) : this.functions.rightTime(record);
    if (!Number.isFinite(timeMs)) throw new TypeError(`${side}Time of a record is ${String(timeMs)}, not milliseconds since 1970`);
    return timeMs;
  }

  private late(side: Side, record: unknown): void {
    this.node.context.metrics.count(LATE);
    this.lateOutputs[side]?.push(record);
  }

  private pairOf(key: unknown, id: unknown): Pair {
    const known = this.pairs.get(id);
    if (known !== undefined) return known;
    const pair: Pair = { key, left: { times: [], records: [] }, right: { times: [], records: [] } };
    this.pairs.set(id, pair);
    return pair;
  }

  private hold({ times, records }: Held, timeMs: number, record: unknown): void {
    if (++this.held > this.config.maxRecords) throw this.tooMany();
    const last = times[times.length - 1];
    if (last === undefined || last <= timeMs) {
      times.push(timeMs);
      records.push(record);
      return;
    }
    const at = indexOf(times, timeMs, true);
    times.splice(at, 0, timeMs);
    records.splice(at, 0, record);
  }

  private select(left: unknown, right: unknown): void {
    const joined = this.functions.select(left, right, this.node.context);
    if (isThenable(joined)) this.chain.defer(this, RESULT, undefined, joined, undefined);
    else this.outputs[0]?.push(joined);
  }

  /** A key is looked through at one instant at a time; the next one follows from what is left then. */
  private expire(id: unknown, atMs: number): void {
    if (this.expiries.of(id).length === 0) this.expiries.set(id, Math.ceil(atMs / this.grainMs) * this.grainMs);
  }

  private expireRest(id: unknown, { left, right }: Pair): void {
    const [firstLeft, firstRight] = [left.times[0] ?? END_OF_TIME, right.times[0] ?? END_OF_TIME];
    this.expire(id, Math.min(firstLeft + this.leftReachMs, firstRight + this.rightReachMs));
  }

  /** Forgets what can have no partner any more: those that follow are after the watermark. */
  private prune(id: unknown, ms: number): void {
    const pair = this.pairs.get(id);
    if (pair === undefined) return;
    this.drop(pair.left, ms - this.leftReachMs);
    this.drop(pair.right, ms - this.rightReachMs);
    if (pair.left.times.length === 0 && pair.right.times.length === 0) this.pairs.delete(id);
    else this.expireRest(id, pair);
  }

  private drop({ times, records }: Held, upToMs: number): void {
    const count = indexOf(times, upToMs, true);
    times.splice(0, count);
    records.splice(0, count);
    this.held -= count;
  }

  private tooMany(): CodedError {
    const { maxRecords } = this.config;
    const { uid } = this.node.spec;
    return new CodedError("LIMIT_EXCEEDED", `Interval join '${uid}' holds more than ${maxRecords} records in one subtask.`, {
      hint: "Make the interval shorter, run with a higher parallelism, or raise maxRecords when memory allows it.",
      details: { operator: uid, limit: maxRecords },
    });
  }
}

/** The index of the first time that is not before `timeMs`, or (`after`) after it. */
function indexOf(times: readonly number[], timeMs: number, after: boolean): number {
  let [from, to] = [0, times.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    const time = times[middle] ?? 0;
    if (time < timeMs || (after && time === timeMs)) from = middle + 1;
    else to = middle;
  }
  return from;
}
