/**
 * Decides for each join what happens to its first (probe) input while its second (build) input is still being read: `wait` leaves the
 * records where they are, so that credits stop whoever sends them; `buffer` takes them into bounded memory.
 *
 * Waiting is best, but may deadlock. A join that waits stops, in the end, every source above its probe input, until every source above
 * its build input has ended. Draw an edge "s waits for t" for each such pair of sources: nothing can wait for ever unless there is a
 * cycle, because everything else in a job takes whatever comes first (unions read all inputs, and all other operators have one).
 * So the joins whose edges lie on a cycle (a stream joined with what was made from itself; two joins that cross over) buffer, and with
 * their edges gone no cycle is left. The buffer has a limit; past it the job fails and says so, instead of standing still.
 */
import type { EdgeSpec, OperatorSpec } from "../dataflow/graph.js";

export function withProbeModes(operators: readonly OperatorSpec[], edges: readonly EdgeSpec[]): OperatorSpec[] {
  const sourcesAbove = new Map<string, Set<string>>();
  const joins: { uid: string; probe: Set<string>; build: Set<string> }[] = [];
  for (const operator of operators) {
    const inputs = edges.filter((edge) => edge.to === operator.uid);
    const above = (input: number) =>
      new Set(inputs.filter((edge) => edge.input === input).flatMap((edge) => [...(sourcesAbove.get(edge.from) ?? [])]));
    const [first, second] = [above(0), above(1)];
    sourcesAbove.set(operator.uid, operator.kind === "source" ? new Set([operator.uid]) : new Set([...first, ...second]));
    if (operator.kind === "join" || operator.kind === "broadcastJoin")
      joins.push({ uid: operator.uid, probe: first, build: second });
  }
  const waitsFor = new Map<string, Set<string>>();
  for (const { probe, build } of joins) {
    for (const source of probe) waitsFor.set(source, new Set([...(waitsFor.get(source) ?? []), ...build]));
  }
  const reaches = closure(waitsFor);
  const isOnCycle = (join: (typeof joins)[number]) =>
    [...join.build].some((target) => [...join.probe].some((from) => target === from || reaches(target, from)));
  const buffering = new Set(joins.filter(isOnCycle).map((join) => join.uid));
  return operators.map((operator) =>
    operator.kind === "join" || operator.kind === "broadcastJoin"
      ? { ...operator, config: { ...(operator.config as object), probe: buffering.has(operator.uid) ? "buffer" : "wait" } }
      : operator,
  );
}

/** Whether there is a path of at least one edge. */
function closure(edges: ReadonlyMap<string, ReadonlySet<string>>): (from: string, to: string) => boolean {
  return (from, to) => {
    const seen = new Set<string>();
    const open = [from];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const next of edges.get(at) ?? []) {
        if (next === to) return true;
        if (!seen.has(next)) {
          seen.add(next);
          open.push(next);
        }
      }
    }
    return false;
  };
}
