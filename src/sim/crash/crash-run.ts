/**
 * One run of a fixed situation with processes that die at given points, and what came of it. I19: wherever they die, it is what comes of the
 * run in which nobody dies.
 */
import { type Assembly, assemble, isFinished, unfinished, violationOf } from "../assembly.js";
import type { Cluster } from "../cluster.js";
import type { Coverage } from "../coverage.js";
import { inspect } from "../inspector.js";
import { HEALTHY, type Mutant } from "../mutants/mutant.js";
import { type Observer, Violation } from "../observe.js";
import type { SimOptions } from "../options.js";
import type { Submission } from "../workload.js";
import { type Drain, type SimProcess, World } from "../world.js";
import { type Crash, CrashPoints } from "./crash-points.js";
import { type JobSituation, jobOptions, jobState, jobSubmission, watchJob } from "./job-situation.js";
import { finalState, type RunState, settledState } from "./run-state.js";
import { LEADER_GOES_AT_MS, optionsOf, script, submissionsOf } from "./situation.js";
import type { Situation } from "./situations.js";

/** A leader is watched this long after it has become ALIVE: its first acts belong to recovery. */
const ALIVE_FOR_MS = 20;
/** Less than any store takes. */
const IN_FLIGHT_MS = 0.05;

export interface CrashRun {
  readonly violation: Violation | null;
  /** When recovery has settled; null: it did not come to that. */
  readonly settled: RunState | null;
  readonly final: RunState | null;
  /** Of every master process that was on its way to lead (or out, at a hand-over), what can be crashed, in order. */
  readonly points: ReadonlyMap<string, readonly string[]>;
  /** The processes that have led after the first leader, in order. */
  readonly leaders: readonly string[];
  readonly died: readonly { readonly process: string; readonly label: string }[];
  /** How many points each process had passed when the last of the planned deaths came. */
  readonly passedAtDeath: ReadonlyMap<string, number>;
  readonly coverage: Coverage;
  readonly traceHash: string;
  readonly virtualMs: number;
}

export interface CrashRunOptions {
  readonly drain: Drain;
  readonly mutant?: Mutant;
  readonly onWorld?: (world: World) => void;
  readonly observers?: (world: World) => readonly Observer[];
}

export async function runCrashes(situation: Situation, crashes: readonly Crash[], run: CrashRunOptions): Promise<CrashRun> {
  const world = new World(1, run.drain);
  run.onWorld?.(world);
  const { options, submissions, script, watch, settled: settledOf, final: finalOf } = setUp(situation);
  const points = new CrashPoints(world, crashes);
  const assembly = assemble({
    world,
    options,
    mutant: points.instrument(run.mutant ?? HEALTHY),
    submissions: () => submissions,
    observers: () => run.observers?.(world) ?? [],
  });
  const { cluster, clients, coverage } = assembly;
  const leaders: string[] = [];
  cluster.observe(watch(cluster, points, leaders));
  script(cluster);
  let violation: Violation | null = null;
  let settled: RunState | null = null;
  let final: RunState | null = null;
  try {
    cluster.startAll();
    for (const client of clients) client.start();
    await world.runUntil(options.safetyMs);
    settled = settledOf(assembly);
    cluster.tell((observer) => observer.calm?.([]));
    const isDone = await world.runUntil(options.safetyMs + options.livenessMs, () => isFinished(assembly));
    if (!isDone) throw new Violation("I21", `not everything finished: ${unfinished(assembly)}`);
    await inspect(cluster);
    cluster.tell((observer) => observer.finished?.());
    world.throwIfFailed();
    final = finalOf(assembly);
  } catch (thrown) {
    violation = violationOf(thrown);
  }
  const { passed, died, passedAtDeath } = points;
  const ended = { traceHash: world.traceHash(), virtualMs: world.now() };
  return { violation, settled, final, points: passed, leaders, died, passedAtDeath, coverage, ...ended };
}

/** What a situation is made of. */
interface Setup {
  readonly options: SimOptions;
  readonly submissions: readonly (readonly Submission[])[];
  script(cluster: Cluster): void;
  watch(cluster: Cluster, points: CrashPoints, leaders: string[]): Observer;
  settled(assembly: Assembly): RunState;
  final(assembly: Assembly): RunState;
}

function setUp(situation: Situation): Setup {
  if ("window" in situation) return jobSetup(situation);
  const options = optionsOf(situation);
  return {
    options,
    submissions: submissionsOf(options),
    script: (cluster) => script(cluster, situation.ending),
    watch: watchMasters,
    settled: settledState,
    final: finalState,
  };
}

function jobSetup(situation: JobSituation): Setup {
  return {
    options: jobOptions(),
    submissions: [[jobSubmission(situation)]],
    script: () => {},
    watch: (cluster, points) => watchJob(situation, cluster, points),
    settled: () => [],
    final: jobState,
  };
}

/** From the moment the first leader goes: every master, until one of them has been ALIVE for a moment; again when that one is gone. */
function watchMasters(cluster: Cluster, points: CrashPoints, leaders: string[]): Observer {
  const { world } = cluster;
  let alive: { readonly process: SimProcess; readonly since: number } | null = null;
  points.watch(
    (process) =>
      world.now() >= LEADER_GOES_AT_MS &&
      process.id.startsWith("master-") &&
      (alive === null || world.now() <= alive.since + ALIVE_FOR_MS),
  );
  return {
    committed: ({ process }) => void (process !== null && points.pass(process, "committed")),
    commitBegun: (process) =>
      void world.schedule(world.now() + IN_FLIGHT_MS, "in flight", () => void points.pass(process, "commit in flight")),
    masterState: (process, _name, state) => {
      if (world.now() < LEADER_GOES_AT_MS) return;
      if (state === "RECOVERING") leaders.push(process.id);
      if (state === "ALIVE") alive = { process, since: world.now() };
      if (state === "STANDBY" && process === alive?.process) alive = null;
    },
  };
}
