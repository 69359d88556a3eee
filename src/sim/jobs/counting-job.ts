/**
 * The simulated job that takes checkpoints: numbers, counted and summed by key, each leaving with the count of its key. Slices of it run on the
 * product's own engine (executor/run); only its source, its sink and the channels between executors are modelled.
 *
 * What it has to come to is known from its plan alone: after any prefix of the input, state and output are a fold of that prefix.
 *
 * Of a plan that says `apart` nothing is counted by key, and so nothing goes from one executor to another: each slice is a failover region.
 */
import { defineJob, planJob, sinks, sources, state } from "../../api/index.js";
import type { Split } from "../../dataflow/connector.js";
import { simDigest } from "../digest.js";

export interface CountingPlan {
  readonly records: number;
  readonly splits: number;
  readonly keys: number;
  /** Records that the source gives at once, at most. */
  readonly batch: number;
  /** About how long it takes to the next ones. */
  readonly pauseMs: number;
  readonly appears: "at-checkpoint" | "at-end";
  /** Nothing goes from one executor to another. */
  readonly apart?: boolean;
  /** Whether the numbers of later splits are greater; else they are smaller, and event time stands still until the last split is being read. */
  readonly order: "in-order" | "any-order";
}

export const SOURCE = "input";
export const SINK = "output";
export const COUNTER = "count";

/** What one key has come to. */
export interface Count {
  readonly count: number;
  readonly sum: number;
}

/** What leaves for one number. */
export interface CountedRecord extends Count {
  readonly n: number;
  /** How far event time had come before it; number n happened at millisecond n. */
  readonly watermark: number;
}

/** Less than most pauses of the source, so that most of what it reads moves event time. */
const WATERMARK_EVERY_MS = 100;

type Planned = Awaited<ReturnType<typeof planJob>>;
/** Of this process; plans that differ in nothing of the name are the same graph. */
const planned = new Map<string, Promise<Planned>>();

export function planCounting({ records, keys, order, apart = false }: CountingPlan): Promise<Planned> {
  const name = `${records}/${keys}/${order}/${apart}`;
  const known = planned.get(name);
  if (known !== undefined) return known;
  const job = defineJob({
    id: "counting",
    build: (builder) => {
      const input = sources.numbers({ from: 0, to: records });
      if (apart) {
        builder
          .from(SOURCE, input)
          .map((n) => ({ n, count: 1, sum: n }))
          .to(SINK, sinks.ndjson("/output"));
        return;
      }
      builder
        .from(SOURCE, input, { eventTime: { time: (n) => n, watermarkEvery: WATERMARK_EVERY_MS, splits: order } })
        .keyBy((n) => n % keys)
        .process(COUNTER, {
          state: { seen: state.value<Count>() },
          onElement: (n, { state: { seen }, watermark }) => {
            const { count, sum } = seen.get() ?? { count: 0, sum: 0 };
            const next = { count: count + 1, sum: sum + n };
            seen.set(next);
            return [{ n, ...next, watermark }];
          },
        })
        .to(SINK, sinks.ndjson("/output"));
    },
  });
  const plan = planJob(job, {}, { sha256Hex: simDigest.sha256Hex, verify: false });
  planned.set(name, plan);
  return plan;
}

/** Ranges of the numbers, in the order in which they are given out; fields `from` and `to`. */
export function splitsOf({ records, splits, order }: CountingPlan): readonly Split[] {
  const ranges = Array.from({ length: splits }, (_, index) => {
    const from = Math.floor((records * index) / splits);
    const to = Math.floor((records * (index + 1)) / splits);
    return { id: `s${index}`, sizeHint: to - from, from, to };
  });
  return order === "in-order" ? ranges : ranges.reverse();
}

/** By key: what these numbers come to, in any order. */
export function foldOf({ keys }: CountingPlan, numbers: Iterable<number>): ReadonlyMap<number, Count> {
  const counts = new Map<number, Count>();
  for (const n of numbers) {
    const { count, sum } = counts.get(n % keys) ?? { count: 0, sum: 0 };
    counts.set(n % keys, { count: count + 1, sum: sum + n });
  }
  return counts;
}

/**
 * What is wrong with records that are to be the output for exactly these numbers, null: nothing. The order among different splits is not given, so of a key's
 * counts only that each is there once, and that the last one has the sum of all.
 */
export function problemOfOutput(
  plan: CountingPlan,
  numbers: ReadonlySet<number>,
  records: readonly CountedRecord[],
): string | null {
  const seen = new Set<number>();
  const counts = new Map<number, Set<number>>();
  const folded = foldOf(plan, numbers);
  for (const { n, count, sum } of records) {
    if (seen.has(n)) return `${n} is there twice`;
    if (!numbers.has(n)) return `${n} is there too early`;
    seen.add(n);
    if (plan.apart === true) continue;
    const key = n % plan.keys;
    const ofKey = counts.get(key) ?? new Set();
    counts.set(key, ofKey);
    if (ofKey.has(count)) return `count ${count} of key ${key} is there twice`;
    ofKey.add(count);
    const whole = folded.get(key);
    if (whole === undefined || count > whole.count) return `key ${key} was counted to ${count}, of ${whole?.count ?? 0}`;
    if (count === whole.count && sum !== whole.sum) return `the sum of key ${key} is ${sum}, not ${whole.sum}`;
  }
  for (const n of numbers) if (!seen.has(n)) return `${n} is missing`;
  return null;
}
