/** What a job asks of the cluster, beside its graph: checked, and with units. JSON. */
import { CodedError } from "../base/errors.js";
import { durationMs, sizeBytes } from "./durations.js";
import type { Job, RestartStrategy } from "./job.js";

export type RestartSettings =
  | { readonly strategy: "none" }
  | { readonly strategy: "fixed-delay"; readonly delayMs: number; readonly attempts: number }
  /** `attempts` null: without limit. */
  | { readonly strategy: "exponential"; readonly minMs: number; readonly maxMs: number; readonly attempts: number | null };

export interface JobSettings {
  /** Null: not said by the job. */
  readonly parallelism: number | null;
  readonly restart: RestartSettings | null;
  readonly cores: number | null;
  readonly memoryBytes: number | null;
  readonly checkpoint: {
    readonly everyMs: number;
    readonly timeoutMs: number | null;
    readonly mode: "exactly-once" | "at-least-once";
  } | null;
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
    checkpoint:
      checkpoint === undefined
        ? null
        : {
            everyMs: durationMs(checkpoint.every, `checkpoint.every of job '${job.id}'`),
            timeoutMs:
              checkpoint.timeout === undefined ? null : durationMs(checkpoint.timeout, `checkpoint.timeout of job '${job.id}'`),
            mode: checkpoint.mode ?? "exactly-once",
          },
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
