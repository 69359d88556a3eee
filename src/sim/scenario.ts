/**
 * One run: a cluster and its users under faults (safety), then everything heals and has to finish (liveness).
 */
import { type Assembly, assemble, isFinished, unfinished, violationOf } from "./assembly.js";
import type { CheckContext } from "./checkers/context.js";
import type { Coverage } from "./coverage.js";
import { type FaultSeen, Faults } from "./faults.js";
import { freezeRest } from "./frozen-rest.js";
import { inspect } from "./inspector.js";
import { HEALTHY, type Mutant } from "./mutants/mutant.js";
import { type Observer, Violation } from "./observe.js";
import { drawOptions, type OptionsOverride, type SimOptions } from "./options.js";
import { planFaults, type Schedule } from "./schedule.js";
import { drawAllSubmissions } from "./workload.js";
import { type Drain, World } from "./world.js";

export interface RunResult {
  readonly seed: number;
  readonly options: SimOptions;
  readonly violation: Violation | null;
  readonly traceHash: string;
  readonly events: number;
  readonly virtualMs: number;
  /** What was to happen. */
  readonly plan: Pick<Schedule, "faults" | "submissions">;
  /** What has happened. */
  readonly faults: readonly FaultSeen[];
  readonly coverage: Coverage;
}

export interface RunOptions {
  readonly drain: Drain;
  readonly mutant?: Mutant;
  readonly override?: OptionsOverride;
  /** Instead of what the seed draws. */
  readonly schedule?: Pick<Schedule, "faults" | "submissions">;
  /** What happens outside of it (an unhandled rejection) can be made the run's failure. */
  readonly onWorld?: (world: World) => void;
  /** For logs. */
  readonly observers?: (context: CheckContext) => readonly Observer[];
}

export async function runSeed(seed: number, run: RunOptions): Promise<RunResult> {
  const world = new World(seed, run.drain);
  run.onWorld?.(world);
  const options = drawOptions(seed, run.override);
  const plan = run.schedule?.faults ?? planFaults(options, world.random.fork("faults"));
  const drawn = drawAllSubmissions(options, world.random.fork("workload"));
  const wanted = run.schedule === undefined ? null : new Set(run.schedule.submissions);
  const submissions = drawn.map((own) => own.filter(({ key }) => wanted === null || wanted.has(key)));
  const assembly = assemble({
    world,
    options,
    mutant: run.mutant ?? HEALTHY,
    submissions: () => submissions,
    ...(run.observers === undefined ? {} : { observers: run.observers }),
  });
  const { cluster, clients, coverage } = assembly;
  const faults = new Faults(cluster, clients, plan);
  let violation: Violation | null = null;
  try {
    cluster.startAll();
    for (const client of clients) client.start();
    faults.start();
    await world.runUntil(options.safetyMs);
    await becomeCalm(assembly, faults);
    await inspect(cluster);
    cluster.tell((observer) => observer.finished?.());
    world.throwIfFailed();
  } catch (thrown) {
    violation = violationOf(thrown);
  }
  return {
    seed,
    options,
    violation,
    traceHash: world.traceHash(),
    events: world.events(),
    virtualMs: world.now(),
    plan: { faults: plan, submissions: submissions.flat().map(({ key }) => key) },
    faults: faults.schedule,
    coverage,
  };
}

/** Liveness: in some seeds a core has to do it alone; in all of them everything has to be over when everything has healed. */
async function becomeCalm(assembly: Assembly, faults: Faults): Promise<void> {
  const { world, cluster, clients, options } = assembly;
  faults.calm();
  const rest = options.freezesRest ? freezeRest(cluster, world.random.fork("frozen rest")) : undefined;
  cluster.tell((observer) => observer.calm?.(rest?.subjects ?? []));
  if (rest !== undefined) {
    const isDone = await world.runUntil(world.now() + options.livenessMs, () => clients.every((client) => client.isDone()));
    if (!isDone)
      throw new Violation(
        "I21",
        `the core alone did not finish everything without ${rest.subjects.join(", ")}: ${unfinished(assembly)}`,
      );
    rest.thaw();
    cluster.tell((observer) => observer.thawed?.());
  }
  const isDone = await world.runUntil(world.now() + options.livenessMs, () => isFinished(assembly));
  if (!isDone) throw new Violation("I21", `not everything finished: ${unfinished(assembly)}`);
}
