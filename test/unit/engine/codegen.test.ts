import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { type JobBuilder, planJob, type Stream, sinks, sources } from "../../../src/api/index.js";
import { executionPlan } from "../../../src/dataflow/chains.js";
import { buildChain } from "../../../src/executor/run/chain-builder.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import { Pacer } from "../../../src/executor/run/pacer.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import { jobOf } from "./support.js";

/** The source of the loop that a job with one subtask runs as. */
async function sourceOf(build: (job: JobBuilder) => void): Promise<string> {
  const { built } = await planJob(jobOf(build), {}, { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") });
  const [vertex] = executionPlan(built.graph, 1).vertices;
  if (vertex === undefined) throw new Error("no vertex");
  const clock = createLogicalClock();
  const signal = new AbortController().signal;
  const writer = { write: () => undefined, prepare: async () => null, abort: async () => undefined, close: async () => undefined };
  const chain = buildChain({
    built,
    vertex,
    subtask: 0,
    network: createLocalNetwork(),
    clock,
    pacer: new Pacer(clock, async () => undefined),
    signal,
    contextOf: () => ({ signal }) as never,
    writers: new Map(
      built.graph.operators.filter((operator) => operator.kind === "sink").map((operator) => [operator.uid, writer]),
    ),
  });
  return String(chain.compile(chain.nodes[0]?.main.targets ?? []));
}

test("nothing of the user's text is in the generated loop: only generated names", async () => {
  const source = await sourceOf((job) =>
    job
      .from("users-source", sources.collection(["users-text"]))
      .map((usersVariable) => ({ usersField: usersVariable }))
      .filter((usersRecord) => usersRecord.usersField !== "users-literal")
      .keyBy((usersRecord) => usersRecord.usersField)
      .process("users-process", { sides: { "users-side": {} }, onElement: (usersRecord) => [usersRecord] })
      .to("users-sink", sinks.collect()),
  );
  expect(source).not.toMatch(/users/);
  expect(source).toMatch(/^function run\(batch, from, to\)/);
});

test("the generated loop grows with the number of operators, not faster", async () => {
  const chainOf = (length: number) =>
    sourceOf((job) => {
      let stream: Stream<number> = job.from("n", sources.numbers({ to: 1 }));
      for (let i = 0; i < length; i++) {
        stream = stream
          .keyBy((n) => n)
          .aggregate(`sum-${i}`, { init: () => 0, add: (a, n) => a + n, emit: "updates" })
          .map((r) => r.value);
        stream.to(`out-${i}`, sinks.collect());
      }
    });
  const [ten, twenty] = [(await chainOf(10)).length, (await chainOf(20)).length];
  expect(twenty).toBeLessThan(2.2 * ten);
});
