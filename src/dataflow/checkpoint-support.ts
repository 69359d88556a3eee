/**
 * Which jobs can take checkpoints in this release. Told from the job graph alone, so that it is known before a job is submitted.
 *
 * All operators can, and all sinks of the library; a sink of one's own has to say that it takes part.
 */
import type { JobGraph, OperatorSpec } from "./graph.js";

export interface CheckpointObstacle {
  readonly operator: string;
  readonly reason: string;
}

/** The first operator that can't; null: all can. */
export function checkpointObstacle({ operators }: Pick<JobGraph, "operators">): CheckpointObstacle | null {
  for (const operator of operators) {
    const reason = operator.kind === "sink" ? sinkObstacle(operator) : undefined;
    if (reason !== undefined) return { operator: operator.uid, reason };
  }
  return null;
}

function sinkObstacle({ config }: OperatorSpec): string | undefined {
  const { custom, appears, guarantee } = (config ?? {}) as {
    readonly custom?: boolean;
    readonly appears?: string | null;
    readonly guarantee?: string | null;
  };
  const saysHow = (appears ?? null) !== null || (guarantee ?? null) !== null;
  return custom === true && !saysHow ? "its connector says neither when its output appears nor what it guarantees" : undefined;
}
