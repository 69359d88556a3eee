import { describe, expect, test } from "vitest";
import { checkpointsOf, DEFAULT_INTERVAL_MS, parseCheckpointInterval } from "../../../src/cli/checkpoint-option.js";
import type { JobGraph, OperatorSpec } from "../../../src/dataflow/graph.js";

const operator = (uid: string, kind: OperatorSpec["kind"], config: OperatorSpec["config"]): OperatorSpec => ({
  uid,
  kind,
  parallelism: null,
  config,
});
const graph = (bounded: boolean, sink: OperatorSpec["config"] = { descriptor: { kind: "ndjson", path: "out" } }): JobGraph => ({
  version: 1,
  jobId: "job",
  bounded,
  maxParallelism: 128,
  operators: [operator("in", "source", null), operator("out", "sink", sink)],
  edges: [],
  hash: "0".repeat(64),
});
const ownSink = { custom: true };
const own = { everyMs: 2_000, timeoutMs: null, minPauseMs: 50, toleratedFailures: 2, mode: "exactly-once" as const };

describe("the checkpoints of a submission", () => {
  test("by default an endless job takes them, a bounded one does not, and a default never makes a job fail", () => {
    expect(checkpointsOf(graph(false), null, null)).toEqual({
      intervalMs: DEFAULT_INTERVAL_MS,
      minPauseMs: 0,
      timeoutMs: 600_000,
      toleratedFailures: null,
    });
    expect(checkpointsOf(graph(true), null, null)).toBeNull();
    expect(checkpointsOf(graph(false, ownSink), null, null)).toBeNull();
  });

  test("the job's own word counts before that, and the option before the job's", () => {
    expect(checkpointsOf(graph(true), null, own)).toMatchObject({ intervalMs: 2_000, minPauseMs: 50, toleratedFailures: 2 });
    expect(checkpointsOf(graph(true), 500, own)).toMatchObject({ intervalMs: 500, minPauseMs: 50 });
    expect(checkpointsOf(graph(true), 500, "none")).toMatchObject({ intervalMs: 500 });
    expect(checkpointsOf(graph(false), null, "none")).toBeNull();
    expect(checkpointsOf(graph(false), "none", own)).toBeNull();
  });

  test("whoever asks for what the job can't do is told the operator", () => {
    for (const [interval, job] of [
      [500, null],
      [null, own],
    ] as const)
      expect(() => checkpointsOf(graph(true, ownSink), interval, job)).toThrow(
        expect.objectContaining({ code: "CHECKPOINT_UNSUPPORTED", message: expect.stringContaining("'out'") }),
      );
  });

  test("the option is a duration or none", () => {
    expect(parseCheckpointInterval("--checkpoint-interval", undefined)).toBeNull();
    expect(parseCheckpointInterval("--checkpoint-interval", "none")).toBe("none");
    expect(parseCheckpointInterval("--checkpoint-interval", "2s")).toBe(2_000);
    for (const text of ["5ms", "soon", ""]) expect(() => parseCheckpointInterval("--checkpoint-interval", text)).toThrow();
  });
});
