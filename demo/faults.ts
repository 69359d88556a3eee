/**
 * The demo's faults, each a real kill -9, and what has to be true afterwards. Boundary: kills and watches; the order is main.ts's.
 * A master's death may change nothing of the job: that is checked, not assumed.
 */
import { submitProbe } from "../bench/probe.js";
import type { ClusterClient } from "../src/cli/client/cluster-client.js";
import { formatCount } from "../src/cli/terminal.js";
import type { ZooKeeperServers } from "../test/support/zookeeper.js";
import { type Footprint, hasCheckpoint, isWhole, type Observer } from "./observe.js";

const WHOLE_TIMEOUT_MS = 60_000;

export interface FaultReport {
  readonly fault: string;
  readonly killed: string;
  /** What the job noticed. */
  readonly noticed: string;
  /** Records that were read before and had to be read again. */
  readonly recordsBack: number;
  readonly millisecondsUntilWhole: number;
  readonly asPromised: boolean;
}

export interface FaultContext {
  readonly client: ClusterClient;
  readonly observer: Observer;
  readonly parallelism: number;
  readonly chance: () => number;
}

const kill = (pid: number): void => void process.kill(pid, "SIGKILL");
const pick = <T>(items: readonly T[], chance: () => number): T => {
  const item = items[Math.floor(chance() * items.length)];
  if (item === undefined) throw new Error("nothing to choose from");
  return item;
};

const changes = (before: Footprint, after: Footprint): string => {
  const noticed: string[] = [];
  if (after.attempt !== before.attempt) noticed.push(`driver restarted (attempt ${after.attempt})`);
  else if (after.driverPid !== before.driverPid) noticed.push("another driver");
  else if (after.jobRestarts > before.jobRestarts) noticed.push(`try ${after.jobRestarts + 1}`);
  const gone = before.executorPids.filter((pid) => !after.executorPids.includes(pid)).length;
  if (gone > 0) noticed.push(`${gone} of ${before.executorPids.length} executors replaced`);
  return noticed.length === 0 ? "nothing" : noticed.join(", ");
};

/** kill -9 of the leader; whole when the next one has made a new submission durable. */
export async function killLeader(context: FaultContext, name: string): Promise<FaultReport> {
  const before = await context.observer.footprint();
  const { leader } = await context.observer.cluster();
  if (leader === null) throw new Error("there is no leader to kill");
  const startedAt = performance.now();
  kill(leader.pid);
  // A small program proves that the next leader makes new things durable: it is answered after its record is on disk.
  const probe = await submitProbe(context.client, context.client.newSubmissionKey());
  const millisecondsUntilWhole = performance.now() - startedAt;
  await context.client.waitForEnd(probe, () => {});
  await context.observer.until("the job to be seen whole by the next leader", WHOLE_TIMEOUT_MS, async () =>
    isWhole(await context.observer.status(), context.parallelism),
  );
  const after = await context.observer.footprint();
  const noticed = changes(before, after);
  return {
    fault: name,
    killed: `master ${leader.id} (pid ${leader.pid}), epoch ${before.epoch} → ${after.epoch}`,
    noticed,
    recordsBack: 0,
    millisecondsUntilWhole,
    asPromised: noticed === "nothing" && after.epoch > before.epoch,
  };
}

/** kill -9 of the server that leads the ensemble, for good; whole when a new submission is durable on those that are left. */
export async function killZooKeeperServer(context: FaultContext, ensemble: ZooKeeperServers): Promise<FaultReport> {
  const before = await context.observer.footprint();
  const server = await ensemble.leader();
  const pid = server.pid();
  const startedAt = performance.now();
  await server.kill();
  const probe = await submitProbe(context.client, context.client.newSubmissionKey());
  const millisecondsUntilWhole = performance.now() - startedAt;
  await context.client.waitForEnd(probe, () => {});
  const after = await context.observer.footprint();
  const noticed = changes(before, after);
  return {
    fault: "a ZooKeeper server",
    killed: `server ${server.id} (pid ${pid}), which led the ensemble; epoch ${before.epoch} → ${after.epoch}`,
    noticed,
    recordsBack: 0,
    millisecondsUntilWhole,
    asPromised: noticed === "nothing",
  };
}

async function killAndWait(
  context: FaultContext,
  fault: string,
  killed: string,
  pids: readonly number[],
  changed: (before: Footprint, now: Footprint) => boolean,
): Promise<FaultReport> {
  const { observer, parallelism } = context;
  await observer.until("a checkpoint to go on from", WHOLE_TIMEOUT_MS, async () => hasCheckpoint(await observer.status()));
  const before = await observer.footprint();
  for (const pid of pids) kill(pid);
  const millisecondsUntilWhole = await observer.until(`the job to run again after ${fault}`, WHOLE_TIMEOUT_MS, async () => {
    if (!isWhole(await observer.status(), parallelism)) return false;
    const now = await observer.footprint();
    if (!changed(before, now)) return false;
    if (now.attempt > before.attempt && (await observer.tookOver(now.attempt))) return true;
    // What a try goes on from comes with its first progress, which may be later than its processes.
    return now.restoredTry !== null && now.restoredTry !== before.restoredTry;
  });
  const after = await observer.footprint();
  if (after.attempt > before.attempt && (await observer.tookOver(after.attempt))) {
    const noticed = `${changes(before, after)}, which took over what ran: 0 records back`;
    const asPromised = after.executorPids.join() === before.executorPids.join();
    return { fault, killed, noticed, recordsBack: 0, millisecondsUntilWhole, asPromised };
  }
  const recordsBack = Math.max(0, before.recordsIn - (observer.recordsAt(after.restored) ?? 0));
  const noticed = `${changes(before, after)}, restored checkpoint ${after.restored}, ${formatCount(recordsBack)} records back`;
  // What was complete before may not be lost.
  return { fault, killed, noticed, recordsBack, millisecondsUntilWhole, asPromised: after.restored > before.restored };
}

export async function killExecutor(context: FaultContext): Promise<FaultReport> {
  const view = await context.observer.status();
  const victim = pick(
    view.executors.filter((executor) => executor.state === "running" && executor.pid !== null),
    context.chance,
  );
  const pid = victim.pid ?? 0;
  return killAndWait(
    context,
    "an executor",
    `executor ${victim.id} (pid ${pid})`,
    [pid],
    (before, now) => now.jobRestarts > before.jobRestarts && !now.executorPids.includes(pid),
  );
}

export async function killDriver(context: FaultContext): Promise<FaultReport> {
  const view = await context.observer.status();
  const pid = view.driver?.pid ?? null;
  if (pid === null) throw new Error("there is no driver to kill");
  return killAndWait(
    context,
    "the driver",
    `driver of attempt ${view.attempt} (pid ${pid})`,
    [pid],
    (before, now) => now.attempt > before.attempt,
  );
}

/** A machine: the worker process and every process that it started, at once. Chosen among those that run an executor but not the driver. */
export async function killMachine(context: FaultContext): Promise<FaultReport> {
  const view = await context.observer.status();
  const candidates = [
    ...new Set(view.executors.filter((executor) => executor.state === "running").map((executor) => executor.worker ?? "")),
  ];
  const worker = pick(
    candidates.filter((id) => id !== view.driver?.worker).length > 0
      ? candidates.filter((id) => id !== view.driver?.worker)
      : candidates,
    context.chance,
  );
  const { workers } = await context.client.call("workers", {});
  const workerPid = workers.find((entry) => entry.id === worker)?.pid;
  if (workerPid === undefined) throw new Error(`worker ${worker} is not known`);
  const executors = view.executors.filter(
    (executor) => executor.worker === worker && executor.pid !== null && executor.state === "running",
  );
  const driverPids = view.driver?.worker === worker && view.driver.pid !== null ? [view.driver.pid] : [];
  const pids = [workerPid, ...driverPids, ...executors.map((executor) => executor.pid ?? 0)];
  const dead = new Set(pids);
  return killAndWait(
    context,
    "a machine",
    `worker ${worker} and all its processes (pids ${pids.join(", ")})`,
    pids,
    (before, now) =>
      (now.attempt > before.attempt || now.jobRestarts > before.jobRestarts) && !now.executorPids.some((pid) => dead.has(pid)),
  );
}
