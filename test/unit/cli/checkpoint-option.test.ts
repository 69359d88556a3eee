import { describe, expect, test } from "vitest";
import { checkGuarantee, checkpointsOf, DEFAULT_INTERVAL_MS, parseCheckpointInterval } from "../../../src/cli/checkpoint-option.js";
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
const console_ = { descriptor: { kind: "console" } };
const own = {
  everyMs: 2_000,
  timeoutMs: null,
  minPauseMs: 50,
  toleratedFailures: 2,
  history: 5,
  mode: "exactly-once" as const,
  guarantee: null,
};

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
    expect(checkpointsOf(graph(true), null, own)).toMatchObject({
      intervalMs: 2_000,
      minPauseMs: 50,
      toleratedFailures: 2,
      history: 5,
    });
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

  test("a job that asks for exactly-once is refused with the end that can't give it, and only then", () => {
    const edges = [{ from: "in", to: "out", input: 0, exchange: "forward" as const, side: null }];
    const asks = { ...own, guarantee: "exactly-once" as const };
    expect(() => checkGuarantee({ ...graph(true, console_), edges }, true, asks)).toThrow(
      expect.objectContaining({ code: "GUARANTEE_UNSUPPORTED", message: expect.stringContaining("'out'") }),
    );
    const upsert = { ...graph(true, { custom: true, appears: null, guarantee: "effectively-once" }), edges };
    expect(() => checkGuarantee(upsert, true, asks)).toThrow(/only effectively-once can be given/);
    for (const fine of [null, "none" as const, own])
      expect(() => checkGuarantee({ ...graph(true, console_), edges }, true, fine)).not.toThrow();
    expect(() => checkGuarantee(upsert, true, { ...asks, guarantee: "effectively-once" })).not.toThrow();
    expect(() => checkGuarantee({ ...graph(true), edges }, true, asks)).not.toThrow();
    expect(() => checkGuarantee(graph(false, { custom: true, appears: "at-checkpoint" }), false, null)).toThrow(/takes none/);
  });

  test("the option is a duration or none", () => {
    expect(parseCheckpointInterval("--checkpoint-interval", undefined)).toBeNull();
    expect(parseCheckpointInterval("--checkpoint-interval", "none")).toBe("none");
    expect(parseCheckpointInterval("--checkpoint-interval", "2s")).toBe(2_000);
    for (const text of ["5ms", "soon", ""]) expect(() => parseCheckpointInterval("--checkpoint-interval", text)).toThrow();
  });
});
