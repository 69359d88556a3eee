/**
 * A large cluster goes over to its standby after kill -9 of the leader: the standby mirrors the records, and every worker and driver holds a link to it
 * already. Beside that: what those links cost while nothing happens.
 */
import { readFileSync } from "node:fs";
import { type ClusterProcess, type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import { startZooKeeper, zooKeeperMissing } from "../test/support/zookeeper.js";
import type { Context } from "./benchmark.js";
import { cpuMs, loopCpuMs } from "./cpu-time.js";
import { freeAddress } from "./free-address.js";
import { type LoadProcess, startLoadProcess } from "./load-process.js";
import { EXECUTORS_A_WORKER, endOf, fill, jobsOf, PATIENT, probeWhileRecovering, timeOf, until } from "./re-attach-cluster.js";
import { type StandingFloor, standingFloor } from "./standing-floor.js";

/** So that no session ends while a loop is busy: the leader's death is seen by the end of its connection. */
const SESSION_MS = 10_000;
const SERVER_JAVA = ["-Xmx1g"];
/** In which nothing happens but heartbeats. */
const IDLE_MS = 10_000;
const KIBIBYTE = 1024;
const OTHER_FILES = 100;

export async function onStandby(context: Context, workers: number): Promise<void> {
  await showFloor(context, workers);
  const files = maxOpenFiles();
  // All clients are one process: a link to the leader and one to the standby each.
  const needed = 2 * (workers + jobsOf(workers)) + OTHER_FILES;
  if (files < needed) {
    context.note(
      `the take-over of ${workers} workers left out: it needs ${needed} open files in one process, and ulimit -n is ${files}`,
    );
    return;
  }
  const missing = zooKeeperMissing();
  if (missing !== null) {
    context.note(`on ZooKeeper left out: ${missing}`);
    return;
  }
  const servers = await startZooKeeper({ java: SERVER_JAVA });
  try {
    await inCluster(context, workers, `zk://${servers.connectString}/standby`);
  } finally {
    await servers.close();
  }
}

function maxOpenFiles(): number {
  return Number(/Max open files\s+([0-9]+)/.exec(readFileSync("/proc/self/limits", "utf8"))?.[1]);
}

async function showFloor(context: Context, workers: number): Promise<void> {
  const floors: StandingFloor[] = [];
  for (let run = 0; run < context.pick(3, 2, 1); run++) floors.push(await standingFloor(workers));
  const row = (what: string, of: (floor: StandingFloor) => number) => context.row({ what, unit: "ms", samples: floors.map(of) });
  row(
    `the limit: a bare server says a word on ${workers} standing connections, and takes and answers one message of each`,
    ({ wallMs }) => wallMs,
  );
  row("  processor time of that server", ({ serverMs }) => serverMs);
}

async function inCluster(context: Context, workers: number, recovery: string): Promise<void> {
  const cluster = await processCluster(context.program);
  const addresses = [await freeAddress(), await freeAddress()] as const;
  const args = [
    "--log-format",
    "json",
    ...PATIENT,
    "--storage",
    `file:${cluster.file("bundles")}`,
    "--session-timeout",
    `${SESSION_MS}ms`,
  ];
  let count = 0;
  const start = (address: string): ClusterProcess => cluster.startMaster(`master-${count++}`, { recovery, listen: address, args });
  const first = start(addresses[0]);
  const load = startLoadProcess({ addresses, standing: true, workers, slots: EXECUTORS_A_WORKER + 1 });
  try {
    await Promise.race([load.connected, endOf(first)]);
    await fill(context, cluster, load, jobsOf(workers));
    await measure(context, { cluster, load, workers, addresses, start }, first);
  } finally {
    await load.close();
    await cluster.close();
  }
}

interface Arena {
  readonly cluster: ProcessCluster;
  readonly load: LoadProcess;
  readonly workers: number;
  readonly addresses: readonly [string, string];
  start(address: string): ClusterProcess;
}

interface Standing {
  /** Of the standby's process, for all links that stand at it. */
  readonly bytes: number;
  /** Processor time of the standby in a second, in which links only beat. */
  readonly idleMsASecond: number;
}

interface TakeOver {
  readonly fromKillMs: number;
  readonly aliveMs: number;
  readonly masterMs: number;
  readonly masterLoopMs: number;
  readonly clientsMs: number;
  readonly scheduledMs: number;
}

async function measure(context: Context, arena: Arena, first: ClusterProcess): Promise<void> {
  const { load, workers, addresses, start } = arena;
  const { executors, drivers, launches } = await load.counts();
  const standing: Standing[] = [];
  const samples: TakeOver[] = [];
  let leader = first;
  for (let run = 1; run <= context.pick(3, 2, 1); run++) {
    const standby = start(addresses[run % 2] as string);
    standing.push(await standsBy(context, arena, standby, workers + drivers));
    samples.push(await oneTakeOver(context, arena, leader, standby, run));
    leader = standby;
  }
  const after = await load.counts();
  // Each probe is one launch; nothing else may be started or stopped.
  if (after.launches - launches !== samples.length)
    context.wrong(`${after.launches - launches} launches instead of ${samples.length}`);
  if (after.stops > 0) context.wrong(`${after.stops} processes were stopped`);
  if (after.links !== workers + drivers) context.wrong(`${after.links} links to the leader instead of ${workers + drivers}`);
  showRows(context, `${workers} workers, ${executors} executors`, workers === 10_000, samples, standing);
}

/** Until every worker and driver holds a link to it. */
async function standsBy(context: Context, { load }: Arena, standby: ClusterProcess, links: number): Promise<Standing> {
  await until(() => standby.log().includes("Standing by"), "a standby");
  const pid = standby.servingPid() ?? 0;
  const before = residentBytes(pid);
  for (let counts = await load.counts(); counts.standing < links; counts = await load.counts()) {
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 100)), endOf(standby)]);
  }
  if (standby.servingPid() !== pid) throw new Error(`the standby was started again meanwhile: ${standby.log().slice(-2_000)}`);
  const idleMs = context.pick(IDLE_MS, IDLE_MS, 100);
  const [bytes, busy] = [residentBytes(pid) - before, cpuMs(pid)];
  await new Promise((resolve) => setTimeout(resolve, idleMs));
  return { bytes, idleMsASecond: ((cpuMs(pid) - busy) * 1_000) / idleMs };
}

function residentBytes(pid: number): number {
  const line = /VmRSS:\s+([0-9]+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1]) * KIBIBYTE;
}

async function oneTakeOver(
  context: Context,
  { cluster, load }: Arena,
  leader: ClusterProcess,
  standby: ClusterProcess,
  run: number,
): Promise<TakeOver> {
  const pid = standby.servingPid() ?? 0;
  const [all, loop, clients] = [cpuMs(pid), loopCpuMs(pid), cpuMs(load.pid)];
  const killedAt = Date.now();
  leader.signal("SIGKILL");
  const probe = probeWhileRecovering(context, cluster, load, `standby-${run}`);
  await until(() => standby.log().includes("Recovery complete"), "the standby to be ALIVE");
  const times = { masterMs: cpuMs(pid) - all, masterLoopMs: loopCpuMs(pid) - loop, clientsMs: cpuMs(load.pid) - clients };
  const lines = standby.log().split("\n");
  const aliveAt = timeOf(lines, /Recovery complete/);
  if (/still missing/.test(standby.log())) context.wrong("somebody was missing when the recovery was complete");
  await leader.exited;
  return { ...times, aliveMs: aliveAt - timeOf(lines, /Elected leader/), fromKillMs: aliveAt - killedAt, scheduledMs: await probe };
}

function showRows(
  context: Context,
  who: string,
  isAim: boolean,
  samples: readonly TakeOver[],
  standing: readonly Standing[],
): void {
  const row = (what: string, of: (sample: TakeOver) => number, beside?: string) =>
    context.row({ what, unit: "ms", samples: samples.map(of), ...(beside === undefined ? {} : { beside }) });
  context.row({
    what: `the standby takes over ${who}: kill -9 -> ALIVE`,
    unit: "ms",
    samples: samples.map(({ fromKillMs }) => fromKillMs),
    ...(isAim ? { aims: [{ of: "median", value: 1_000 }] } : {}),
    beside: "the master and all clients share the machine's cores; the rows below part them",
  });
  row("  elected -> ALIVE", ({ aliveMs }) => aliveMs);
  row("  processor time of the master meanwhile", ({ masterMs }) => masterMs, "of one core, all threads");
  row("  of these in its event loop", ({ masterLoopMs }) => masterLoopMs);
  row(
    "  processor time of all workers and drivers together",
    ({ clientsMs }) => clientsMs,
    "on as many machines in a real cluster",
  );
  row("  a program submitted meanwhile: submit -> launch order", ({ scheduledMs }) => scheduledMs);
  context.row({
    what: "  links that stand: memory of the standby for all of them",
    unit: "MB",
    samples: standing.map(({ bytes }) => bytes / 1e6),
  });
  context.row({
    what: "  when nothing happens: processor time of the standby a second",
    unit: "ms",
    samples: standing.map(({ idleMsASecond }) => idleMsASecond),
  });
}
