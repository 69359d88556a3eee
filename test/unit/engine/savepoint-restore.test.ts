import { describe, expect, test } from "vitest";
import { type JobBuilder, type StateCodec, sinks, sources, state } from "../../../src/api/index.js";
import { keyGroupsOfSubtask } from "../../../src/dataflow/key-groups.js";
import { SavepointRun } from "./savepoint-restore.js";

const KEYS = Array.from({ length: 60 }, (_, key) => key);

const counted = (job: JobBuilder) =>
  job
    .from("n", sources.numbers({ to: 1 }))
    .keyBy((n) => n)
    .process("op", {
      state: { seen: state.value<number>() },
      onElement: (n, { state: { seen } }) => {
        seen.set((seen.get() ?? 0) + 1);
        return [{ n, count: seen.get() }];
      },
    })
    .to("out", sinks.collect());

const aggregated = (job: JobBuilder) =>
  job
    .from("n", sources.numbers({ to: 1 }))
    .keyBy((n) => n)
    .aggregate("op", { init: () => ({ sum: 0 }), add: (sum, n) => ({ sum: sum.sum + n }) })
    .to("out", sinks.collect());

const distinct = (job: JobBuilder) =>
  job
    .from("n", sources.numbers({ to: 1 }))
    .distinct("op", (n) => n)
    .to("out", sinks.collect());

const KINDS: readonly (readonly [string, (job: JobBuilder) => void])[] = [
  ["process", counted],
  ["aggregate", aggregated],
  ["distinct", distinct],
];

describe("the state of a job that begins from a savepoint at another parallelism", () => {
  test.each(
    KINDS.flatMap(([name, build]) =>
      [[2, 3] as const, [3, 2] as const, [4, 1] as const, [1, 5] as const].map((pair) => [name, ...pair, build] as const),
    ),
  )("%s, from %i to %i subtasks: each holds the keys of its own key groups and no others", async (_name, before, after, build) => {
    const run = new SavepointRun();
    const subtasks = await run.subtasks(build, after, await run.slicesFor(build, KEYS, before, after));
    const held = subtasks.map(({ entries }) => entries);
    expect(held.flat().map(({ key }) => key)).toHaveLength(KEYS.length);
    for (const [subtask, entries] of held.entries()) {
      const { first, last } = keyGroupsOfSubtask(subtask, 128, after);
      for (const { keyGroup } of entries) expect(keyGroup >= first && keyGroup <= last).toBe(true);
    }
  });

  test("is written whole in its next checkpoint: blobs that hold entries of others are no base of it", async () => {
    const run = new SavepointRun();
    const slices = await run.slicesFor(counted, KEYS, 2, 3);
    const given = new Set(slices.flatMap(({ states }) => states.op ?? []).map(({ sha256 }) => sha256));
    const subtasks = await run.subtasks(counted, 3, slices);
    const written = (await Promise.all(subtasks.map((one) => one.written(2)))).map((handles) => ({
      ...{ finished: [], writers: {} },
      states: { op: handles },
    }));
    for (const { states } of written) for (const { sha256 } of states.op) expect(given).not.toContain(sha256);
    const again = await run.subtasks(counted, 3, written);
    expect(again.flatMap(({ entries }) => entries)).toHaveLength(KEYS.length);
  });
});

interface Total {
  readonly cents: number;
}
const version1: StateCodec<Total> = {
  version: 1,
  encode: ({ cents }) => `${cents / 100}`,
  decode: (data) => ({ cents: Number(data) * 100 }),
};
/** Written in cents; what version 1 wrote was in whole units, as text. */
const version2: StateCodec<Total> = {
  version: 2,
  encode: ({ cents }) => cents,
  decode: (data, version) => ({ cents: version === 1 ? Number(data as string) * 100 : (data as number) }),
};

const totals = (codec: StateCodec<Total>) => (job: JobBuilder) =>
  job
    .from("n", sources.numbers({ to: 1 }))
    .keyBy((n) => n)
    .process("op", {
      state: { total: state.value<Total>({ codec }) },
      onElement: (n, { state: { total } }) => {
        const cents = (total.get()?.cents ?? 0) + 100 * (n + 1);
        total.set({ cents });
        return [{ n, cents }];
      },
    })
    .to("out", sinks.collect());

describe("a job whose code has changed", () => {
  test.each([
    [2, 2],
    [2, 3],
  ])(
    "reads with version 2 of a codec what version 1 wrote, and later what it writes itself (from %i to %i)",
    async (before, after) => {
      const run = new SavepointRun();
      const changed = totals(version2);
      const subtasks = await run.subtasks(changed, after, await run.slicesFor(totals(version1), KEYS, before, after));
      for (const one of subtasks) for (const { key } of one.entries) await one.feed(key);
      const seen = subtasks.flatMap((one) => one.taken()) as { n: number; cents: number }[];
      expect(seen.sort((a, b) => a.n - b.n)).toEqual(KEYS.map((n) => ({ n, cents: 200 * (n + 1) })));

      const slices = await Promise.all(
        subtasks.map(async (one) => ({ finished: [], states: { op: await one.written(2) }, writers: {} })),
      );
      const later = await run.subtasks(changed, after, slices);
      for (const one of later) for (const { key } of one.entries) await one.feed(key);
      const last = later.flatMap((one) => one.taken()) as { n: number; cents: number }[];
      expect(last.sort((a, b) => a.n - b.n)).toEqual(KEYS.map((n) => ({ n, cents: 300 * (n + 1) })));
    },
  );

  test("is refused by the name of a state that has become one of another kind", async () => {
    const run = new SavepointRun();
    const slices = await run.slicesFor(counted, KEYS, 2, 2);
    const lists = (job: JobBuilder) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .keyBy((n) => n)
        .process("op", { state: { seen: state.list<number>() }, onElement: () => [] })
        .to("out", sinks.collect());
    await expect(run.subtasks(lists, 2, slices)).rejects.toMatchObject({
      code: "CHECKPOINT_UNREADABLE",
      message: "State 'seen' of operator 'op' is a list, and was a value.",
    });
  });
});
