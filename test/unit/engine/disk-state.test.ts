/** Jobs whose state is on disk give what they give from memory, through crashes; what can't be there is refused when it is planned. */

import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { defineJob, type JobBuilder, planJob, type StateCodec, sinks, sources, state } from "../../../src/api/index.js";
import type { ScratchStore, ScratchStores } from "../../../src/env/scratch-store.js";
import { createScratchStores } from "../../../src/node/level-store/scratch-store.js";
import { runThroughCrashes } from "./checkpoint-run.js";
import { sorted } from "./support.js";

const COUNT = 30_000;
const KEYS = 12_000;
const parent = mkdtempSync(path.join(tmpdir(), "holdfast-scratch-"));
afterAll(() => rmSync(parent, { recursive: true }));

/** Stores that make slots look so large that few are held in memory, and count what is read back. */
function crowded() {
  const counts = { stores: 0, reads: 0 };
  const wrapped = (store: ScratchStore): ScratchStore => ({
    get: (key) => {
      const row = store.get(key);
      if (row !== undefined) counts.reads++;
      return row;
    },
    write: async (changes) => (await store.write(changes)) * 100_000,
    clear: (from, to) => store.clear(from, to),
    picture: () => store.picture(),
  });
  const scratch = (): ScratchStores => {
    const stores = createScratchStores(path.join(parent, String(++counts.stores)));
    return { open: async (owner) => wrapped(await stores.open(owner)), close: () => stores.close() };
  };
  return { counts, scratch };
}

class Sum {
  readonly of: number;
  constructor(of: number) {
    this.of = of;
  }
  plus(n: number): Sum {
    return new Sum(this.of + n);
  }
}
const sums: StateCodec<Sum> = { version: 1, encode: ({ of }) => of, decode: (of) => new Sum(of as number) };

const keyed = (job: JobBuilder, tick: () => void) =>
  job
    .from("n", sources.numbers({ to: COUNT }))
    .map((n) => {
      tick();
      // Slow enough that checkpoints, which read a disk, are over before the input is.
      return n % 16 === 0 ? new Promise<number>((resolve) => setTimeout(resolve, 1, n)) : n;
    })
    .keyBy((n) => (n * 7) % KEYS);

const jobs: readonly (readonly [string, (job: JobBuilder, tick: () => void) => void])[] = [
  [
    "an aggregate that changes its accumulators in place",
    (job, tick) =>
      keyed(job, tick)
        .aggregate("seen", {
          init: () => ({ all: [] as number[], last: new Map<string, number>() }),
          add: (seen, n) => {
            seen.all.push(n);
            seen.last.set("n", n);
            return seen;
          },
          result: ({ all, last }) => ({ all: [...all], last: last.get("n") }),
        })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "a reduce with updates, some of them awaited",
    (job, tick) =>
      keyed(job, tick)
        .reduce("sums", (left, right) => (right % 1_000 === 0 ? Promise.resolve(left + right) : left + right))
        .to("out", sinks.ndjson("out")),
  ],
  [
    "a process with values, lists, maps and a codec, and handlers that are generators",
    (job, tick) =>
      keyed(job, tick)
        .process("seen", {
          state: { sum: state.value<Sum>({ codec: sums }), all: state.list<number>(), by: state.map<number, bigint>() },
          onElement: async function* (n, { state: { sum, all, by } }) {
            sum.set((sum.get() ?? new Sum(0)).plus(n));
            if (n % 2_000 === 0) yield { n };
            all.add(n);
            by.set(n % 3, (by.get(n % 3) ?? 0n) + 1n);
          },
          onEnd: (key, { state: { sum, all, by } }) => [
            { key, sum: sum.get()?.of, all: [...all.get()], by: [...by.entries()].map(String).sort() },
          ],
        })
        .to("out", sinks.ndjson("out")),
  ],
];

describe("state on disk", () => {
  for (const [name, build] of jobs) {
    test(`${name}: through crashes and checkpoints that are given up, the result is that of a run in memory`, async () => {
      const undisturbed = await runThroughCrashes(build, { parallelism: 2, checkpointsAt: [] });
      const { counts, scratch } = crowded();
      const run = await runThroughCrashes(build, {
        parallelism: 2,
        checkpointsAt: [9_000, 4_000, 5_000],
        more: [1_500, 1_500],
        givesUp: (index) => index === 1,
        crashAfter: 500,
        scratch,
      });
      expect(run.completed).toBeGreaterThanOrEqual(2);
      expect(run.recordsAtLastCheckpoint).toBeGreaterThan(0);
      expect(sorted(run.records)).toEqual(sorted(undisturbed.records));
      expect(counts.reads).toBeGreaterThan(1_000);
      expect(readdirSync(parent), "scratch directories afterwards").toEqual([]);
    });
  }

  test("fails its try when it can't be written, with the store's own error", async () => {
    const { scratch } = crowded();
    const broken = (): ScratchStores => {
      const stores = scratch();
      const failing = async (): Promise<never> => {
        throw Object.assign(new Error("the scratch store of operator 'seen' failed"), { code: "DISK_FAILED" });
      };
      return { open: failing, close: () => stores.close() };
    };
    const [, build] = jobs[0] ?? expect.fail("a job");
    await expect(runThroughCrashes(build, { parallelism: 1, checkpointsAt: [], scratch: broken })).rejects.toMatchObject({
      message: expect.stringContaining("the scratch store of operator 'seen' failed"),
    });
  });

  test("refuses instances of classes by name, for they would come back without their methods", async () => {
    const { scratch } = crowded();
    const build = (job: JobBuilder, tick: () => void) =>
      keyed(job, tick)
        .aggregate("sums", { init: () => new Sum(0), add: (sum, n) => sum.plus(n) })
        .to("out", sinks.ndjson("out"));
    await expect(runThroughCrashes(build, { parallelism: 1, checkpointsAt: [], scratch })).rejects.toMatchObject({
      code: "OPERATOR_FAILED",
      message: "Operator 'sums' has an instance of Sum in its state, which is on disk.",
    });
  });
});

describe('a job with state: "disk"', () => {
  const plan = (build: (job: JobBuilder) => void, where: unknown = "disk") =>
    planJob(
      defineJob({ id: "test", state: where as "disk", build: (job) => build(job) }),
      {},
      {
        sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex"),
      },
    );
  const process = (more: { readonly timers?: boolean; readonly ttl?: number }) => (job: JobBuilder) =>
    keyed(job, () => undefined)
      .process("op", {
        state: { last: state.value<number>(more.ttl === undefined ? {} : { ttl: more.ttl }) },
        onElement: () => undefined,
        ...(more.timers === true ? { onTimer: () => undefined } : {}),
      })
      .to("out", sinks.collect());

  test("is planned when its operators can have it there", async () => {
    expect((await plan(process({}))).settings.state).toBe("disk");
    expect((await plan(process({ timers: true }), "memory")).settings.state).toBe("memory");
  });

  test.each([
    ["has timers, which stay in memory", process({ timers: true })],
    ["has a state with a time to live", process({ ttl: 1_000 })],
    [
      "(distinct) keeps its state in memory",
      (job: JobBuilder) =>
        job
          .from("n", sources.numbers({ to: 1 }))
          .distinct("op", (n) => n)
          .to("out", sinks.collect()),
    ],
    [
      "(sort) keeps its state in memory",
      (job: JobBuilder) =>
        job
          .from("n", sources.numbers({ to: 1 }))
          .sort("op", { by: (n) => n })
          .to("out", sinks.collect()),
    ],
  ])("is refused, by the operator's name, when one %s", async (why, build) => {
    await expect(plan(build)).rejects.toMatchObject({
      code: "PLAN_FAILED",
      message: `Operator 'op' ${why}, and the job has state: "disk".`,
      hint: expect.stringContaining("more memory"),
    });
  });

  test("is refused when it says something else", async () => {
    await expect(plan(process({}), "tape")).rejects.toMatchObject({
      code: "INVALID_JOB",
      message: "Job 'test' has state \"tape\".",
    });
  });
});
