/** Sums of what checkpoints hold: staged output of sinks, each piece once, and counters. */
import { canonicalJson, type JsonValue } from "../base/json.js";
import type { CheckpointCounts, StagedBySink } from "../wire/checkpoint.js";

type Staged = StagedBySink[string][number];

const keyOf = ({ committable }: Staged): string => canonicalJson((committable ?? null) as JsonValue);

/** Everything of both in order, without what `except` holds. Sinks with nothing are left out. */
export function mergeStaged(base: StagedBySink, more: StagedBySink, except: StagedBySink = {}): StagedBySink {
  const merged: StagedBySink = {};
  for (const uid of new Set([...Object.keys(base), ...Object.keys(more)])) {
    const seen = new Set((except[uid] ?? []).map(keyOf));
    const list: Staged[] = [];
    for (const staged of [...(base[uid] ?? []), ...(more[uid] ?? [])]) {
      const key = keyOf(staged);
      if (seen.has(key)) continue;
      seen.add(key);
      list.push(staged);
    }
    if (list.length > 0) merged[uid] = list;
  }
  return merged;
}

/** Names of the tries that staged it. */
export function triesOf(staged: StagedBySink): string[] {
  return [...new Set(Object.values(staged).flatMap((list) => list.map(({ attempt }) => attempt)))];
}

export function addCounts(sum: CheckpointCounts, part: CheckpointCounts): CheckpointCounts {
  const operators = new Map(sum.operators.map((operator) => [operator.uid, operator]));
  for (const operator of part.operators) {
    const known = operators.get(operator.uid);
    const [before, after] = [known?.in ?? 0, known?.out ?? 0];
    operators.set(operator.uid, { ...operator, in: before + operator.in, out: after + operator.out });
  }
  return {
    recordsIn: sum.recordsIn + part.recordsIn,
    recordsOut: sum.recordsOut + part.recordsOut,
    badRecords: sum.badRecords + part.badRecords,
    operators: [...operators.values()],
  };
}
