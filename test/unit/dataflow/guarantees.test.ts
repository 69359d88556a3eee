import { describe, expect, test } from "vitest";
import { fenceOf } from "../../../src/dataflow/fence.js";
import type { EdgeSpec, OperatorSpec } from "../../../src/dataflow/graph.js";
import { invisibleSink, pathGuarantees, weakerPath } from "../../../src/dataflow/guarantees.js";

const operator = (uid: string, kind: OperatorSpec["kind"], config: OperatorSpec["config"] = null): OperatorSpec => ({
  uid,
  kind,
  parallelism: null,
  config,
});
const edge = (from: string, to: string): EdgeSpec => ({ from, to, input: 0, exchange: "forward", side: null });
const file = { descriptor: { kind: "ndjson", path: "out" } };

function sinkGuarantee(config: OperatorSpec["config"], takesCheckpoints: boolean) {
  const operators = [operator("in", "source"), operator("out", "sink", config)];
  return pathGuarantees({ operators, edges: [edge("in", "out")] }, takesCheckpoints)[0];
}

describe("the guarantee of a path", () => {
  test.each([
    [file, false, "exactly-once"],
    [{ descriptor: { ...file.descriptor, rollRecords: 5 } }, true, "exactly-once"],
    [{ descriptor: { ...file.descriptor, rollRecords: 5 } }, false, "at-least-once"],
    [{ descriptor: { kind: "console" } }, true, "at-least-once"],
    [{ collect: true, maxRecords: 10 }, false, "exactly-once"],
    [{ custom: true, appears: "at-checkpoint", guarantee: null }, true, "exactly-once"],
    [{ custom: true, appears: null, guarantee: "effectively-once" }, true, "effectively-once"],
    [{ custom: true, appears: null, guarantee: "at-least-once" }, true, "at-least-once"],
    [{ custom: true, appears: null, guarantee: null }, false, "at-least-once"],
  ] as const)("to the sink %j, checkpoints %s: %s", (config, takesCheckpoints, guarantee) => {
    const path = sinkGuarantee(config, takesCheckpoints);
    expect(path?.guarantee).toBe(guarantee);
    if (guarantee === "exactly-once") expect(path?.limit).toBeNull();
    else expect(path?.limit).toMatchObject({ operator: "out" });
  });

  test("is told for each sink that a source leads to, and a source that can't be read again names itself", () => {
    const operators = [
      operator("files", "source"),
      operator("socket", "source", { custom: true, replayable: false }),
      operator("both", "union"),
      operator("kept", "sink", file),
      operator("shown", "sink", { descriptor: { kind: "console" } }),
    ];
    const edges = [edge("files", "both"), edge("socket", "both"), edge("both", "kept"), edge("files", "shown")];
    const paths = pathGuarantees({ operators, edges }, true);
    expect(paths.map(({ source, sink, guarantee, limit }) => [source, sink, guarantee, limit?.operator ?? null])).toEqual([
      ["files", "kept", "exactly-once", null],
      ["files", "shown", "at-least-once", "shown"],
      ["socket", "kept", "best-effort", "socket"],
    ]);
    expect(weakerPath(paths, "exactly-once")).toMatchObject({ source: "files", sink: "shown" });
    expect(weakerPath(paths, "at-least-once")).toMatchObject({ source: "socket" });
    expect(weakerPath(paths, "best-effort")).toBeNull();
  });

  test("a sink that appears with checkpoints is invisible in an endless job without any", () => {
    const operators = [operator("in", "source"), operator("out", "sink", { custom: true, appears: "at-checkpoint" })];
    expect(invisibleSink({ operators, bounded: false }, false)).toBe("out");
    expect(invisibleSink({ operators, bounded: false }, true)).toBeNull();
    expect(invisibleSink({ operators, bounded: true }, false)).toBeNull();
  });
});

test("the fence of a try grows with the tries of an attempt and with the attempts", () => {
  const names = ["1.1", "1.2", "1.10", "2.1", "9.4", "10.1", "2000000.7"];
  const fences = names.map(fenceOf);
  expect(fences).toEqual([...fences].sort((a, b) => a - b));
  expect(new Set(fences).size).toBe(names.length);
  expect(fences.every(Number.isSafeInteger)).toBe(true);
  expect(fenceOf("a try of a test")).toBe(0);
});
