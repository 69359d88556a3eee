/** The progress of a job from the latest progress of each of its executors. Counters of a try start at zero. */
import type { FailedTry, Progress } from "../wire/progress.js";

const MAX_FIRST_BAD_RECORDS = 10;

export interface JobFacts {
  readonly phase: Progress["phase"];
  readonly totalRecords: number | null;
  readonly jobRestarts: number;
  readonly failedTries: readonly FailedTry[];
  readonly lastRestartReason: string | null;
}

export function jobProgress(parts: readonly Progress[], facts: JobFacts): Progress {
  const operators = new Map<string, { uid: string; kind: string; in: number; out: number }>();
  const sums = { recordsIn: 0, recordsOut: 0, badRecords: 0 };
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
    phase: facts.phase,
  };
}
