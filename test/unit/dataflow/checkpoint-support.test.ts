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
  test("all operators and the library's sinks can", () => {
    const kinds: OperatorKind[] = ["source", "map", "filter", "flatMap", "mapAsync", "keyBy", "combine", "aggregate", "reduce"];
    const more: OperatorKind[] = ["process", "union", "join", "broadcastJoin", "distinct", "sort", "rebalance"];
    const sinks = [
      file,
      operator("all", "sink", { collect: true, maxRecords: 10 }),
      operator("shown", "sink", { descriptor: { kind: "console" } }),
    ];
    expect(checkpointObstacle({ operators: [...[...kinds, ...more].map((kind) => operator(kind, kind)), ...sinks] })).toBeNull();
  });

  test("a sink of one's own can't yet, and is named", () => {
    const own = operator("mine", "sink", { custom: true });
    expect(checkpointObstacle({ operators: [operator("in", "source"), own, file] })).toMatchObject({ operator: "mine" });
  });
});
