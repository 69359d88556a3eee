/** What a job asks of the cluster, beside its graph: checked, and with units. JSON. */
import { CodedError } from "../base/errors.js";
import { durationMs, sizeBytes } from "./durations.js";
import type { CheckpointOptions, Job, RestartStrategy } from "./job.js";

export type RestartSettings =
  | { readonly strategy: "none" }
  | { readonly strategy: "fixed-delay"; readonly delayMs: number; readonly attempts: number }
  /** `attempts` null: without limit. */
  | {
      readonly strategy: "exponential";
      readonly minMs: number;
      readonly maxMs: number;
      readonly attempts: number | null;
      readonly jitter: number;
    }
  | { readonly strategy: "failure-rate"; readonly failures: number; readonly intervalMs: number; readonly delayMs: number };

/** Null: not said by the job. */
export interface CheckpointJobSettings {
  readonly everyMs: number;
  readonly timeoutMs: number | null;
  readonly minPauseMs: number | null;
  readonly toleratedFailures: number | null;
  readonly history: number | null;
  readonly mode: "exactly-once" | "at-least-once";
  /** What every path from a source to a sink has to promise. */
  readonly guarantee: "exactly-once" | "effectively-once" | null;
}

export interface JobSettings {
  /** Null: not said by the job. */
  readonly parallelism: number | null;
  readonly restart: RestartSettings | null;
  readonly cores: number | null;
  readonly memoryBytes: number | null;
  /** none: the job wants no checkpoints, also not by default. */
  readonly checkpoint: CheckpointJobSettings | "none" | null;
  /** Where keyed state lives: all of it in memory, or what has no room there on the executor's disk. */
  readonly state: "memory" | "disk";
}

export function settingsOf(job: Job): JobSettings {
  const { parallelism, restart, resources, checkpoint, state = "memory" } = job;
  if (state !== "memory" && state !== "disk") throw invalid(job, "state", state);
  if (parallelism !== undefined && !(Number.isInteger(parallelism) && parallelism >= 1))
    throw invalid(job, "parallelism", parallelism);
  if (resources?.cores !== undefined && !(resources.cores > 0)) throw invalid(job, "resources.cores", resources.cores);
  return {
    parallelism: parallelism ?? null,
    restart: restart === undefined ? null : restartSettings(job, restart),
    cores: resources?.cores ?? null,
    memoryBytes: resources?.memory === undefined ? null : sizeBytes(resources.memory, `resources.memory of job '${job.id}'`),
    checkpoint: checkpoint === undefined ? null : checkpoint === "none" ? "none" : checkpointSettings(job, checkpoint),
    state,
  };
}

/** MAX_RETAINED_CHECKPOINTS: pointers of all of them are in the application's record. */
const MIN_HISTORY = 2;
const MAX_HISTORY = 16;
const DEFAULT_JITTER = 0.2;
/** With more a wait could be shorter than the one before it. */
const MAX_JITTER = 0.5;
/** The driver remembers one more; they go into the application's record (MAX_COUNTED_FAILURES). */
const MAX_RATE_FAILURES = 99;

/** Shorter intervals would have more to do with barriers than with records. */
const MIN_CHECKPOINT_MS = 10;

function checkpointSettings(
  job: Job,
  { every, timeout, minPause, toleratedFailures, history, mode, guarantee }: CheckpointOptions,
): CheckpointJobSettings {
  const everyMs = durationMs(every, `checkpoint.every of job '${job.id}'`);
  if (everyMs < MIN_CHECKPOINT_MS) throw invalid(job, "checkpoint.every", every);
  if (toleratedFailures !== undefined && !(Number.isInteger(toleratedFailures) && toleratedFailures >= 0))
    throw invalid(job, "checkpoint.toleratedFailures", toleratedFailures);
  if (guarantee !== undefined && guarantee !== "exactly-once" && guarantee !== "effectively-once")
    throw invalid(job, "checkpoint.guarantee", guarantee);
  if (history !== undefined && !(Number.isInteger(history) && history >= MIN_HISTORY && history <= MAX_HISTORY))
    throw invalid(job, "checkpoint.history", history);
  return {
    everyMs,
    timeoutMs: timeout === undefined ? null : durationMs(timeout, `checkpoint.timeout of job '${job.id}'`),
    minPauseMs: minPause === undefined ? null : durationMs(minPause, `checkpoint.minPause of job '${job.id}'`),
    toleratedFailures: toleratedFailures ?? null,
    history: history ?? null,
    mode: mode ?? "exactly-once",
    guarantee: guarantee ?? null,
  };
}

function restartSettings(job: Job, restart: RestartStrategy): RestartSettings {
  const attempts = "attempts" in restart ? restart.attempts : undefined;
  if (attempts !== undefined && !(Number.isInteger(attempts) && attempts >= 0)) throw invalid(job, "restart.attempts", attempts);
  switch (restart.strategy) {
    case "none":
      return { strategy: "none" };
    case "fixed-delay":
      return {
        strategy: "fixed-delay",
        delayMs: durationMs(restart.delay, `restart.delay of job '${job.id}'`),
        attempts: restart.attempts,
      };
    case "exponential": {
      const minMs = durationMs(restart.min, `restart.min of job '${job.id}'`);
      return {
        strategy: "exponential",
        minMs,
        maxMs: durationMs(restart.max, `restart.max of job '${job.id}'`),
        attempts: attempts ?? null,
        jitter: jitterOf(job, restart.jitter),
      };
    }
    case "failure-rate": {
      const { failures } = restart;
      if (!(Number.isInteger(failures) && failures >= 1 && failures <= MAX_RATE_FAILURES))
        throw invalid(job, "restart.failures", failures);
      return {
        strategy: "failure-rate",
        failures,
        intervalMs: durationMs(restart.interval, `restart.interval of job '${job.id}'`),
        delayMs: durationMs(restart.delay, `restart.delay of job '${job.id}'`),
      };
    }
    default:
      throw invalid(job, "restart.strategy", (restart as { readonly strategy: unknown }).strategy);
  }
}

function jitterOf(job: Job, jitter = DEFAULT_JITTER): number {
  if (!(jitter >= 0 && jitter <= MAX_JITTER)) throw invalid(job, "restart.jitter", jitter);
  return jitter;
}

function invalid(job: Job, what: string, value: unknown): CodedError {
  return new CodedError("INVALID_JOB", `Job '${job.id}' has ${what} ${JSON.stringify(value)}.`, {
    hint: "See docs: job guide, options of defineJob.",
  });
}
