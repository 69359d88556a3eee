/** Masters that die at every point of election and recovery, over all cores; or one such run, told line by line. */
import { runCrashes } from "../../sim/crash/crash-run.js";
import { SITUATIONS, type Situation, situationName } from "../../sim/crash/situations.js";
import { type CrashOutcome, type CrashProblem, crashTasks, situationNamed, type Undisturbed } from "../../sim/crash/task.js";
import { narrator } from "../../sim/report.js";
import { runBatch } from "./sim-batch.js";
import { crashOptions, prepareProcess, trapped } from "./sim-run.js";

export interface CrashPointsOptions {
  /** Only situations whose names begin so. */
  readonly situations: string;
  readonly every: number;
  /** Of each recovery that follows a death: so many second deaths. */
  readonly seconds: number;
  readonly mutant: string | null;
}

export interface CrashPointsSummary {
  readonly runs: number;
  /** Points of each situation that were tried. */
  readonly points: ReadonlyMap<string, number>;
  readonly problems: readonly CrashProblem[];
}

export async function runCrashPoints({ situations, every, seconds, mutant }: CrashPointsOptions): Promise<CrashPointsSummary> {
  const chosen = SITUATIONS.map(situationName).filter((name) => name.startsWith(situations));
  const points = new Map(chosen.map((name) => [name, 0]));
  const problems: CrashProblem[] = [];
  let runs = 0;
  const waiting = [...crashTasks(await undisturbed(chosen, mutant), { every, seconds })];
  const next = () => {
    const crash = waiting.shift();
    return crash === undefined ? undefined : { crash, mutant };
  };
  await runBatch(next, (outcome: CrashOutcome) => {
    runs += outcome.runs;
    points.set(outcome.task.situation, (points.get(outcome.task.situation) ?? 0) + 1);
    problems.push(...outcome.problems);
  });
  return { runs, points, problems };
}

/** In the order of the names. */
async function undisturbed(names: readonly string[], mutant: string | null): Promise<readonly Undisturbed[]> {
  const waiting = [...names];
  const runs = new Map<string, Undisturbed>();
  const next = () => {
    const name = waiting.shift();
    return name === undefined ? undefined : { undisturbed: name, mutant };
  };
  await runBatch(next, (run: Undisturbed) => void runs.set(run.situation, run));
  return names.flatMap((name) => runs.get(name) ?? []);
}

export function tellProblem({ situation, label, crashes, problem }: CrashProblem): void {
  const at = crashes.map(({ process: name, point }) => `${name}:${point}`).join(",");
  process.stdout.write(`${situation}, ${label}\n  ${problem}\n  replay: node dist/bin/sim.mjs --crash ${situation},${at}\n`);
}

const MAX_PROBLEMS_TOLD = 10;

export async function crashPoints(options: CrashPointsOptions, json: boolean): Promise<number> {
  prepareProcess();
  const startedAt = performance.now();
  const { runs, points, problems } = await runCrashPoints(options);
  if (json) process.stdout.write(`${JSON.stringify({ runs, points: Object.fromEntries(points), problems })}\n`);
  else {
    for (const problem of problems.slice(0, MAX_PROBLEMS_TOLD)) tellProblem(problem);
    for (const [situation, count] of points) process.stdout.write(`${String(count).padStart(6)} points  ${situation}\n`);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
    process.stdout.write(`${runs} runs, ${problems.length} came to something else, ${seconds} s\n`);
  }
  return problems.length === 0 && runs > 0 ? 0 : 1;
}

/** `shared/crash,master-2#2:17,master-1#1:40` */
export async function replayCrash(text: string, mutant: string | null): Promise<number> {
  prepareProcess();
  const [name = "", ...deaths] = text.split(",");
  const situation: Situation = situationNamed(name);
  const crashes = deaths.map((death) => {
    const [, id = "", point = ""] = /^(.*):([0-9]+)$/.exec(death) ?? [];
    return { process: id, point: Number(point) };
  });
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const run = await trapped(() =>
    runCrashes(situation, crashes, { ...crashOptions(mutant), observers: (world) => [narrator(say, () => world.now())] }),
  );
  for (const { process: id, label } of run.died) say(`died: ${id} at ${label}`);
  say(run.violation === null ? [...(run.settled ?? []), ...(run.final ?? [])].join("\n") : `VIOLATION ${run.violation.message}`);
  return run.violation === null ? 0 : 1;
}
