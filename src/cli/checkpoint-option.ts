/** Which checkpoints a submission takes: as its option says, else as the job does, else by default where the job is unbounded and can. */
import type { JobSettings } from "../api/settings.js";
import { CodedError } from "../base/errors.js";
import { type CheckpointObstacle, checkpointObstacle } from "../dataflow/checkpoint-support.js";
import type { JobGraph } from "../dataflow/graph.js";
import { invisibleSink, pathGuarantees, weakerPath } from "../dataflow/guarantees.js";
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
    ...(job == null || job.history === null ? {} : { history: job.history }),
  };
}

/** Throws GUARANTEE_UNSUPPORTED, naming the end of a path that promises less than the job asks for, or a sink that would never show anything. */
export function checkGuarantee(graph: JobGraph, takesCheckpoints: boolean, job: JobSettings["checkpoint"] | undefined): void {
  const hidden = invisibleSink(graph, takesCheckpoints);
  if (hidden !== null) {
    throw new CodedError(
      "GUARANTEE_UNSUPPORTED",
      `Sink '${hidden}' of job '${graph.jobId}' shows its output with checkpoints, but the job never ends and takes none.`,
      { hint: 'Let it take checkpoints: checkpoint: { every: "10s" } in defineJob.', details: { operator: hidden } },
    );
  }
  const asked = job === null || job === undefined || job === "none" ? null : (job.guarantee ?? null);
  const weaker = asked === null ? null : weakerPath(pathGuarantees(graph, takesCheckpoints), asked);
  if (asked === null || weaker === null) return;
  const { source, sink, guarantee, limit } = weaker;
  throw new CodedError(
    "GUARANTEE_UNSUPPORTED",
    `Job '${graph.jobId}' asks for ${asked}, but from '${source}' to '${sink}' only ${guarantee} can be given: '${limit?.operator}', ${limit?.reason}.`,
    {
      hint: "Use another source or sink there, or ask for less; `holdfast plan` shows what every path promises.",
      details: { operator: limit?.operator ?? sink, source, sink, guarantee },
    },
  );
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
