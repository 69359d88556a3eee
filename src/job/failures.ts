/**
 * What kind of failure an error of a try is, and which of several errors of one try is its cause.
 *
 * When an executor dies its neighbours fail too, with broken exchanges, and often their reports arrive first. So a connection's error is
 * only a symptom: a cause that becomes known before the next try is decided takes its place.
 */
import type { ErrorCode, ErrorShape } from "../base/errors.js";
import { parseProcessId } from "../wire/ids.js";

/** moved: stopped in order, to go on elsewhere; no failure of anything. */
export type FailureKind = "lost" | "user" | "fatal" | "moved";

const LOST: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "EXECUTOR_LOST",
  "WORKER_LOST",
  "CONNECTION_LOST",
  "CONNECTION_REFUSED",
  "TIMEOUT",
  "CLOSED",
]);
/** Another try would fail in the same way, by construction. */
const FATAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "GRAPH_MISMATCH",
  "ARTIFACT_CORRUPT",
  "INVALID_JOB",
  "INVALID_PARAMS",
  "PLAN_FAILED",
  "PROTOCOL_VERSION",
  "WRONG_CLUSTER",
  "UNAUTHENTICATED",
  "CHECKPOINT_UNSUPPORTED",
  "CHECKPOINT_UNREADABLE",
  "SAVEPOINT_UNREADABLE",
  "SAVEPOINT_MISMATCH",
]);

export interface Failure {
  readonly kind: FailureKind;
  readonly error: ErrorShape;
  /** The executor that it happened on; null: in the driver. */
  readonly processId: string | null;
  /** Reported by a neighbour of what really failed. */
  readonly symptom: boolean;
  /** False: an executor is gone, and how it ended is not known yet; its worker tells the master, which tells this driver. */
  readonly explained: boolean;
}

export function failureOf(error: ErrorShape, processId: string | null): Failure {
  const kind = FATAL.has(error.code) ? "fatal" : LOST.has(error.code) ? "lost" : "user";
  return { kind, error, processId, symptom: kind === "lost", explained: true };
}

export function moved(processId: string): Failure {
  const message = `The try was stopped to move off a draining worker, on which executor ${processId} ran.`;
  return { kind: "moved", error: { code: "WORKER_LOST", message, hint: null }, processId, symptom: false, explained: true };
}

/**
 * What a process does to itself: signals of a fault or an abort, and exit codes that no executor of ours ends with (they are 0 and 1).
 * SIGKILL comes from outside: a person, a machine that is short of memory, a test.
 */
const CRASHED = /^ended (by SIG(SEGV|ABRT|BUS|ILL|FPE|TRAP|SYS)|with exit code (?![01]$)[0-9]+)$/;

export function executorGone(processId: string, reason: string | null, explained: boolean): Failure {
  const of = (kind: FailureKind, error: ErrorShape): Failure => ({ kind, error, processId, symptom: false, explained });
  if (reason !== null && /out of memory/i.test(reason)) {
    return of("user", {
      code: "OUT_OF_MEMORY",
      message: `Executor ${processId} ended: ${reason}.`,
      hint: "Give executors more memory (resources.memoryBytes of the job), or raise the parallelism so that each holds less.",
    });
  }
  if (reason !== null && CRASHED.test(reason)) {
    return of("user", {
      code: "EXECUTOR_CRASHED",
      message: `Executor ${processId} crashed: it ${reason}.`,
      hint: `Its last words: holdfast logs ${parseProcessId(processId)?.application ?? "APP"} --process ${processId} --stream stderr`,
    });
  }
  const why = reason === null ? "" : `: ${reason}`;
  return of("lost", { code: "EXECUTOR_LOST", message: `Executor ${processId} was lost${why}.`, hint: null });
}

/** Whether this says how a process ended by itself; one that was given back is stopped, which says nothing. */
export const explains = (reason: string | null): reason is string => reason !== null && !reason.startsWith("stopped: ");

/** The one of two failures of the same try that says more about its cause. The first stays unless it was a symptom. */
export function cause(first: Failure, second: Failure): Failure {
  // While a try is stopped in order, connections break; anything else is a failure of its own.
  if (first.kind === "moved") return second.symptom ? first : second;
  if (first.symptom && !second.symptom) return second;
  const sameExecutor = first.processId !== null && first.processId === second.processId;
  return sameExecutor && !first.explained && second.explained ? second : first;
}
