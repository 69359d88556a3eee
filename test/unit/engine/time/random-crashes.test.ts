/** Windows of random records through crashes at random points, over several splits and subtasks, against plain loops. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type JobBuilder, sinks, sources, state, type WindowKind, windows } from "../../../../src/api/index.js";
import { runThroughCrashes } from "../checkpoint-run.js";
import { sorted } from "../support.js";

interface Case {
  /** By number: when it happened. */
  readonly times: readonly number[];
  readonly splits: "in-order" | "any-order";
  readonly outOfOrderness: number;
  readonly sizeMs: number;
  readonly everyMs: number;
  readonly parallelism: number;
  readonly checkpointsAt: readonly number[];
  readonly crashAfter: number;
}

/** Of `sources.numbers`. */
const SPLITS_PER_SUBTASK = 4;

const cases: fc.Arbitrary<Case> = fc
  .record({
    count: fc.integer({ min: 50, max: 1_500 }),
    seed: fc.integer({ min: 1, max: 1_000_000 }),
    splits: fc.constantFrom("in-order" as const, "any-order" as const),
    jitter: fc.integer({ min: 1, max: 300 }),
    sizeMs: fc.integer({ min: 5, max: 400 }),
    overlap: fc.integer({ min: 1, max: 4 }),
    parallelism: fc.integer({ min: 1, max: 3 }),
    checkpointsAt: fc.array(fc.integer({ min: 1, max: 1_200 }), { maxLength: 3 }),
    crashAfter: fc.nat(300),
  })
  .map(({ count, seed, splits, jitter, sizeMs, overlap, ...plan }) => {
    const random = (n: number, below: number) => ((n + seed) * 7_919 + ((n * seed) % 104_729)) % below;
    const splitCount = Math.min(count, plan.parallelism * SPLITS_PER_SUBTASK);
    const splitOf = (n: number) => Math.min(splitCount - 1, Math.floor((n * splitCount) / count));
    // In any order each split begins at a time of its own; within it records are out of order by the jitter.
    const baseOf = (n: number) => random(splitOf(n), count * 4);
    const startOf = (n: number) => Math.ceil((splitOf(n) * count) / splitCount);
    const times = Array.from(
      { length: count },
      (_, n) => (splits === "in-order" ? n * 2 : baseOf(n) + 2 * (n - startOf(n))) - random(n, jitter),
    );
    const everyMs = Math.max(1, Math.ceil(sizeMs / overlap));
    return { times, splits, outOfOrderness: jitter, sizeMs, everyMs, ...plan };
  });

const jobOf =
  ({ times, splits, outOfOrderness, sizeMs, everyMs }: Case) =>
  (job: JobBuilder, tick: () => void): void => {
    const time = (n: number) => times[n] ?? 0;
    const window: WindowKind = sizeMs === everyMs ? windows.tumbling(sizeMs) : windows.sliding(sizeMs, everyMs);
    const counted = job
      .from("n", sources.numbers({ to: times.length }), { eventTime: { time, outOfOrderness, splits, watermarkEvery: 0 } })
      .map((n) => {
        tick();
        return n;
      });
    const windowed = counted.keyBy((n) => n % 5).window("w", { window, time, init: () => 0, add: (sum, n) => sum + n });
    // I17: a key that has seen event time never sees it go back, also after a restore.
    const backwards = counted
      .keyBy((n) => n % 3)
      .process("seen", {
        state: { reached: state.value<number>() },
        onElement: (_n, { watermark, state: { reached } }) => {
          const before = reached.get();
          if (watermark !== Number.NEGATIVE_INFINITY) reached.set(watermark);
          return before !== undefined && watermark < before ? [`${watermark} after ${before}`] : [];
        },
      });
    const late = windowed.side("late").map((n) => `late: ${n}`);
    const results = windowed.map((result): unknown => result);
    results.union(late.union(backwards)).to("out", sinks.ndjson("out"));
  };

function expectedOf({ times, sizeMs, everyMs }: Case): unknown[] {
  const found = new Map<string, { key: number; window: { start: number; end: number }; value: number }>();
  for (const [n, time] of times.entries()) {
    for (let start = Math.floor(time / everyMs) * everyMs; start + sizeMs > time; start -= everyMs) {
      const name = `${n % 5} ${start}`;
      const window = found.get(name) ?? { key: n % 5, window: { start, end: start + sizeMs }, value: 0 };
      window.value += n;
      found.set(name, window);
    }
  }
  return [...found.values()];
}

test("windows through crashes are those of plain loops, nothing is late, and time never goes back", {
  timeout: 240_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(cases, async (each) => {
      const { records } = await runThroughCrashes(jobOf(each), each);
      expect(sorted(records)).toEqual(sorted(expectedOf(each)));
    }),
    { numRuns: 40 },
  );
});
