import { describe, expect, test } from "vitest";
import { type JobBuilder, sinks, sources, state } from "../../../src/api/index.js";
import type { ExchangeNetwork } from "../../../src/executor/run/network.js";
import { MemoryBlobs, runThroughCrashes } from "./checkpoint-run.js";
import { sorted } from "./support.js";

const COUNT = 12_000;
const numbers = () => sources.numbers({ to: COUNT });

type Build = (job: JobBuilder, tick: () => void) => void;
const ticked = (tick: () => void) => (n: number) => {
  tick();
  return n;
};

const jobs: readonly (readonly [string, Build])[] = [
  ["records that only pass", (job, tick) => job.from("n", numbers()).map(ticked(tick)).rebalance().to("out", sinks.ndjson("out"))],
  [
    "aggregates by key, gathered before the exchange",
    (job, tick) =>
      job
        .from("n", numbers())
        .map(ticked(tick))
        .keyBy((n) => `key ${n % 97}`)
        .aggregate("sums", {
          init: () => ({ count: 0, sum: 0 }),
          add: (sum, n) => ({ count: sum.count + 1, sum: sum.sum + n }),
          merge: (a, b) => ({ count: a.count + b.count, sum: a.sum + b.sum }),
        })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "reduce with keys that are objects, and updates",
    (job, tick) =>
      job
        .from("n", numbers())
        .map(ticked(tick))
        .keyBy((n) => ({ last: n % 5 }))
        .reduce("sums", (left, right) => left + right)
        .to("out", sinks.ndjson("out")),
  ],
  [
    "a process function with values, lists and maps",
    (job, tick) =>
      job
        .from("n", numbers())
        .map(ticked(tick))
        .keyBy((n) => n % 11)
        .process("seen", {
          state: { count: state.value<number>(), every: state.list<number>(), rest: state.map<number, bigint>() },
          onElement: (n, { state: { count, every, rest } }) => {
            count.set((count.get() ?? 0) + 1);
            if (n % 100 === 0) every.add(n);
            rest.set(n % 3, (rest.get(n % 3) ?? 0n) + 1n);
          },
          onEnd: (key, { state: { count, every, rest } }) => [
            { key, count: count.get(), every: [...every.get()].sort(), rest: [...rest.entries()].map(String).sort() },
          ],
        })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "distinct, union and calls of mapAsync that are under way",
    (job, tick) => {
      const evens = job.from("evens", numbers()).map(ticked(tick));
      const all = job.from("all", sources.numbers({ from: 5, to: COUNT / 2 })).union(evens);
      all
        .mapAsync(async (n) => n % 1_000, { concurrency: 7, ordered: false })
        .distinct("once", (n) => n)
        .to("out", sinks.ndjson("out"));
    },
  ],
];

/** Joins and sorts: their state is what they hold of an input that has not ended, or has. */
const holding: readonly (readonly [string, Build])[] = [
  [
    "a full join whose second input is as long as its first",
    (job, tick) => {
      const right = job.from("right", sources.numbers({ from: 2_000, to: COUNT + 2_000 })).map(ticked(tick));
      job
        .from("left", numbers())
        .map(ticked(tick))
        .join("pairs", right, {
          type: "full",
          leftKey: (n) => (n % 50 === 0 ? null : `key ${n}`),
          rightKey: (n) => (n % 70 === 0 ? null : `key ${n}`),
          select: (left, rightOne) => ({ left: left ?? null, right: rightOne ?? null }),
        })
        .to("out", sinks.ndjson("out"));
    },
  ],
  [
    "a join with a short second input, and with keys and selections that are promises",
    (job, tick) => {
      const names = job.from("names", sources.numbers({ to: 700 })).map((n) => ({ id: { of: n }, name: `name ${n}` }));
      job
        .from("n", numbers())
        .map(ticked(tick))
        .filter((n) => n % 4 === 0)
        .join("named", names, {
          type: "left",
          leftKey: (n) => (n % 3 === 0 ? { of: n } : Promise.resolve({ of: n })),
          rightKey: ({ id }) => id,
          select: async (n, found) => `${n} ${found?.name ?? "-"}`,
        })
        .to("out", sinks.ndjson("out"));
    },
  ],
  [
    "a broadcast join, and a stream joined with what was made of itself",
    (job, tick) => {
      const all = job.from("n", numbers()).map(ticked(tick));
      const table = job.from("table", sources.numbers({ to: 400 })).map((n) => ({ n, square: n * n }));
      const squares = all.broadcastJoin("squares", table, {
        leftKey: (n) => n % 800,
        rightKey: ({ n }) => n,
        select: (n, { square }) => ({ n, square }),
      });
      squares
        .join(
          "again",
          all.filter((n) => n % 2 === 0),
          { leftKey: ({ n }) => n, rightKey: (n) => n, select: ({ square }, n) => `${n}: ${square}` },
        )
        .to("out", sinks.ndjson("out"));
    },
  ],
  [
    "sorts with and without a limit",
    (job, tick) => {
      const all = job.from("n", numbers()).map(ticked(tick));
      const last = all.sort("last", { by: (n) => n, order: "desc", limit: 40 });
      all
        .filter((n) => n % 10 === 0)
        .sort("order", { by: (n) => [n % 7, -n] })
        .union(last)
        .to("out", sinks.ndjson("out"));
    },
  ],
  [
    "what a client collects",
    (job, tick) =>
      job
        .from("n", numbers())
        .map(ticked(tick))
        .filter((n) => n % 3 === 0)
        .rebalance()
        .to("out", sinks.collect()),
  ],
];

const WHEN = [1, 700, 5_000, 11_500];

describe.each([...jobs, ...holding])("%s", (_name, build) => {
  test.each([1, 2, 3])(
    "the output after crashes is that of an undisturbed run, with parallelism %i",
    { timeout: 60_000 },
    async (parallelism) => {
      const expected = sorted((await runThroughCrashes(build, { parallelism, checkpointsAt: [] })).records);
      expect(expected.length).toBeGreaterThan(0);
      for (const at of WHEN) {
        const once = await runThroughCrashes(build, { parallelism, checkpointsAt: [at], crashAfter: 300 });
        expect(sorted(once.records)).toEqual(expected);
      }
      const often = await runThroughCrashes(build, { parallelism, checkpointsAt: [500, 500, 500, 500] });
      expect(often.completed).toBeGreaterThan(0);
      expect(sorted(often.records)).toEqual(expected);
    },
  );
});

/** Gives way now and then, so that snapshots are written while records come. */
const slowly = (tick: () => void) => (n: number) => {
  tick();
  return n % 10 === 0 ? new Promise<number>((resolve) => setImmediate(() => resolve(n))) : n;
};

/** Keys whose values change in place, in a state of which a checkpoint's changes are a small part. */
const changing: readonly (readonly [string, Build])[] = [
  [
    "accumulators that are changed in place",
    (job, tick) =>
      job
        .from("n", numbers(), { parallelism: 1 })
        .map(slowly(tick))
        .keyBy((n) => ({ key: n < 4_000 ? n : n % 350 }))
        .aggregate("sums", {
          init: () => ({ count: 0, last: [] as number[] }),
          add: (sum, n) => {
            sum.count++;
            sum.last.push(n % 100);
            if (sum.last.length > 3) sum.last.shift();
            return sum;
          },
        })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "keys that were seen",
    (job, tick) =>
      job
        .from("n", numbers(), { parallelism: 1 })
        .map(slowly(tick))
        .distinct("once", (n) => (n % 3 === 0 ? n : n % 5_000))
        .to("out", sinks.ndjson("out")),
  ],
];

describe.each(changing)("%s: changes since the last complete checkpoint are enough", (_name, build) => {
  test.each([1, 2])("with parallelism %i", { timeout: 60_000 }, async (parallelism) => {
    const expected = sorted((await runThroughCrashes(build, { parallelism, checkpointsAt: [] })).records);
    // Every third is given up after all have answered: what it held is in the next one.
    for (const givesUp of [() => false, (index: number) => index % 3 === 1]) {
      const blobs = new MemoryBlobs();
      const run = await runThroughCrashes(build, {
        parallelism,
        checkpointsAt: [4_500, 300, 300],
        more: [20, 20, 20, 20],
        crashAfter: 50,
        creditsPerChannel: 1,
        givesUp,
        blobs,
      });
      expect(run.completed).toBeGreaterThanOrEqual(6);
      expect(sorted(run.records)).toEqual(expected);
      // The last try went on from a base and changes.
      expect(run.handlesAtLastCheckpoint).toBeGreaterThan(2);
    }
  });
});

describe("a restored try", () => {
  const [, sums] = jobs;
  if (sums === undefined) throw new Error("no job");

  test("reads no record that the checkpoint holds", async () => {
    const run = await runThroughCrashes(sums[1], { parallelism: 2, checkpointsAt: [5_000, 2_000] });
    expect(run.completed).toBe(2);
    expect(run.recordsAtLastCheckpoint).toBeGreaterThanOrEqual(7_000);
    expect(run.lastRecordsIn).toBe(COUNT - run.recordsAtLastCheckpoint);
  });

  test("aligns while a full channel holds its sender back", { timeout: 60_000 }, async () => {
    const slow: Build = (job, tick) =>
      job
        .from("n", numbers())
        .map(ticked(tick))
        .keyBy((n) => n % 3)
        .reduce("sums", async (left, right) => {
          if (right % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
          return left + right;
        })
        .to("out", sinks.ndjson("out"));
    const expected = sorted((await runThroughCrashes(slow, { parallelism: 3, checkpointsAt: [] })).records);
    const run = await runThroughCrashes(slow, { parallelism: 3, checkpointsAt: [3_000, 3_000], creditsPerChannel: 1 });
    expect(run.completed).toBe(2);
    expect(sorted(run.records)).toEqual(expected);
  });

  test("does not end again what had ended before the checkpoint", async () => {
    const build: Build = (job, tick) => {
      const short = job.from("short", sources.numbers({ to: 10 })).process("last", {
        onElement: () => [],
        onEnd: () => ["the short one has ended"],
      });
      job
        .from("long", numbers())
        .map(ticked(tick))
        .filter((n) => n % 1_000 === 0)
        .map(String)
        .union(short)
        .to("out", sinks.ndjson("out"));
    };
    const expected = sorted((await runThroughCrashes(build, { parallelism: 2, checkpointsAt: [] })).records);
    expect(expected.filter((record) => record === "the short one has ended")).toHaveLength(2);
    const run = await runThroughCrashes(build, { parallelism: 2, checkpointsAt: [8_000, 1_000] });
    expect(run.completed).toBe(2);
    expect(sorted(run.records)).toEqual(expected);
  });

  test("fails by name when its state is gone, and begins nothing", async () => {
    const blobs = new MemoryBlobs();
    const get = blobs.get.bind(blobs);
    blobs.get = (handle) => {
      blobs.blobs.clear();
      return get(handle);
    };
    const run = runThroughCrashes(sums[1], { parallelism: 2, checkpointsAt: [5_000], blobs });
    await expect(run).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE" });
  });
});

test("a right join remembers which records have found a partner", { timeout: 60_000 }, async () => {
  const build: Build = (job, tick) => {
    const right = job.from("right", sources.numbers({ from: -300, to: 600 }));
    job
      .from("left", sources.numbers({ to: 60_000 }))
      .map(ticked(tick))
      .join("pairs", right, { type: "right", leftKey: (n) => n, rightKey: (n) => n, select: (left, n) => `${left ?? "-"} ${n}` })
      .to("out", sinks.ndjson("out"));
  };
  const run = await runThroughCrashes(build, { parallelism: 2, checkpointsAt: [30_000, 1_000], creditsPerChannel: 1 });
  expect(run.completed).toBe(2);
  expect(sorted(run.records)).toEqual(
    sorted(Array.from({ length: 900 }, (_, i) => (i < 300 ? `- ${i - 300}` : `${i - 300} ${i - 300}`))),
  );
});

describe("a join that still reads its second input", () => {
  const pairs =
    (maxBuildRecords: number): Build =>
    (job, tick) => {
      // Slow, so that the first input fills its channels meanwhile.
      const right = job.from("right", sources.numbers({ to: 4_000 })).map((n) => {
        tick();
        return n % 200 === 0 ? new Promise<number>((resolve) => setImmediate(() => resolve(n))) : n;
      });
      job
        .from("left", sources.numbers({ to: 60_000 }))
        .join("pairs", right, { leftKey: (n) => n, rightKey: (n) => n, select: (left, _right) => left, maxBuildRecords })
        .to("out", sinks.ndjson("out"));
    };

  test("fetches the barrier of its first one past full channels, and holds what stands before it", {
    timeout: 60_000,
  }, async () => {
    const run = await runThroughCrashes(pairs(200_000), { parallelism: 2, checkpointsAt: [1_000, 1_000], creditsPerChannel: 1 });
    expect(run.completed).toBe(2);
    expect(run.recordsAtLastCheckpoint).toBeLessThan(60_000);
    expect(sorted(run.records)).toEqual(sorted(Array.from({ length: 4_000 }, (_, n) => n)));
  });

  test("refuses a checkpoint for which it would have to hold more than it may, and goes on", { timeout: 60_000 }, async () => {
    const refusals: string[] = [];
    const run = await runThroughCrashes(pairs(5_000), {
      parallelism: 1,
      checkpointsAt: [1_000],
      onRefused: ({ code, message }) => refusals.push(`${code}: ${message}`),
    });
    expect(refusals).toEqual([expect.stringContaining("CHECKPOINT_FAILED: Join 'pairs' still reads its second input")]);
    expect(run.completed).toBe(0);
    expect(run.records).toHaveLength(4_000);
  });
});

describe("the runs through crashes find", () => {
  /** A receiver that goes on reading a channel behind its barrier. */
  const withoutStops = (network: ExchangeNetwork): ExchangeNetwork => ({
    ...network,
    input: (channels) => {
      const input = network.input(channels);
      return {
        poll: () => {
          const next = input.poll();
          if (next?.barrier !== undefined) input.release([next.channel]);
          return next;
        },
        release: (released) => input.release(released),
        onReady: (listener) => input.onReady(listener),
      };
    },
  });
  /** A barrier that is sent before what waits for its batch to fill. */
  const overtaking = (network: ExchangeNetwork): ExchangeNetwork => ({
    ...network,
    output: (channel) => {
      const output = network.output(channel);
      let last: { records: readonly unknown[]; start: number; count: number } | null = null;
      const flush = (): true | Promise<void> => {
        const held = last;
        last = null;
        return held === null ? true : output.send(held.records, held.start, held.count);
      };
      return {
        // One batch late: whatever comes next goes before it.
        send: (records, start, count) => {
          const sent = flush();
          last = { records: records.slice(start, start + count), start: 0, count };
          return sent;
        },
        barrier: (id) => output.barrier(id),
        watermark: (watermark) => output.watermark(watermark),
        end: () => {
          flush();
          output.end();
        },
      };
    },
  });
  const uneven: Build = (job, tick) =>
    job
      .from("n", numbers())
      .map((n, { subtask }) => {
        tick();
        return subtask === 0 && n % 20 === 0 ? new Promise<number>((resolve) => setImmediate(() => resolve(n))) : n;
      })
      .keyBy((n) => n % 7)
      .aggregate("sums", { init: () => 0, add: (sum, n) => sum + n })
      .to("out", sinks.ndjson("out"));

  test.each([
    ["a channel that is read on behind its barrier", withoutStops],
    ["a barrier that overtakes a batch", overtaking],
  ])("%s", { timeout: 60_000 }, async (_name, network) => {
    const expected = sorted((await runThroughCrashes(uneven, { parallelism: 2, checkpointsAt: [] })).records);
    const right = await runThroughCrashes(uneven, { parallelism: 2, checkpointsAt: [6_000] });
    expect(sorted(right.records)).toEqual(expected);
    let wrong = 0;
    for (const at of [2_000, 4_000, 6_000, 8_000]) {
      const run = await runThroughCrashes(uneven, { parallelism: 2, checkpointsAt: [at], network }).catch(() => null);
      if (run === null || JSON.stringify(sorted(run.records)) !== JSON.stringify(expected)) wrong++;
    }
    expect(wrong).toBeGreaterThan(0);
  });
});
