/**
 * One run: a cluster and its users under faults (safety), then everything heals and has to finish (liveness).
 */
import { CHECKERS } from "./checkers/all.js";
import { type CheckContext, createContext, HistoryFollower } from "./checkers/context.js";
import { type Account, ClientSlot, inspect } from "./clients.js";
import { Cluster } from "./cluster.js";
import { type Coverage, createCoverage } from "./coverage.js";
import { type FaultSeen, Faults } from "./faults.js";
import { HEALTHY, type Mutant } from "./mutants/mutant.js";
import { type Observer, Violation } from "./observe.js";
import { drawOptions, type OptionsOverride, type SimOptions } from "./options.js";
import { drawSubmissions } from "./workload.js";
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
  const cluster = new Cluster(world, options, run.mutant ?? HEALTHY);
  const clients = createClients(cluster);
  const accounts = clients.flatMap((client) => client.accounts);
  const history = new HistoryFollower();
  const context = createContext(cluster, accounts, history);
  for (const observer of run.observers?.(context) ?? []) cluster.observe(observer);
  const coverage: Coverage = new Map();
  cluster.observe(createCoverage(context, coverage));
  const checkers = CHECKERS.map((checker) => checker(context));
  for (const checker of checkers) cluster.observe(checker);
  cluster.observe(history.observer());
  const stepping = checkers.flatMap(({ stepped }) => (stepped === undefined ? [] : [stepped]));
  world.check = () => {
    for (const stepped of stepping) stepped();
  };
  const faults = new Faults(cluster, clients);
  let violation: Violation | null = null;
  try {
    cluster.startAll();
    for (const client of clients) client.start();
    faults.start();
    await world.runUntil(options.safetyMs);
    faults.calm();
    cluster.tell((observer) => observer.calm?.());
    const isOver = () =>
      clients.every((client) => client.isDone()) && cluster.workers.every(({ disk }) => disk.living().length === 0);
    const isDone = await world.runUntil(options.safetyMs + options.livenessMs, isOver);
    if (!isDone) throw new Violation("I21", `not everything finished: ${unfinished(clients, cluster, history)}`);
    await inspect(cluster);
    cluster.tell((observer) => observer.finished?.());
    world.throwIfFailed();
  } catch (thrown) {
    violation =
      thrown instanceof Violation
        ? thrown
        : new Violation("crash", thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
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

function createClients(cluster: Cluster): readonly ClientSlot[] {
  const { options, world } = cluster;
  const random = world.random.fork("workload");
  const accounts = Array.from({ length: options.clients }, (_, client) =>
    drawSubmissions(options, random, client).map(
      (submission): Account => ({ submission, id: null, cancelAcknowledgedAt: null, finalState: null, exitCode: null }),
    ),
  );
  return accounts.map((own, index) => {
    const others = accounts[(index + 1) % accounts.length] ?? [];
    const repeated = () => others.filter(({ submission }) => submission.repeatAfterMs !== null);
    return new ClientSlot(cluster, `c${index + 1}`, own, repeated);
  });
}

function unfinished(clients: readonly ClientSlot[], cluster: Cluster, history: HistoryFollower): string {
  const applications = clients.flatMap(({ accounts }) =>
    accounts
      .filter(({ finalState }) => finalState === null)
      .map(({ submission, id }) => {
        const { state, attempt, reason } = history.applications.get(id ?? "") ?? { state: "unknown", attempt: 0, reason: null };
        return `${submission.key} (${id ?? "not submitted"}: ${state}, attempt ${attempt}${reason === null ? "" : `, ${reason.message}`})`;
      }),
  );
  const processes = cluster.workers.flatMap(({ disk }) => disk.living().map(({ processId }) => processId));
  return `applications ${applications.join(", ") || "none"}; processes ${processes.join(", ") || "none"}`;
}
