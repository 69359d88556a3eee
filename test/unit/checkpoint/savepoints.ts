/** Savepoints and jobs for tests: a source, a count by key, a sink. */
import type { PlacedOperator, TargetJob } from "../../../src/checkpoint/compatibility.js";
import type { CheckpointManifest, SavepointDescription, SlicePart } from "../../../src/wire/checkpoint.js";

export const handle = (name: string) => ({ sha256: name.padEnd(64, "0"), sizeBytes: 10 });

export function operatorsOf(
  parallelism: number,
  kinds: Readonly<Record<string, string>> = { in: "source", count: "process", out: "sink" },
) {
  return Object.entries(kinds).map(
    ([uid, kind]): PlacedOperator => ({ uid, kind, subtasks: parallelism, vertex: kind === "source" ? uid : "count" }),
  );
}

export const jobOf = (parallelism: number, changes: Partial<TargetJob> = {}): TargetJob => ({
  jobId: "counts",
  maxParallelism: 128,
  operators: operatorsOf(parallelism),
  ...changes,
});

export const partOf = (subtask: number, changes: Partial<SlicePart> = {}): SlicePart => ({
  finished: [],
  states: { count: [handle(`c${subtask}`)] },
  writers: { out: { next: 3 + subtask } },
  ...changes,
});

export function savepointOf(parallelism: number, changes: Partial<CheckpointManifest> = {}): SavepointDescription {
  return {
    version: 1,
    kind: "holdfast-savepoint",
    jobId: "counts",
    takenAt: "2026-11-30T00:00:00.000Z",
    maxParallelism: 128,
    operators: operatorsOf(parallelism),
    files: [],
    manifest: {
      version: 1,
      applicationId: "app-1-1",
      id: 17,
      attempt: "1.1",
      graphHash: "a".repeat(64),
      slices: Array.from({ length: parallelism }, (_, subtask) => partOf(subtask)),
      sources: {
        in: {
          subtasks: parallelism,
          totalRecords: null,
          remaining: [{ split: { id: "s0", sizeHint: 1 }, position: 5 }],
        },
      },
      commit: { out: [{ attempt: "1.1", committable: "shown" }] },
      carried: {},
      counts: { recordsIn: 100, recordsOut: 50, badRecords: 0, operators: [{ uid: "in", kind: "source", in: 100, out: 100 }] },
      ...changes,
    },
  };
}

export const MADE = {
  applicationId: "app-2-1",
  id: 1,
  attempt: "1.1",
  graphHash: "b".repeat(64),
  newSources: {},
};
