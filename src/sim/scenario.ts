/**
 * One run: a cluster and its users under faults (safety), then everything heals and has to finish (liveness).
 */
import { assemble, isFinished, unfinished, violationOf } from "./assembly.js";
import type { CheckContext } from "./checkers/context.js";
import { inspect } from "./clients.js";
import type { Coverage } from "./coverage.js";
import { type FaultSeen, Faults } from "./faults.js";
import { HEALTHY, type Mutant } from "./mutants/mutant.js";
import { type Observer, Violation } from "./observe.js";
import { drawOptions, type OptionsOverride, type SimOptions } from "./options.js";
import { drawAllSubmissions } from "./workload.js";
import { type Drain, World } from "./world.js";

export interface RunResult {
  readonly seed: number;
  readonly options: SimOptions;
  readonly violation: Violation | null;
  readonly traceHash: string;
  readonly events: number;
  readonly virtualMs: number;
  readonly faults: readonly FaultSeen[];
  readonly coverage: Coverage;
}

export interface RunOptions {
  readonly drain: Drain;
  readonly mutant?: Mutant;
  readonly override?: OptionsOverride;
  /** What happens outside of it (an unhandled rejection) can be made the run's failure. */
  readonly onWorld?: (world: World) => void;
  /** For logs. */
  readonly observers?: (context: CheckContext) => readonly Observer[];
}

export async function runSeed(seed: number, run: RunOptions): Promise<RunResult> {
  const world = new World(seed, run.drain);
  run.onWorld?.(world);
  const options = drawOptions(seed, run.override);
  const assembly = assemble({
    world,
    options,
    mutant: run.mutant ?? HEALTHY,
    submissions: () => drawAllSubmissions(options, world.random.fork("workload")),
    ...(run.observers === undefined ? {} : { observers: run.observers }),
  });
  const { cluster, clients, coverage } = assembly;
  const faults = new Faults(cluster, clients);
  let violation: Violation | null = null;
  try {
    cluster.startAll();
    for (const client of clients) client.start();
    faults.start();
    await world.runUntil(options.safetyMs);
    faults.calm();
    cluster.tell((observer) => observer.calm?.());
    const isDone = await world.runUntil(options.safetyMs + options.livenessMs, () => isFinished(assembly));
    if (!isDone) throw new Violation("I21", `not everything finished: ${unfinished(assembly)}`);
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
    faults: faults.schedule,
    coverage,
  };
}
