/** All the ways to die once, some of the ways to die twice, and the judgement of each: I19. */
import type { SeededRandom } from "../seed.js";
import type { Crash } from "./crash-points.js";
import { type CrashRun, type CrashRunOptions, runCrashes } from "./crash-run.js";
import { difference, MISSING } from "./run-state.js";
import type { Situation } from "./situations.js";

/** What comes of a situation in which nobody dies; null: it did not come to that. */
export type Expected = Pick<CrashRun, "settled" | "final">;

export interface CrashCase {
  readonly crashes: readonly Crash[];
  /** For people: at which point. */
  readonly label: string;
}

/** Every point of every master that was on its way when nobody died. */
export function singleCrashes(undisturbed: CrashRun): readonly CrashCase[] {
  return [...undisturbed.points].flatMap(([process, labels]) =>
    labels.map((label, point): CrashCase => ({ crashes: [{ process, point }], label: `${process}, point ${point}: ${label}` })),
  );
}

/** Those of the next recovery, after a death that has happened. */
export function secondCrashes(first: CrashCase, afterFirst: CrashRun): readonly CrashCase[] {
  const dead = first.crashes[0];
  if (dead === undefined) return [];
  return [...afterFirst.points].flatMap(([process, labels]) => {
    // What others did before the first death has been enumerated with the first deaths.
    const from = process === dead.process ? labels.length : (afterFirst.passedAtDeath.get(process) ?? 0);
    return labels.slice(from).map((label, index): CrashCase => {
      const crash = { process, point: from + index };
      return { crashes: [dead, crash], label: `${first.label}; then ${process}, point ${crash.point}: ${label}` };
    });
  });
}

export function sample<T>(items: readonly T[], count: number, random: SeededRandom): readonly T[] {
  const left = [...items];
  const taken: T[] = [];
  while (taken.length < count && left.length > 0) taken.push(...left.splice(random.below(left.length), 1));
  return taken;
}

/** Null: it came to the same. */
export async function judge(
  situation: Situation,
  { crashes }: CrashCase,
  undisturbed: Expected,
  options: CrashRunOptions,
): Promise<{ readonly run: CrashRun; readonly problem: string | null }> {
  const run = await runCrashes(situation, crashes, options);
  return { run, problem: problemOf(situation, run, crashes, undisturbed) };
}

/** Without records more may run than before: what a user has submitted again because its master knew nothing of it. Nothing may run less. */
function problemOf({ mode }: Situation, run: CrashRun, crashes: readonly Crash[], undisturbed: Expected): string | null {
  if (run.violation !== null) return run.violation.message;
  if (run.died.length !== crashes.length)
    return `only ${run.died.length} of ${crashes.length} processes died: the run up to the point is not the same`;
  for (const [when, expected, actual] of [
    ["after recovery", undisturbed.settled, run.settled],
    ["at the end", undisturbed.final, run.final],
  ] as const) {
    const isTolerated = (fact: string) => mode === "none" && !fact.startsWith(MISSING);
    const facts = difference(expected ?? [], actual ?? []).filter((fact) => !isTolerated(fact));
    if (facts.length > 0) return `I19: ${when}, against the run without a crash: ${facts.join("; ")}`;
  }
  return null;
}
