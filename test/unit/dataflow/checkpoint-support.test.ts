import { describe, expect, test } from "vitest";
import { checkpointObstacle } from "../../../src/dataflow/checkpoint-support.js";
import type { OperatorKind, OperatorSpec } from "../../../src/dataflow/graph.js";

const operator = (uid: string, kind: OperatorKind, config: OperatorSpec["config"] = null): OperatorSpec => ({
  uid,
  kind,
  parallelism: null,
  config,
});
const file = operator("out", "sink", { descriptor: { kind: "ndjson", path: "out" } });

describe("which jobs can take checkpoints", () => {
  test("all operators, the library's sinks, and sinks of one's own that say what they guarantee, can", () => {
    const kinds: OperatorKind[] = ["source", "map", "filter", "flatMap", "mapAsync", "keyBy", "combine", "aggregate", "reduce"];
    const more: OperatorKind[] = ["process", "union", "join", "broadcastJoin", "distinct", "sort", "rebalance"];
    const sinks = [
      file,
      operator("all", "sink", { collect: true, maxRecords: 10 }),
      operator("shown", "sink", { descriptor: { kind: "console" } }),
      operator("two-phase", "sink", { custom: true, appears: "at-checkpoint", guarantee: null }),
      operator("idempotent", "sink", { custom: true, appears: null, guarantee: "effectively-once" }),
    ];
    expect(checkpointObstacle({ operators: [...[...kinds, ...more].map((kind) => operator(kind, kind)), ...sinks] })).toBeNull();
  });

  test("a sink of one's own that says nothing can't, and is named", () => {
    const own = operator("mine", "sink", { custom: true });
    expect(checkpointObstacle({ operators: [operator("in", "source"), own, file] })).toMatchObject({ operator: "mine" });
  });
});
