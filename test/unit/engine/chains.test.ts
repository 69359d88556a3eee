import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type JobBuilder, planJob, sinks, sources } from "../../../src/api/index.js";
import { channelsOf, executionPlan } from "../../../src/dataflow/chains.js";
import { jobOf } from "./support.js";

const graphOf = async (build: (job: JobBuilder) => void) =>
  (await planJob(jobOf(build), {}, { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") })).graph;

const example = (job: JobBuilder) => {
  const numbers = job.from("n", sources.numbers({ to: 10 })).map((n) => n);
  const counts = numbers
    .filter((n) => n > 1)
    .keyBy((n) => n)
    .aggregate("count", { init: () => 0, add: (a) => a + 1 });
  counts.sort("top", { by: (r) => r.value }).to("out", sinks.collect());
  numbers.union(counts.map((r) => r.key)).to("all", sinks.collect());
};

test("operators are fused along forward edges; exchanges are what is left", async () => {
  const plan = executionPlan(await graphOf(example), 3);
  expect(
    plan.vertices.map((vertex) => `${vertex.parallelism}: ${vertex.operators.map((operator) => operator.uid).join(" ")}`),
  ).toEqual(["3: n map-1 filter-1 keyBy-1", "3: count map-2", "1: top out", "3: union-1 all"]);
  expect(plan.edges.map((edge) => `${edge.from} -${edge.exchange}-> ${edge.to}`)).toEqual([
    "keyBy-1 -hash-> count",
    "count -rebalance-> top",
    "map-1 -forward-> union-1",
    "map-2 -forward-> union-1",
  ]);
  expect(plan.edges.map((edge) => channelsOf(edge).length)).toEqual([9, 3, 3, 3]);
});

test("with one subtask everything with one input is fused into one loop", async () => {
  const plan = executionPlan(await graphOf(example), 1);
  expect(plan.vertices.map((vertex) => vertex.operators.map((operator) => operator.uid))).toEqual([
    ["n", "map-1", "filter-1", "keyBy-1", "count", "top", "out", "map-2"],
    ["union-1", "all"],
  ]);
});

test("every operator stands in one vertex, every edge within or between, and channels pair up, whatever the parallelism", async () => {
  const graph = await graphOf(example);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), (parallelism) => {
      const plan = executionPlan(graph, parallelism);
      expect(plan.parallelism).toBe(Math.min(parallelism, graph.maxParallelism));
      expect(plan.vertices.flatMap((vertex) => vertex.operators.map((operator) => operator.uid)).sort()).toEqual(
        graph.operators.map((operator) => operator.uid).sort(),
      );
      expect(plan.edges.length + plan.vertices.reduce((sum, vertex) => sum + vertex.fused.length, 0)).toBe(graph.edges.length);
      for (const vertex of plan.vertices) {
        expect(vertex.parallelism).toBeLessThanOrEqual(plan.parallelism);
        for (const edge of vertex.inputs) {
          for (let subtask = 0; subtask < vertex.parallelism; subtask++) {
            const senders = channelsOf(edge).filter((channel) => channel.toSubtask === subtask);
            expect(senders.length).toBe(edge.exchange === "forward" ? 1 : edge.fromParallelism);
          }
        }
      }
    }),
  );
});
