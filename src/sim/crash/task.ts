/**
 * Crash points as work for several processes: a task is plain data, its outcome too. First each situation is run with nobody dying, which tells its points
 * and what has to come of every death; then the deaths.
 */
import type { RareState } from "../coverage.js";
import { seededRandom } from "../seed.js";
import type { Crash } from "./crash-points.js";
import { type CrashRun, type CrashRunOptions, runCrashes } from "./crash-run.js";
import { type CrashCase, type Expected, judge, sample, secondCrashes, singleCrashes } from "./enumerate.js";
import { SITUATIONS, type Situation, situationName } from "./situations.js";

export interface CrashTask {
  readonly situation: string;
  readonly case: CrashCase;
  readonly expected: Expected;
  /** Of the next recovery, after this death: so many more deaths. */
  readonly seconds: number;
}

export interface CrashOutcome {
  readonly task: CrashTask;
  readonly problems: readonly CrashProblem[];
  readonly runs: number;
  readonly virtualMs: number;
  readonly coverage: readonly (readonly [RareState, number])[];
}

export interface CrashProblem {
  readonly situation: string;
  readonly label: string;
  readonly crashes: readonly Crash[];
  readonly problem: string;
}

export function situationNamed(name: string): Situation {
  const situation = SITUATIONS.find((one) => situationName(one) === name);
  if (situation === undefined)
    throw new Error(`there is no situation ${name}; there are ${SITUATIONS.map(situationName).join(", ")}`);
  return situation;
}

/** Nobody dies. */
export interface Undisturbed {
  readonly situation: string;
  readonly expected: Expected;
  readonly cases: readonly CrashCase[];
}

export async function runUndisturbed(situation: string, options: CrashRunOptions): Promise<Undisturbed> {
  const run = await runCrashes(situationNamed(situation), [], options);
  return { situation, expected: { settled: run.settled, final: run.final }, cases: singleCrashes(run) };
}

/** All deaths of all situations; with `every` above 1 only every so manieth point, a different one in each situation. */
export function crashTasks(
  runs: readonly Undisturbed[],
  { every, seconds }: { readonly every: number; readonly seconds: number },
): readonly CrashTask[] {
  return runs.flatMap(({ situation, expected, cases }, index) =>
    cases
      .filter((_case, position) => position % every === index % every)
      .map((one): CrashTask => ({ situation, case: one, expected, seconds })),
  );
}

export async function carryOut(task: CrashTask, options: CrashRunOptions): Promise<CrashOutcome> {
  const situation = situationNamed(task.situation);
  const { expected } = task;
  const problems: CrashProblem[] = [];
  const coverage = new Map<RareState, number>();
  let runs = 0;
  let virtualMs = 0;
  const attempt = async (one: CrashCase): Promise<CrashRun> => {
    const { run, problem } = await judge(situation, one, expected, options);
    runs += 1;
    virtualMs += run.virtualMs;
    for (const [state, count] of run.coverage) coverage.set(state, (coverage.get(state) ?? 0) + count);
    if (problem !== null) problems.push({ situation: task.situation, label: one.label, crashes: one.crashes, problem });
    return run;
  };
  const first = await attempt(task.case);
  if (task.seconds > 0 && problems.length === 0) {
    const random = seededRandom(task.case.crashes[0]?.point ?? 0).fork(task.case.label);
    for (const second of sample(secondCrashes(task.case, first), task.seconds, random)) await attempt(second);
  }
  return { task, problems, runs, virtualMs, coverage: [...coverage] };
}
