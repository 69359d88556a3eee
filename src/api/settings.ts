/** What a job asks of the cluster, beside its graph: checked, and with units. JSON. */
import { CodedError } from "../base/errors.js";
import { durationMs, sizeBytes } from "./durations.js";
import type { CheckpointOptions, Job, RestartStrategy } from "./job.js";

export type RestartSettings =
  | { readonly strategy: "none" }
  | { readonly strategy: "fixed-delay"; readonly delayMs: number; readonly attempts: number }
  /** `attempts` null: without limit. */
  | { readonly strategy: "exponential"; readonly minMs: number; readonly maxMs: number; readonly attempts: number | null };

/** Null: not said by the job. */
export interface CheckpointJobSettings {
  readonly everyMs: number;
  readonly timeoutMs: number | null;
  readonly minPauseMs: number | null;
  readonly toleratedFailures: number | null;
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
}

export function settingsOf(job: Job): JobSettings {
  const { parallelism, restart, resources, checkpoint } = job;
  if (parallelism !== undefined && !(Number.isInteger(parallelism) && parallelism >= 1))
    throw invalid(job, "parallelism", parallelism);
  if (resources?.cores !== undefined && !(resources.cores > 0)) throw invalid(job, "resources.cores", resources.cores);
  return {
    parallelism: parallelism ?? null,
    restart: restart === undefined ? null : restartSettings(job, restart),
    cores: resources?.cores ?? null,
    memoryBytes: resources?.memory === undefined ? null : sizeBytes(resources.memory, `resources.memory of job '${job.id}'`),
    checkpoint: checkpoint === undefined ? null : checkpoint === "none" ? "none" : checkpointSettings(job, checkpoint),
  };
}

/** Shorter intervals would have more to do with barriers than with records. */
const MIN_CHECKPOINT_MS = 10;

function checkpointSettings(
  job: Job,
  { every, timeout, minPause, toleratedFailures, mode, guarantee }: CheckpointOptions,
): CheckpointJobSettings {
  const everyMs = durationMs(every, `checkpoint.every of job '${job.id}'`);
  if (everyMs < MIN_CHECKPOINT_MS) throw invalid(job, "checkpoint.every", every);
  if (toleratedFailures !== undefined && !(Number.isInteger(toleratedFailures) && toleratedFailures >= 0))
    throw invalid(job, "checkpoint.toleratedFailures", toleratedFailures);
  if (guarantee !== undefined && guarantee !== "exactly-once" && guarantee !== "effectively-once")
    throw invalid(job, "checkpoint.guarantee", guarantee);
  return {
    everyMs,
    timeoutMs: timeout === undefined ? null : durationMs(timeout, `checkpoint.timeout of job '${job.id}'`),
    minPauseMs: minPause === undefined ? null : durationMs(minPause, `checkpoint.minPause of job '${job.id}'`),
    toleratedFailures: toleratedFailures ?? null,
    mode: mode ?? "exactly-once",
    guarantee: guarantee ?? null,
  };
}

function restartSettings(job: Job, restart: RestartStrategy): RestartSettings {
  const attempts = restart.strategy === "none" ? undefined : restart.attempts;
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
      };
    }
    default:
      throw invalid(job, "restart.strategy", (restart as { readonly strategy: unknown }).strategy);
  }
}

function invalid(job: Job, what: string, value: unknown): CodedError {
  return new CodedError("INVALID_JOB", `Job '${job.id}' has ${what} ${JSON.stringify(value)}.`, {
    hint: "See docs: job guide, options of defineJob.",
  });
}
