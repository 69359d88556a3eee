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
  test("sources, functions, keyed state and file sinks can", () => {
    const kinds: OperatorKind[] = ["source", "map", "filter", "flatMap", "mapAsync", "keyBy", "combine", "aggregate", "reduce"];
    const more: OperatorKind[] = ["process", "union", "distinct", "rebalance"];
    expect(checkpointObstacle({ operators: [...[...kinds, ...more].map((kind) => operator(kind, kind)), file] })).toBeNull();
  });

  test.each([
    operator("pairs", "join"),
    operator("pairs", "broadcastJoin"),
    operator("order", "sort"),
    operator("all", "sink", { collect: true, maxRecords: 10 }),
    operator("mine", "sink", { custom: true }),
    operator("shown", "sink", { descriptor: { kind: "console" } }),
  ])("a $kind ($uid) can't yet, and is named", (refused) => {
    expect(checkpointObstacle({ operators: [operator("in", "source"), refused, file] })).toMatchObject({ operator: refused.uid });
  });
});
