/**
 * A large cluster comes back after kill -9 of its master: real connections, a real master process, cold (no standby), on ZooKeeper or `file:`.
 * Workers and drivers are words only (load-cluster.ts), in a process of their own. They share the machine's cores with the master, so beside the
 * time of the clock stands what the master's process alone needed of a core.
 */
import { type ClusterProcess, type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import { startZooKeeper, zooKeeperMissing } from "../test/support/zookeeper.js";
import { type AcceptFloor, acceptFloor } from "./accept-floor.js";
import type { Benchmark, Context } from "./benchmark.js";
import { cpuMs, loopCpuMs } from "./cpu-time.js";
import { freeAddress } from "./free-address.js";
import { type LoadProcess, startLoadProcess } from "./load-process.js";
import { EXECUTORS_A_WORKER, endOf, fill, jobsOf, PATIENT, probeWhileRecovering, timeOf, until } from "./re-attach-cluster.js";
import { onStandby } from "./re-attach-warm.js";

/** Of the master's session, as by default: it is killed, and the next one waits until it is over. Shorter ones end while a loop is busy with all clients at once. */
const SESSION_MS = 10_000;
const SERVER_JAVA = ["-Xmx1g"];

export const reAttach: Benchmark = {
  name: "re-attach",
  summary: "a large cluster re-attaches over TCP after kill -9 of its master (ZooKeeper and file:, cold)",
  run: async (context) => {
    for (const workers of sizes(context)) {
      await showFloor(context, workers);
      // A fixed part is to be short, and cold it waits for the end of a session.
      if (context.size !== "ci") await onZooKeeper(context, workers);
      await onStandby(context, workers);
    }
    for (const workers of sizes(context).slice(-1)) await inCluster(context, workers, "file", {});
  },
};

/** Several, so that a cost that grows faster than the cluster shows. */
const sizes = (context: Context): readonly number[] =>
  context.size === "ci" ? [50] : context.size === "quick" ? [1_000, 3_000] : [1_000, 3_000, 10_000];

/** What no master on this machine can go below, however little it does. */
async function showFloor(context: Context, workers: number): Promise<void> {
  const floors: AcceptFloor[] = [];
  for (let run = 0; run < context.pick(3, 2, 1); run++) floors.push(await acceptFloor(workers));
  const row = (what: string, of: (floor: AcceptFloor) => number) => context.row({ what, unit: "ms", samples: floors.map(of) });
  row(`the limit: a bare server answers three messages of each of ${workers} new connections`, ({ wallMs }) => wallMs);
  row("  processor time of that server", ({ serverMs }) => serverMs);
}

async function onZooKeeper(context: Context, workers: number): Promise<void> {
  const missing = zooKeeperMissing();
  if (missing !== null) {
    context.note(`on ZooKeeper left out: ${missing}`);
    return;
  }
  const servers = await startZooKeeper({ java: SERVER_JAVA });
  try {
    await inCluster(context, workers, "ZooKeeper", {
      recovery: `zk://${servers.connectString}/re-attach`,
      args: ["--session-timeout", `${SESSION_MS}ms`],
    });
  } finally {
    await servers.close();
  }
}

interface MasterPlace {
  readonly recovery?: string;
  readonly args?: readonly string[];
}

async function inCluster(context: Context, workers: number, store: string, place: MasterPlace): Promise<void> {
  const cluster = await processCluster(context.program);
  const address = await freeAddress();
  const args = [
    "--log-format",
    "json",
    ...PATIENT,
    ...(place.recovery === undefined ? [] : ["--storage", `file:${cluster.file("bundles")}`]),
  ];
  const start = (run: number): ClusterProcess =>
    cluster.startMaster(`master-${run}`, { ...place, listen: address, args: [...args, ...(place.args ?? [])] });
  const first = start(0);
  const load = startLoadProcess({ addresses: [address], standing: false, workers, slots: EXECUTORS_A_WORKER + 1 });
  try {
    await Promise.race([load.connected, endOf(first)]);
    await fill(context, cluster, load, jobsOf(workers));
    await measure(context, { cluster, load, workers, store, start, first });
  } finally {
    await load.close();
    await cluster.close();
  }
}

interface Arena {
  readonly cluster: ProcessCluster;
  readonly load: LoadProcess;
  readonly workers: number;
  readonly store: string;
  readonly first: ClusterProcess;
  start(run: number): ClusterProcess;
}

async function measure(context: Context, arena: Arena): Promise<void> {
  const { load, workers, store } = arena;
  const { executors, drivers, launches } = await load.counts();
  context.note(`${store}: ${workers} workers, ${executors} executors and ${drivers} drivers are connected`);
  const samples: Samples[] = [];
  let master = arena.first;
  for (let run = 1; run <= context.pick(3, 2, 1); run++) {
    const killedAt = Date.now();
    master.signal("SIGKILL");
    await master.exited;
    master = arena.start(run);
    samples.push(await oneRecovery(context, arena, master, run, killedAt));
  }
  const after = await load.counts();
  // Each probe is one launch; nothing else may be started or stopped.
  if (after.launches - launches !== samples.length)
    context.wrong(`${after.launches - launches} launches instead of ${samples.length}`);
  if (after.stops > 0) context.wrong(`${after.stops} processes were stopped`);
  showRows(context, `${store}: ${workers} workers, ${executors} executors`, workers === 10_000, samples);
}

interface Samples {
  /** From the epoch to ALIVE, by the master's log. */
  readonly aliveMs: number;
  /** What the master needed of a core in that time, in all its threads, and in the one of its event loop. */
  readonly masterMs: number;
  readonly masterLoopMs: number;
  /** The same of all load clients together. */
  readonly clientsMs: number;
  readonly fromKillMs: number;
  readonly scheduledMs: number;
}

async function oneRecovery(
  context: Context,
  { cluster, load, store }: Arena,
  master: ClusterProcess,
  run: number,
  killedAt: number,
): Promise<Samples> {
  const probe = probeWhileRecovering(context, cluster, load, `${store}-${run}`);
  await until(() => master.log().includes("Elected leader"), "a leader");
  const pid = master.servingPid() ?? 0;
  const [all, loop, clients] = [cpuMs(pid), loopCpuMs(pid), cpuMs(load.pid)];
  await until(() => master.log().includes("Recovery complete"), "the master to be ALIVE");
  const times = { masterMs: cpuMs(pid) - all, masterLoopMs: loopCpuMs(pid) - loop, clientsMs: cpuMs(load.pid) - clients };
  const lines = master.log().split("\n");
  const aliveAt = timeOf(lines, /Recovery complete/);
  if (/still missing/.test(master.log())) context.wrong("somebody was missing when the recovery was complete");
  return {
    ...times,
    aliveMs: aliveAt - timeOf(lines, /Elected leader/),
    fromKillMs: aliveAt - killedAt,
    scheduledMs: await probe,
  };
}

function showRows(context: Context, who: string, isAim: boolean, samples: readonly Samples[]): void {
  const row = (what: string, of: (sample: Samples) => number, beside?: string) =>
    context.row({ what, unit: "ms", samples: samples.map(of), ...(beside === undefined ? {} : { beside }) });
  context.row({
    what: `${who} re-attach: elected -> ALIVE`,
    unit: "ms",
    samples: samples.map(({ aliveMs }) => aliveMs),
    ...(isAim ? { aims: [{ of: "median", value: 1_000 }] } : {}),
    beside: "the master and all clients share the machine's cores; the rows below part them",
  });
  row(
    "  processor time of the master meanwhile",
    ({ masterMs }) => masterMs,
    "what the master alone needs of one core, all threads",
  );
  row("  of these in its event loop", ({ masterLoopMs }) => masterLoopMs);
  row(
    "  processor time of all workers and drivers together",
    ({ clientsMs }) => clientsMs,
    "on as many machines in a real cluster",
  );
  row("  kill -9 -> ALIVE, with the session's end and the start of the process", ({ fromKillMs }) => fromKillMs);
  row("  a program submitted meanwhile: submit -> launch order", ({ scheduledMs }) => scheduledMs);
}
