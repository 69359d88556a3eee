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

/** What a checkpoint has made visible. */
export interface ShownOutput {
  readonly checkpoint: number;
  readonly staged: StagedBySink;
}

export function allShown(shown: readonly ShownOutput[]): StagedBySink {
  return shown.reduce<StagedBySink>((all, { staged }) => mergeStaged(all, staged), {});
}

/**
 * What may be told again. Executors that run leave out what checkpoints up to `confirmed` held; those that have ended (`ended`: all that they told) say the
 * same at every checkpoint that follows. So an endless job remembers no more than a few checkpoints of output.
 */
export function stillTold(shown: readonly ShownOutput[], confirmed: number, ended: StagedBySink): ShownOutput[] {
  return shown.flatMap((one) => {
    if (one.checkpoint > confirmed) return [one];
    const staged = onlyOf(one.staged, ended);
    return Object.keys(staged).length === 0 ? [] : [{ ...one, staged }];
  });
}

/** What both hold. */
function onlyOf(staged: StagedBySink, other: StagedBySink): StagedBySink {
  const both: StagedBySink = {};
  for (const [uid, list] of Object.entries(staged)) {
    const among = new Set((other[uid] ?? []).map(keyOf));
    const kept = list.filter((one) => among.has(keyOf(one)));
    if (kept.length > 0) both[uid] = kept;
  }
  return both;
}

/** As a try tells them, under its name. */
export function stagedOf(attempt: string, committables: Readonly<Record<string, readonly unknown[]>>): StagedBySink {
  const entries = Object.entries(committables).map(([uid, values]) => [
    uid,
    values.map((committable) => ({ attempt, committable })),
  ]);
  return Object.fromEntries(entries) as StagedBySink;
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
