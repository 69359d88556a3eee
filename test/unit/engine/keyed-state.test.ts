import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { type JobBuilder, planJob, sinks, sources, state } from "../../../src/api/index.js";
import { executionPlan } from "../../../src/dataflow/chains.js";
import { keyGroupsOfSubtask } from "../../../src/dataflow/key-groups.js";
import { subtaskOfKey } from "../../../src/dataflow/partitioners.js";
import type { Clock } from "../../../src/env/clock.js";
import { buildChain } from "../../../src/executor/run/chain-builder.js";
import type { StateEntry } from "../../../src/executor/run/keyed-state.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import { Pacer } from "../../../src/executor/run/pacer.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import { createManualClock } from "../../support/manual-clock.js";
import { entriesOf, stateOf } from "./state-of.js";
import { jobOf } from "./support.js";

/** The chain of a job with one subtask, fed by hand. */
async function chainOf(build: (job: JobBuilder) => void, clock: Clock = createLogicalClock()) {
  const { built } = await planJob(jobOf(build), {}, { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") });
  const [vertex] = executionPlan(built.graph, 1).vertices;
  if (vertex === undefined) throw new Error("no vertex");
  const out: unknown[] = [];
  const writer = {
    write: (records: readonly unknown[], count: number) => void out.push(...records.slice(0, count)),
    prepare: async () => null,
    abort: async () => undefined,
    close: async () => undefined,
  };
  const signal = new AbortController().signal;
  const chain = buildChain({
    built,
    vertex,
    subtask: 0,
    network: createLocalNetwork(),
    clock,
    pacer: new Pacer(clock, async () => undefined),
    signal,
    contextOf: (operator) => ({
      signal,
      operator: operator.uid,
      subtask: 0,
      parallelism: 1,
      application: "app-1-1",
      attempt: "1.1",
      fence: 1,
      log: undefined as never,
      metrics: undefined as never,
    }),
    writers: new Map([["out", writer]]),
  });
  const code = chain.compile(chain.nodes[0]?.main.targets ?? []);
  const unit = stateOf(chain.nodes.find((node) => stateOf(node.unit) !== null)?.unit ?? null);
  if (unit === null) throw new Error("no state");
  return { chain, unit, out, feed: (records: readonly unknown[]) => chain.run(code, records, records.length) };
}

const jobs: [string, (job: JobBuilder) => void][] = [
  [
    "aggregate",
    (job) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .keyBy((n) => [n % 7, "x"])
        .aggregate("s", { init: () => ({ n: 0 }), add: (a, n) => ({ n: a.n + n }) })
        .to("out", sinks.collect()),
  ],
  [
    "process",
    (job) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .keyBy((n) => `k${n % 7}`)
        .process("s", {
          state: { all: state.list<number>(), last: state.value<number>() },
          onElement: (n, ctx) => {
            ctx.state.all.add(n);
            ctx.state.last.set(n);
          },
          onEnd: (key, ctx) => [{ key, all: [...ctx.state.all.get()], last: ctx.state.last.get() }],
        })
        .to("out", sinks.collect()),
  ],
  [
    "distinct",
    (job) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .distinct("s", (n) => n % 7)
        .to("out", sinks.collect()),
  ],
];

test.each(jobs)(
  "%s: state taken in the middle and restored elsewhere continues as if nothing had happened",
  async (_name, build) => {
    const records = Array.from({ length: 100 }, (_, n) => n);
    const whole = await chainOf(build);
    await whole.feed(records);
    await whole.chain.end();

    const first = await chainOf(build);
    await first.feed(records.slice(0, 40));
    first.chain.flush(true);
    const entries: StateEntry[] = entriesOf(first.unit);
    expect(first.unit.size).toBe(7);
    const second = await chainOf(build);
    second.unit.restore(entries, null);
    await second.feed(records.slice(40));
    await second.chain.end();
    expect([...first.out, ...second.out]).toEqual(whole.out);
  },
);

test("the key group of an entry belongs to the subtask that the records of its key go to", async () => {
  const { unit, feed } = await chainOf(jobs[1]?.[1] as (job: JobBuilder) => void);
  await feed(Array.from({ length: 50 }, (_, n) => n));
  for (const { key, keyGroup } of entriesOf(unit)) {
    const subtask = subtaskOfKey(key, 128, 3);
    const { first, last } = keyGroupsOfSubtask(subtask, 128, 3);
    expect(keyGroup).toBeGreaterThanOrEqual(first);
    expect(keyGroup).toBeLessThanOrEqual(last);
  }
});

test("a timer that fires while a snapshot is open is in it, with the state that its key had at the barrier", async () => {
  const clock = createManualClock();
  const { chain, unit, feed } = await chainOf(
    (job) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .keyBy((n) => n)
        .process("s", {
          state: { fired: state.value<number>() },
          onElement: (_n, { timers }) => timers.processingTime(timers.now() + 100),
          onTimer: (_timer, { state: { fired } }) => fired.set((fired.get() ?? 0) + 1),
        })
        .to("out", sinks.collect()),
    clock,
  );
  if (!("snapshot" in unit)) throw new Error("no snapshots");
  unit.track();
  await feed([1, 2]);
  const at = clock.wallNow() + 100;
  const snapshot = unit.snapshot(true, 128);
  await clock.jump(100);
  await chain.time.fireDue();
  const entries = snapshot.take(10);
  expect(entries.map(({ key, value }) => ({ key, value }))).toEqual(
    [1, 2].map((key) => ({ key, value: { row: [undefined], event: [], processing: [at] } })),
  );
  expect(entriesOf(unit).map(({ value }) => value)).toEqual([1, 2].map(() => ({ row: [1], event: [], processing: [] })));
});
