/** How event time gets through a job: over exchanges, past idle sources, and never past what is still to come. */
import { describe, expect, test } from "vitest";
import { type JobBuilder, type Stream, sinks, sources, windows } from "../../../../src/api/index.js";
import { collect, sorted } from "../support.js";

/** A promise that the job itself keeps: what a source waits for. */
function signal(): { readonly given: Promise<void>; readonly give: () => void } {
  let give: () => void = () => undefined;
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { given, give };
}

const counted = (stream: Stream<number>, uid = "w", sizeMs = 10) =>
  stream
    .keyBy(() => "all")
    .window(uid, { window: windows.tumbling(sizeMs), time: (n) => n, init: () => 0, add: (count) => count + 1 });

/** Gives the numbers, then waits for the promise before its end. */
const until = (numbers: readonly number[], promise: Promise<void>) =>
  sources.iterable(
    async function* () {
      yield* numbers;
      await promise;
    },
    { bounded: false },
  );

describe("event time", () => {
  test("reaches every subtask behind an exchange while the source waits", { timeout: 20_000 }, async () => {
    const first = signal();
    const results = await collect(
      (job) =>
        counted(job.from("n", until([1, 2, 25], first.given), { eventTime: { time: (n) => n } }))
          .map((result) => {
            first.give();
            return result;
          })
          .to("out", sinks.collect()),
      { parallelism: 3 },
    );
    expect(results).toEqual([
      { key: "all", window: { start: 0, end: 10 }, value: 2 },
      { key: "all", window: { start: 20, end: 30 }, value: 1 },
    ]);
  });

  test("waits for the slowest source, and not for one that is idle", { timeout: 20_000 }, async () => {
    const first = signal();
    const results = await collect(
      (job) => {
        const fast = job.from("fast", until([1, 100], first.given), { eventTime: { time: (n) => n } });
        const idle = job.from("idle", until([5], first.given), { eventTime: { time: (n) => n, idleAfter: 20 } });
        counted(fast.union(idle))
          .map((result) => {
            first.give();
            return result;
          })
          .to("out", sinks.collect());
      },
      { parallelism: 2 },
    );
    expect(results[0]).toEqual({ key: "all", window: { start: 0, end: 10 }, value: 2 });
  });

  test("what comes from a source that was idle may be late, and time does not go back for it", { timeout: 20_000 }, async () => {
    const first = signal();
    const watermarks: number[] = [];
    const results = await collect(
      (job) => {
        const late = sources.iterable(
          async function* () {
            await first.given;
            yield 3;
          },
          { bounded: false },
        );
        const fast = job.from("fast", until([1, 100], first.given), { eventTime: { time: (n) => n } });
        const slow = job.from("slow", late, { eventTime: { time: (n) => n, idleAfter: 10 } });
        const all = fast.union(slow);
        all
          .keyBy((n) => n)
          .process("seen", {
            onElement: (_n, { watermark }) => void watermarks.push(watermark),
          })
          .to("nothing", sinks.collect());
        const results = counted(all);
        results.side("late").to("late", sinks.collect());
        results
          .map((result) => {
            first.give();
            return result.window.start;
          })
          .to("out", sinks.collect());
      },
      { parallelism: 1 },
    );
    expect(results).toEqual([0, 100]);
    expect(watermarks).toEqual([...watermarks].sort((a, b) => a - b));
  });

  test("stands still until the last split of a source in any order is read, so that no split is late", async () => {
    for (const splits of ["any-order", "in-order"] as const) {
      // The second of the splits of `numbers` holds the earlier times.
      const COUNT = 8_000;
      const time = (n: number) => (n < COUNT / 2 ? n + COUNT : n);
      const late: unknown[] = [];
      const results = await collect<{ readonly value: number }>(
        (job) => {
          const windowed = job
            .from("n", sources.numbers({ to: COUNT }), { eventTime: { time, splits, watermarkEvery: 0 } })
            .keyBy((n) => n % 2)
            .window("w", { window: windows.tumbling(100), time, init: () => 0, add: (count) => count + 1 });
          windowed
            .side("late")
            .map((n) => {
              late.push(n);
              return n;
            })
            .to("late", sinks.collect());
          windowed.to("out", sinks.collect());
        },
        { parallelism: 1 },
      );
      const sum = results.reduce((total, { value }) => total + value, 0);
      expect(sum + late.length).toBe(COUNT);
      expect(late.length === 0).toBe(splits === "any-order");
    }
  });

  test("is not that of a split that has ended, when the next one turns out to be the last", async () => {
    // Four splits; the last one holds earlier times than the one before it.
    const time = (n: number) => (n < 30 ? n + 1_000 : n);
    const late = await collect(
      (job) => {
        const windowed = job
          .from("n", sources.numbers({ to: 40 }), { eventTime: { time, watermarkEvery: 0 } })
          .keyBy(() => "all")
          .window("w", { window: windows.tumbling(5), time, init: () => 0, add: (count) => count + 1 });
        windowed.side("late").to("out", sinks.collect());
        windowed.to("results", sinks.collect());
      },
      { parallelism: 1 },
    );
    expect(late).toEqual([]);
  });

  test("overtakes no record: calls of mapAsync and a join's first input are waited for", async () => {
    const late: unknown[] = [];
    const results = await collect<{ readonly value: number }>(
      (job) => {
        const timed = job.from("n", sources.numbers({ to: 6_000 }), {
          eventTime: { time: (n) => n, splits: "in-order", watermarkEvery: 0 },
        });
        const table = job.from("table", sources.numbers({ to: 10 }));
        const mapped = timed
          .mapAsync(
            async (n) => {
              if (n % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
              return n;
            },
            { concurrency: 50, ordered: false },
          )
          .join("names", table, { leftKey: (n) => n % 10, rightKey: (n) => n, select: (n) => n });
        const windowed = counted(mapped, "w", 5);
        windowed
          .side("late")
          .map((n) => late.push(n))
          .to("late", sinks.collect());
        windowed.to("out", sinks.collect());
      },
      { parallelism: 2, creditsPerChannel: 2 },
    );
    expect(late).toEqual([]);
    expect(results.reduce((total, { value }) => total + value, 0)).toBe(6_000);
  });

  test("stays behind the records that a join holds while it reads its second input", async () => {
    const late: unknown[] = [];
    const results = await collect<{ readonly value: number }>(
      (job) => {
        const timed = job.from("n", sources.numbers({ to: 6_000 }), {
          eventTime: { time: (n) => n, splits: "in-order", watermarkEvery: 0 },
        });
        // Made of the stream itself, so that its first input can't wait and has to be held.
        const itself = timed.join("itself", timed, { leftKey: (n) => n, rightKey: (n) => n, select: (n) => n });
        const windowed = counted(itself, "w", 5);
        windowed
          .side("late")
          .map((n) => late.push(n))
          .to("late", sinks.collect());
        windowed.to("out", sinks.collect());
      },
      { parallelism: 2 },
    );
    expect(late).toEqual([]);
    expect(results.reduce((total, { value }) => total + value, 0)).toBe(6_000);
  });

  test("records that are out of order within the bound are never late, with several subtasks and windows of windows", async () => {
    const COUNT = 20_000;
    const time = (n: number) => n - ((n * 7_919) % 90);
    const build = (job: JobBuilder) => {
      const first = job
        .from("n", sources.numbers({ to: COUNT }), {
          eventTime: { time, outOfOrderness: 90, splits: "in-order", watermarkEvery: 0 },
        })
        .rebalance()
        .keyBy((n) => n % 17)
        .window("first", { window: windows.tumbling(50), time, init: () => 0, add: (count) => count + 1 });
      first
        .keyBy(({ window }) => window.start % 4)
        .window("second", {
          window: windows.tumbling(1_000),
          time: ({ window }) => window.end - 1,
          init: () => 0,
          add: (sum, { value }) => sum + value,
        })
        .to("out", sinks.collect());
    };
    const alone = await collect<{ readonly value: number }>(build, { parallelism: 1 });
    expect(alone.reduce((sum, { value }) => sum + value, 0)).toBe(COUNT);
    for (const parallelism of [2, 3, 4])
      expect(sorted(await collect(build, { parallelism, creditsPerChannel: 1 }))).toEqual(sorted(alone));
  });
});
