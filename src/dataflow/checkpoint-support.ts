/**
 * Which jobs can take checkpoints in this release. Told from the job graph alone, so that it is known before a job is submitted.
 *
 * Operators without state are fine, as are those whose state is keyed; what else holds records (a join's second input, a sort) is not in a
 * snapshot yet, and neither is what a sink has written unless its output consists of parts.
 */
import type { JobGraph, OperatorKind, OperatorSpec } from "./graph.js";

export interface CheckpointObstacle {
  readonly operator: string;
  readonly reason: string;
}

const HOLDS: Partial<Record<OperatorKind, string>> = {
  join: "it holds the records of its second input",
  broadcastJoin: "it holds the records of its second input",
  sort: "it holds all records of its input",
};

/** The first operator that can't; null: all can. */
export function checkpointObstacle({ operators }: Pick<JobGraph, "operators">): CheckpointObstacle | null {
  for (const operator of operators) {
    const reason = HOLDS[operator.kind] ?? (operator.kind === "sink" ? sinkObstacle(operator) : undefined);
    if (reason !== undefined) return { operator: operator.uid, reason };
  }
  return null;
}

function sinkObstacle({ config }: OperatorSpec): string | undefined {
  const { collect, custom, descriptor } = (config ?? {}) as {
    readonly collect?: boolean;
    readonly custom?: boolean;
    readonly descriptor?: { readonly kind: string };
  };
  if (collect === true) return "what it collects is in the driver's memory only";
  if (custom === true || descriptor === undefined) return "sinks of one's own have no parts";
  return descriptor.kind === "console" ? "what is printed can't be taken back" : undefined;
}
