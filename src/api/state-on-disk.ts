/** Which operators can have their state on disk: those whose state is found by its key alone. */
import { planFailed } from "./builder.js";
import type { BuiltJob, OperatorFunctions } from "./built.js";

const IN_MEMORY_ONLY: ReadonlySet<string> = new Set(["window", "join", "broadcastJoin", "intervalJoin", "distinct", "sort"]);

/** Throws PLAN_FAILED, which names the first operator that can't. */
export function checkDiskState({ functions }: BuiltJob): void {
  for (const [uid, operator] of functions) {
    const obstacle = obstacleOf(operator);
    if (obstacle === null) continue;
    throw planFailed(
      uid,
      `${obstacle}, and the job has state: "disk"`,
      'Leave out state: "disk" and give the executors more memory, or do it with aggregate, reduce or process without timers and times to live.',
      "state on disk",
    );
  }
}

function obstacleOf(operator: OperatorFunctions): string | null {
  if (IN_MEMORY_ONLY.has(operator.kind)) return `(${operator.kind}) keeps its state in memory`;
  if (operator.kind !== "process") return null;
  if (operator.onTimer !== null) return "has timers, which stay in memory";
  return Object.values(operator.state).some(({ ttlMs }) => ttlMs !== null) ? "has a state with a time to live" : null;
}
