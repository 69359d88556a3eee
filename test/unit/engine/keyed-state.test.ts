import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { type JobBuilder, planJob, sinks, sources, state } from "../../../src/api/index.js";
import { executionPlan } from "../../../src/dataflow/chains.js";
import { keyGroupsOfSubtask } from "../../../src/dataflow/key-groups.js";
import { subtaskOfKey } from "../../../src/dataflow/partitioners.js";
import { buildChain } from "../../../src/executor/run/chain-builder.js";
import type { KeyedState, StateEntry } from "../../../src/executor/run/keyed-state.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import { Pacer } from "../../../src/executor/run/pacer.js";
import type { SnapshotState } from "../../../src/executor/run/state/open-snapshot.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import { jobOf } from "./support.js";

/** The chain of a job with one subtask, fed by hand. */
async function chainOf(build: (job: JobBuilder) => void) {
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
  const clock = createLogicalClock();
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
  const unit = chain.nodes.find((node) => node.unit !== null && "restore" in node.unit)?.unit as unknown as
    | KeyedState
    | SnapshotState;
  return { chain, unit, out, feed: (records: readonly unknown[]) => chain.run(code, records, records.length) };
}

/** All of it, as it is now. */
function entriesOf(unit: KeyedState | SnapshotState): StateEntry[] {
  return "entries" in unit ? [...unit.entries(128)] : [...unit.snapshot(true, 128).take(Number.MAX_SAFE_INTEGER)];
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
    second.unit.restore(entries);
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
