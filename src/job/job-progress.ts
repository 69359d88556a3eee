/** The progress of a job from the latest progress of each of its executors. Counters of a try start at zero, or where its checkpoint stood. */
import type { CheckpointCounts, CompletedCheckpoint } from "../wire/checkpoint.js";
import type { FailedTry, Progress } from "../wire/progress.js";

const MAX_FIRST_BAD_RECORDS = 10;

export interface JobFacts {
  readonly phase: Progress["phase"];
  readonly totalRecords: number | null;
  readonly jobRestarts: number;
  readonly failedTries: readonly FailedTry[];
  readonly lastRestartReason: string | null;
  /** What the present try goes on from: its counters go on from there, too. */
  readonly restored: RestoredTry | null;
  /** What is told of restores. */
  readonly goesOnFrom: RestoredTry | null;
  /** What is being taken. */
  readonly checkpoint?: Progress["checkpoint"];
}

export interface RestoredTry {
  /** Its name. */
  readonly name: string;
  /** The only slice that goes on from there; absent: all do. */
  readonly slice?: number;
  readonly checkpoint: Pick<CompletedCheckpoint, "id" | "manifest">;
  readonly counts: CheckpointCounts;
  /** Records that were read before, and are read again; null: an earlier driver had read them. */
  readonly recordsBack: number | null;
}

export type SliceReport = CheckpointCounts & Pick<Progress, "firstBadRecords">;

export function jobProgress(parts: readonly SliceReport[], facts: JobFacts): Progress {
  const operators = new Map<string, { uid: string; kind: string; in: number; out: number }>();
  const { recordsIn = 0, recordsOut = 0, badRecords = 0 } = facts.restored?.counts ?? {};
  const sums = { recordsIn, recordsOut, badRecords };
  for (const operator of facts.restored?.counts.operators ?? []) operators.set(operator.uid, { ...operator });
  for (const part of parts) {
    sums.recordsIn += part.recordsIn;
    sums.recordsOut += part.recordsOut;
    sums.badRecords += part.badRecords;
    for (const operator of part.operators) {
      const sum = operators.get(operator.uid);
      if (sum === undefined) operators.set(operator.uid, { ...operator });
      else {
        sum.in += operator.in;
        sum.out += operator.out;
      }
    }
  }
  return {
    ...sums,
    totalRecords: facts.totalRecords,
    operators: [...operators.values()],
    firstBadRecords: parts.flatMap((part) => part.firstBadRecords).slice(0, MAX_FIRST_BAD_RECORDS),
    jobRestarts: facts.jobRestarts,
    failedTries: [...facts.failedTries],
    lastRestartReason: facts.lastRestartReason,
    ...restoredView(facts.goesOnFrom),
    ...(facts.checkpoint === undefined ? {} : { checkpoint: facts.checkpoint }),
    phase: facts.phase,
  };
}

function restoredView(restored: RestoredTry | null): Pick<Progress, "restored"> {
  if (restored === null) return {};
  const { name, checkpoint, recordsBack, slice } = restored;
  return { restored: { try: name, checkpoint: checkpoint.id, recordsBack, ...(slice === undefined ? {} : { slice }) } };
}
