/**
 * Whether a job can begin from a savepoint: which of its operators go on, which begin anew, and which of the savepoint's have no place any more. Pure.
 *
 * Operators are known by their uid. Those of other names in both graphs (made from a position) meet if they have the same name; without state that makes no difference.
 */
import { CodedError } from "../base/errors.js";
import type { Vertex } from "../dataflow/chains.js";
import type { OperatorSpec } from "../dataflow/graph.js";
import type { CheckpointManifest, SavepointDescription } from "../wire/checkpoint.js";

export interface PlacedOperator {
  readonly uid: string;
  readonly kind: string;
  readonly subtasks: number;
  readonly vertex: string;
  /** Kinds of its declared states, by name; absent: it declares none. */
  readonly states?: Readonly<Record<string, string>> | undefined;
}

export interface TargetJob {
  readonly jobId: string;
  readonly maxParallelism: number;
  readonly operators: readonly PlacedOperator[];
}

export interface OperatorChange {
  readonly uid: string;
  readonly kind: string;
  /** restored: it goes on from what the savepoint holds of it. new: the savepoint has nothing of it. dropped: the job has no such operator. */
  readonly change: "restored" | "new" | "dropped";
}

export function placedOperators(vertices: readonly Vertex[]): PlacedOperator[] {
  return vertices.flatMap(({ id, operators, parallelism }) =>
    operators.map((operator) => {
      const { uid, kind } = operator;
      return { uid, kind, subtasks: parallelism, vertex: id, ...declaredStates(operator) };
    }),
  );
}

/** What `process` has put into the graph: by name a kind, or a kind with what else there is to say. */
function declaredStates({ kind, config }: OperatorSpec): Pick<PlacedOperator, "states"> {
  if (kind !== "process") return {};
  const { state = {} } = config as { readonly state?: Readonly<Record<string, string | { readonly kind: string }>> };
  const states = Object.entries(state).map(([name, one]) => [name, typeof one === "string" ? one : one.kind] as const);
  return states.length === 0 ? {} : { states: Object.fromEntries(states) };
}

/** Operators that have anything in it, in the order of their uids. */
function holders({ slices, sources, carried, commit }: CheckpointManifest): ReadonlySet<string> {
  const uids = new Set([...Object.keys(sources), ...Object.keys(carried), ...Object.keys(commit)]);
  for (const { states, writers } of slices) for (const uid of [...Object.keys(states), ...Object.keys(writers)]) uids.add(uid);
  return uids;
}

/** Those with something to restore, in the order of the job; then those that are dropped. */
export function compareOperators(savepoint: SavepointDescription, job: TargetJob): OperatorChange[] {
  const held = holders(savepoint.manifest);
  const known = new Map(job.operators.map((operator) => [operator.uid, operator]));
  const before = new Map(savepoint.operators.map((operator) => [operator.uid, operator]));
  const changes = job.operators.flatMap(({ uid, kind }): OperatorChange[] => {
    if (held.has(uid)) return [{ uid, kind, change: "restored" }];
    return before.has(uid) || !mayHold(kind) ? [] : [{ uid, kind, change: "new" }];
  });
  const dropped = [...held].filter((uid) => !known.has(uid)).sort();
  return [...changes, ...dropped.map((uid) => ({ uid, kind: before.get(uid)?.kind ?? "?", change: "dropped" as const }))];
}

const STATELESS: ReadonlySet<string> = new Set(["map", "filter", "flatMap", "keyBy", "union", "rebalance", "combine", "mapAsync"]);
const mayHold = (kind: string): boolean => !STATELESS.has(kind);

/** Throws SAVEPOINT_MISMATCH, naming what differs. */
export function checkCompatible(savepoint: SavepointDescription, job: TargetJob, directory: string, allowDropped: boolean): void {
  const mismatch = (why: string, hint: string, details: Readonly<Record<string, unknown>> = {}): CodedError =>
    new CodedError("SAVEPOINT_MISMATCH", `The savepoint ${directory} ${why}.`, { hint, details: { directory, ...details } });
  if (savepoint.jobId !== job.jobId)
    throw mismatch(`is of job '${savepoint.jobId}', and this is '${job.jobId}'`, "Begin from a savepoint of this job.");
  if (savepoint.maxParallelism !== job.maxParallelism) {
    const why = `has its state in ${savepoint.maxParallelism} key groups, and this job wants ${job.maxParallelism}`;
    throw mismatch(why, "The number of key groups is fixed for the life of a job's state.");
  }
  const changes = compareOperators(savepoint, job);
  const known = new Map(job.operators.map((operator) => [operator.uid, operator]));
  const before = new Map(savepoint.operators.map((operator) => [operator.uid, operator]));
  for (const { uid, kind, change } of changes) {
    const was = before.get(uid);
    if (change !== "restored" || was === undefined) continue;
    if (was.kind !== kind)
      throw mismatch(
        `holds state of operator '${uid}' as ${was.kind}, and in this job it is ${kind}`,
        "Give the new operator another uid, and add --allow-dropped-state.",
        { operator: uid },
      );
    const states = known.get(uid)?.states ?? {};
    for (const [state, held] of Object.entries(was.states ?? {})) {
      const now = states[state];
      if (now !== undefined && now !== held)
        throw mismatch(
          `holds state '${state}' of operator '${uid}' as a ${held}, and in this job it is a ${now}`,
          "Give the new state a name of its own; what the old one holds is then left out.",
          { operator: uid, state },
        );
    }
  }
  const dropped = changes.filter(({ change }) => change === "dropped").map(({ uid }) => uid);
  if (dropped.length > 0 && !allowDropped)
    throw mismatch(
      `holds state of ${dropped.map((uid) => `'${uid}'`).join(", ")}, which this job does not have`,
      "If that is meant, add --allow-dropped-state; else give the operator its uid again.",
      { operators: dropped },
    );
}
