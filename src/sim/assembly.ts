/** A simulated cluster with its users, its checkers and its history: what every kind of run is made of. Decides nothing about time and faults. */
import { CHECKERS } from "./checkers/all.js";
import { type CheckContext, createContext, HistoryFollower } from "./checkers/context.js";
import { type Account, ClientSlot } from "./clients.js";
import { Cluster } from "./cluster.js";
import { type Coverage, createCoverage } from "./coverage.js";
import type { Mutant } from "./mutants/mutant.js";
import { type Observer, Violation } from "./observe.js";
import type { SimOptions } from "./options.js";
import type { Submission } from "./workload.js";
import type { World } from "./world.js";

export interface Assembly {
  readonly world: World;
  readonly options: SimOptions;
  readonly cluster: Cluster;
  readonly clients: readonly ClientSlot[];
  readonly accounts: readonly Account[];
  readonly history: HistoryFollower;
  readonly coverage: Coverage;
}

export interface AssemblyOptions {
  readonly world: World;
  readonly options: SimOptions;
  readonly mutant: Mutant;
  /** What each client submits. */
  submissions(cluster: Cluster): readonly (readonly Submission[])[];
  /** For logs; they hear of everything first. */
  readonly observers?: (context: CheckContext) => readonly Observer[];
}

export function assemble({ world, options, mutant, submissions, observers }: AssemblyOptions): Assembly {
  const cluster = new Cluster(world, options, mutant);
  const clients = createClients(cluster, submissions(cluster));
  const accounts = clients.flatMap((client) => client.accounts);
  const history = new HistoryFollower();
  const context = createContext(cluster, accounts, history);
  for (const observer of observers?.(context) ?? []) cluster.observe(observer);
  const coverage: Coverage = new Map();
  cluster.observe(createCoverage(context, coverage));
  const checkers = CHECKERS.map((checker) => checker(context));
  for (const checker of checkers) cluster.observe(checker);
  cluster.observe(history.observer());
  const stepping = checkers.flatMap(({ stepped }) => (stepped === undefined ? [] : [stepped]));
  world.check = () => {
    for (const stepped of stepping) stepped();
  };
  return { world, options, cluster, clients, accounts, history, coverage };
}

/** Each sends again what its neighbour submits, where the submission says so. */
function createClients(cluster: Cluster, submissions: readonly (readonly Submission[])[]): readonly ClientSlot[] {
  const accounts = submissions.map((own) =>
    own.map((submission): Account => ({ submission, id: null, cancelAcknowledgedAt: null, finalState: null, exitCode: null })),
  );
  return accounts.map((own, index) => {
    const others = accounts[(index + 1) % accounts.length] ?? [];
    const repeated = () => others.filter(({ submission }) => submission.repeatAfterMs !== null);
    return new ClientSlot(cluster, `c${index + 1}`, own, repeated);
  });
}

/** Everything that was submitted has ended, for its user and on the workers. */
export const isFinished = ({ clients, cluster, history }: Assembly): boolean =>
  clients.every((client) => client.isDone()) &&
  cluster.workers.every(({ disk }) => disk.living().length === 0) &&
  [...history.applications.values()].every(({ leftovers }) => leftovers === undefined || leftovers.error !== null);

/** What keeps a run from its end. */
export function unfinished({ clients, cluster, history }: Assembly): string {
  const applications = clients.flatMap(({ accounts }) =>
    accounts
      .filter(({ finalState }) => finalState === null)
      .map(({ submission, id }) => {
        const { state, attempt, reason } = history.applications.get(id ?? "") ?? { state: "unknown", attempt: 0, reason: null };
        return `${submission.key} (${id ?? "not submitted"}: ${state}, attempt ${attempt}${reason === null ? "" : `, ${reason.message}`})`;
      }),
  );
  const unclean = [...history.applications.values()].filter(({ leftovers }) => leftovers?.error === null).map(({ id }) => id);
  const processes = cluster.workers.flatMap(({ disk }) => disk.living().map(({ processId }) => processId));
  return `applications ${applications.join(", ") || "none"}; processes ${processes.join(", ") || "none"}; to be cleaned up after ${unclean.join(", ") || "none"}`;
}

/** What ended a run, as a violation: anything that is none is a crash of the product or of the simulator. */
export function violationOf(thrown: unknown): Violation {
  if (thrown instanceof Violation) return thrown;
  return new Violation("crash", thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown));
}
