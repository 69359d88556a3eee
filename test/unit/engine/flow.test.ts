import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { planJob, sinks, sources } from "../../../src/api/index.js";
import { CodedError } from "../../../src/base/errors.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import { BATCH_RECORDS } from "../../../src/executor/run/network.js";
import { RateLimiter } from "../../../src/executor/run/rate-limiter.js";
import { runSlice } from "../../../src/executor/run/run-slice.js";
import { runJob } from "../../../src/testing/index.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import { collect, jobOf } from "./support.js";

describe("a slow consumer slows the source", () => {
  test.each([1, 2, 8])(
    "with %i credits a channel never holds more than they allow, and the source stays that near",
    async (credits) => {
      let read = 0;
      let written = 0;
      let ahead = 0;
      const job = jobOf((job) =>
        job
          .from("n", sources.numbers({ to: 60_000 }), { parallelism: 1 })
          .map((n) => {
            read++;
            ahead = Math.max(ahead, read - written);
            return n;
          })
          .rebalance()
          .to("out", sinks.collect()),
      );
      const { peakWaitingBatches, collected } = await runJob(
        job,
        {},
        {
          parallelism: 2,
          creditsPerChannel: credits,
          onCollect: async (_uid, records) => {
            for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
            written += records.length;
          },
        },
      );
      expect(collected.out?.length).toBe(60_000);
      expect(peakWaitingBatches).toBe(credits + 1);
      // Two channels: what waits in them, what each side fills or empties now, and what the sink collects before it writes.
      expect(ahead).toBeLessThanOrEqual(2 * (credits + 1 + 4) * BATCH_RECORDS);
    },
  );

  test("a channel out of credit stops its sender at once; the batch it was sending is not lost", async () => {
    const network = createLocalNetwork({ creditsPerChannel: 2 });
    const channel = { edge: "e", fromSubtask: 0, toSubtask: 1 };
    const output = network.output(channel);
    const input = network.input([channel]);
    expect(output.send([1, 2, 3], 0, 3)).toBe(true);
    expect(output.send([0, 4, 5], 1, 2)).toBe(true);
    let released = false;
    const blocked = output.send([6], 0, 1) as Promise<void>;
    void blocked.then(() => {
      released = true;
    });
    await Promise.resolve();
    expect(released).toBe(false);
    expect(input.poll()?.records).toEqual([1, 2, 3]);
    await blocked;
    output.end();
    expect(input.poll()?.records).toEqual([4, 5]);
    expect(input.poll()?.records).toEqual([6]);
    expect(input.poll()).toEqual({ channel, records: null });
    expect(input.poll()).toBeUndefined();
  });

  test("a network that fails rejects who waits and throws at who polls", async () => {
    const network = createLocalNetwork({ creditsPerChannel: 0 });
    const channel = { edge: "e", fromSubtask: 0, toSubtask: 1 };
    const input = network.input([channel]);
    const blocked = network.output(channel).send([1], 0, 1) as Promise<void>;
    let woken = 0;
    input.onReady(() => {
      woken++;
    });
    await network.close(new CodedError("EXECUTOR_LOST", "executor 1 is gone"));
    await expect(blocked).rejects.toMatchObject({ code: "EXECUTOR_LOST" });
    expect(() => input.poll()).toThrow("executor 1 is gone");
    expect(woken).toBe(1);
  });

  test("channels take turns", () => {
    const network = createLocalNetwork({ creditsPerChannel: 4 });
    const channels = [0, 1].map((fromSubtask) => ({ edge: "e", fromSubtask, toSubtask: 0 }));
    const [first, second] = channels.map((channel) => network.output(channel));
    const input = network.input(channels);
    first?.send(["a1"], 0, 1);
    first?.send(["a2"], 0, 1);
    first?.send(["a3"], 0, 1);
    second?.send(["b1"], 0, 1);
    expect([1, 2, 3, 4].map(() => input.poll()?.records?.[0])).toEqual(["a1", "b1", "a2", "a3"]);
  });
});

describe("the same job gives the same records in the same order", () => {
  test.each([1, 3, 4])("parallelism %i", async (parallelism) => {
    const run = () =>
      collect(
        (job) => {
          const numbers = job.from("n", sources.numbers({ to: 20_000 }));
          const sums = numbers.keyBy((n) => n % 100).aggregate("sum", { init: () => 0, add: (a, n) => a + n, emit: "updates" });
          sums.union(numbers.rebalance().map(async (n) => ({ key: n, value: -1 }))).to("out", sinks.collect());
        },
        { parallelism, creditsPerChannel: 2 },
      );
    expect(await run()).toEqual(await run());
  });
});

describe("unbounded jobs", () => {
  test("run until their signal aborts; what was read flows out", async () => {
    const controller = new AbortController();
    const { collected, progress } = await runJob(
      jobOf((job) =>
        job
          .from("n", sources.numbers({ rate: 20_000 }))
          .keyBy((n) => n % 3)
          .aggregate("count", { init: () => 0, add: (count) => count + 1, emit: "updates" })
          .to("out", sinks.collect()),
      ),
      {},
      {
        parallelism: 2,
        signal: controller.signal,
        onCollect: (_uid, records) => {
          if ((records[0] as { value: number }).value > 100) controller.abort();
        },
      },
    );
    expect(progress.recordsIn).toBeGreaterThan(300);
    expect(collected.out?.length).toBe(progress.recordsIn);
  });

  test("a record reaches the sink soon, also when no batch fills", async () => {
    const controller = new AbortController();
    let give: ((value: IteratorResult<number>) => void) | null = null;
    const seen: unknown[] = [];
    const source = sources.iterable<number>(
      () => ({
        [Symbol.asyncIterator]: () => ({ next: () => new Promise<IteratorResult<number>>((resolve) => (give = resolve)) }),
      }),
      { bounded: false },
    );
    const run = runJob(
      jobOf((job) =>
        job
          .from("live", source)
          .map((n) => n)
          .rebalance()
          .map((n) => n)
          .to("out", sinks.collect()),
      ),
      {},
      { parallelism: 2, signal: controller.signal, onCollect: (_uid, records) => void seen.push(...records) },
    );
    const asked = async () => {
      for (;;) {
        const giveOnce = give;
        give = null;
        if (giveOnce !== null) return giveOnce;
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    for (let n = 0; n < 3; n++) {
      while (seen.length < n) await new Promise((resolve) => setImmediate(resolve));
      (await asked())({ value: n, done: false });
    }
    while (seen.length < 3) await new Promise((resolve) => setImmediate(resolve));
    const last = await asked();
    controller.abort();
    last({ value: 0, done: true });
    await run;
    expect(seen).toEqual([0, 1, 2]);
  });
});

describe("rate limits", () => {
  test("hold over time, in batches, and catch up only a little after a pause", () => {
    const limiter = new RateLimiter(10_000, () => 2, 0);
    expect(limiter.allowed(0, 1_024)).toBe(0);
    expect(limiter.waitMs()).toBe(10);
    let total = 0;
    for (let now = 0; now <= 1_000; now += 10) {
      const count = limiter.allowed(now, 1_024);
      limiter.taken(count);
      total += count;
    }
    expect(total).toBe(5_000);
    expect(limiter.allowed(60_000, 100_000)).toBe(500);
  });

  test("slow rates wait for whole records", () => {
    const limiter = new RateLimiter(2, () => 1, 0);
    expect(limiter.waitMs()).toBe(500);
    expect(limiter.allowed(499, 10)).toBe(0);
    expect(limiter.allowed(501, 10)).toBe(1);
  });
});

test("a slice that is cancelled rejects with the reason and leaves nothing open", async () => {
  const { built } = await planJob(
    jobOf((job) => job.from("n", sources.numbers()).rebalance().to("out", sinks.collect())),
    {},
    { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") },
  );
  const closed: string[] = [];
  const slice = runSlice({
    built,
    applicationId: "a",
    attempt: "1",
    subtask: 0,
    parallelism: 1,
    splits: { next: async () => ({ split: { id: "s", sizeHint: 1 }, position: null }) },
    network: createLocalNetwork(),
    connectors: {
      source: () => ({
        bounded: false,
        enumerate: async () => ({ splits: [], totalRecords: null, totalBytes: null }),
        open: async (_split, _position, { signal }) => ({
          next: () => new Promise<number>((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
          position: () => 0,
          progress: () => 0,
          close: async () => void closed.push("reader"),
        }),
      }),
      sink: () => {
        throw new Error("no sink");
      },
    },
    clock: createLogicalClock(),
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
    yieldToLoop: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const done = slice.done.catch((thrown) => thrown);
  await new Promise((resolve) => setImmediate(resolve));
  await slice.cancel(new CodedError("SUPERSEDED", "a newer attempt runs"));
  expect(await done).toMatchObject({ code: "SUPERSEDED" });
  expect(closed).toEqual(["reader"]);
});
