/**
 * Makes the schedule of a failing run short: fewer faults and fewer submissions that still break the same invariant.
 *
 * Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): try without each of n parts, then each part
 * alone, with finer parts when nothing helps. The result is 1-minimal when `maxRuns` sufficed: without any one of its things it does not fail.
 */
import type { PlannedFault, Schedule } from "./schedule.js";

/** The name of the invariant that a run with this schedule breaks; null: none. */
export type Try = (schedule: Schedule) => Promise<string | null>;

export interface Shrunk {
  readonly schedule: Schedule;
  readonly invariant: string;
  readonly runs: number;
}

/** Null: the schedule does not fail. */
export async function shrink(schedule: Schedule, attempt: Try, maxRuns: number): Promise<Shrunk | null> {
  const invariant = await attempt(schedule);
  if (invariant === null) return null;
  let runs = 1;
  let best = schedule;
  const fails = async (candidate: Schedule): Promise<boolean> => {
    if (runs >= maxRuns) return false;
    runs += 1;
    if ((await attempt(candidate)) !== invariant) return false;
    best = candidate;
    return true;
  };
  for (;;) {
    const before = best;
    await reduce<PlannedFault>(best.faults, (faults) => fails({ ...best, faults }));
    await reduce<string>(best.submissions, (submissions) => fails({ ...best, submissions }));
    if (best === before || runs >= maxRuns) return { schedule: best, invariant, runs };
  }
}

async function reduce<T>(items: readonly T[], fails: (kept: readonly T[]) => Promise<boolean>): Promise<void> {
  let kept = items;
  if (kept.length > 0 && (await fails([]))) return;
  for (let parts = 2; kept.length > 1; ) {
    const smaller = await firstFailing(candidates(kept, parts), fails);
    if (smaller !== undefined) {
      parts = Math.max(2, Math.min(parts - 1, smaller.length));
      kept = smaller;
    } else if (parts >= kept.length) return;
    else parts = Math.min(kept.length, parts * 2);
  }
}

/** Without each part; with two parts that is each part alone, too. */
function candidates<T>(items: readonly T[], parts: number): readonly (readonly T[])[] {
  const size = Math.ceil(items.length / parts);
  const all: (readonly T[])[] = [];
  for (let from = 0; from < items.length; from += size) all.push([...items.slice(0, from), ...items.slice(from + size)]);
  return all;
}

async function firstFailing<T>(
  all: readonly (readonly T[])[],
  fails: (kept: readonly T[]) => Promise<boolean>,
): Promise<readonly T[] | undefined> {
  for (const one of all) if (await fails(one)) return one;
  return undefined;
}
