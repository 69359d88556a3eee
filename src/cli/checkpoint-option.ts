/** Which checkpoints a submission takes: as its option says, else as the job does, else by default where the job is unbounded and can. */
import type { JobSettings } from "../api/settings.js";
import { CodedError } from "../base/errors.js";
import { type CheckpointObstacle, checkpointObstacle } from "../dataflow/checkpoint-support.js";
import type { JobGraph } from "../dataflow/graph.js";
import type { CheckpointSettings } from "../wire/checkpoint.js";
import { parseDurationMs } from "./parse.js";

/** Of an unbounded job that does not say. */
export const DEFAULT_INTERVAL_MS = 10_000;
const DEFAULT_TIMEOUT_MS = 600_000;
const MIN_INTERVAL_MS = 10;

/** Milliseconds; none: no checkpoints; null: not said. */
export type CheckpointInterval = number | "none" | null;

export function parseCheckpointInterval(option: string, text: string | undefined): CheckpointInterval {
  if (text === undefined) return null;
  if (text === "none") return "none";
  const intervalMs = parseDurationMs(option, text);
  if (intervalMs >= MIN_INTERVAL_MS) return intervalMs;
  throw new CodedError("INVALID_ARGUMENT", `${option} is ${text}: an interval is at least ${MIN_INTERVAL_MS} ms, or "none".`);
}

/** Null: the job takes none. Throws CHECKPOINT_UNSUPPORTED when somebody has asked for what the job can't do. */
export function checkpointsOf(
  graph: JobGraph,
  interval: CheckpointInterval,
  job: JobSettings["checkpoint"] | undefined,
): CheckpointSettings | null {
  const settings = job ?? null;
  if (interval === "none" || (interval === null && settings === "none")) return null;
  const said = interval ?? (settings === null || settings === "none" ? null : settings.everyMs);
  if (said === null && !graph.bounded && checkpointObstacle(graph) === null) return withDefaults(DEFAULT_INTERVAL_MS, null);
  if (said === null) return null;
  const obstacle = checkpointObstacle(graph);
  if (obstacle !== null) throw checkpointUnsupported(graph.jobId, obstacle);
  return withDefaults(said, settings === "none" ? null : settings);
}

function withDefaults(intervalMs: number, job: Exclude<JobSettings["checkpoint"], "none">): CheckpointSettings {
  return {
    intervalMs,
    minPauseMs: job?.minPauseMs ?? 0,
    timeoutMs: job?.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    toleratedFailures: job?.toleratedFailures ?? null,
  };
}

export function checkpointUnsupported(jobId: string, { operator, reason }: CheckpointObstacle): CodedError {
  return new CodedError(
    "CHECKPOINT_UNSUPPORTED",
    `Job '${jobId}' can't take checkpoints: operator '${operator}' can't, ${reason}.`,
    {
      hint: "Submit it with --checkpoint-interval none (and without `checkpoint` in defineJob), or do without that operator. See docs: job guide, checkpoints.",
      details: { operator },
    },
  );
}
