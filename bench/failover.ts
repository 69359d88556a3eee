/**
 * The leader is lost, in each of the ways in which that is noticed on one machine, and how long until the next one has made a new submission durable,
 * asked by a client that was connected before. A job runs meanwhile: how long its output stands still, and that nothing of it is replaced.
 * Real processes, `file:` recovery. The parts of a crash come from the next leader's own log.
 */
import { createServer } from "node:net";
import { type ClusterClient, openClient } from "../src/cli/client/cluster-client.js";
import type { ClusterView } from "../src/wire/views.js";
import { type ClusterProcess, type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import type { Benchmark, Context } from "./benchmark.js";
import type { Aim } from "./figures.js";
import { submitProbe } from "./probe.js";
import { type SteadyJob, startSteadyJob } from "./steady-job.js";

const START_TIMEOUT_MS = 30_000;
const MASTER_ARGS = ["--log-level", "debug", "--log-format", "json"] as const;
/** Between a standby's readiness and the fault: nothing of a start is in the measured time. */
const SETTLE_MS = 1100;
/** From the fault on, in which the job's output is looked at. */
const GAP_WINDOW_MS = 1_000;

/** Milliseconds since the kill, by the log of the next leader (its clock has millisecond steps). */
const PARTS: readonly { readonly what: string; readonly says: RegExp }[] = [
  { what: "the standby is sure that the process is gone", says: /^Nobody listens at/ },
  { what: "it owns the store, all records read", says: /^the coordination store is open/ },
  { what: "it has the epoch (its first synced commit)", says: /^Elected/ },
];

interface Tier {
  readonly what: string;
  readonly aims: readonly Aim[];
  readonly beside: string;
  readonly runs: (context: Context) => number;
  /** Whether the process of the leader is gone afterwards. */
  readonly ends: boolean;
  readonly hasParts?: boolean;
  strike(client: ClusterClient, view: ClusterView, leaderPid: number): Promise<void>;
}

const TIERS: readonly Tier[] = [
  {
    what: "crash: kill -9 of the leader -> a new submit is durable on the next",
    aims: [
      { of: "median", value: 15 },
      { of: "p99", value: 50 },
    ],
    beside:
      "limit 8.8 ms (lock, LevelDB, first sync; reliability.md 2.1); Spark 7.4 / 8.2 / 10.3 s, Flink 40.1 / 41.1 / 41.5 s (performance.md 1)",
    runs: (context) => context.runs ?? context.pick(100, 30, 3),
    ends: true,
    hasParts: true,
    strike: async (_client, _view, pid) => void process.kill(pid, "SIGKILL"),
  },
  {
    what: "hand-over: asked for -> a new submit is durable on the next",
    aims: [{ of: "median", value: 10 }],
    beside: "graceful close of a ZooKeeper session 2.5 ms (reliability.md 2.1); Spark and Mesos have none",
    runs: (context) => context.runs ?? context.pick(100, 30, 3),
    ends: false,
    strike: async (client, { epoch }) => void (await client.call("handover", { epoch, to: null })),
  },
  {
    what: "hung: event loop stands still (SIGSTOP) -> a new submit is durable on the next",
    aims: [{ of: "max", value: 800 }],
    beside: "500 ms of silence, looked at every 100 ms; else a session's expiry, or never",
    runs: (context) => Math.min(context.runs ?? context.pick(30, 10, 1), 100),
    ends: true,
    strike: async (_client, _view, pid) => void process.kill(pid, "SIGSTOP"),
  },
];

export const failover: Benchmark = {
  name: "failover",
  summary: "the leader crashes, hands over, hangs -> a new submission is durable on the next (file:, one worker, a running job)",
  run: async (context) => {
    for (const tier of TIERS) {
      const cluster = await processCluster(context.program);
      try {
        await measure(context, cluster, tier);
      } finally {
        await cluster.close();
      }
    }
  },
};

async function measure(context: Context, cluster: ProcessCluster, tier: Tier): Promise<void> {
  const masters = await twoMasters(cluster);
  cluster.startWorker("worker-1", { cores: 4 });
  const options = { master: cluster.masterUrl, timeout: `${START_TIMEOUT_MS}ms`, json: true };
  await using client = await openClient(options, context.signal);
  const job = await startSteadyJob(context, cluster, client);
  const total: number[] = [];
  const parts = PARTS.map((): number[] => []);
  const windows: (readonly [number, number])[] = [];
  const acknowledged: string[] = [];
  for (let run = 0; run < tier.runs(context); run++) {
    const view = await bothReady(client);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const pid = view.leader?.pid ?? 0;
    const { leader, standby } = masters.rolesWith(pid);
    const struckAt = performance.timeOrigin + performance.now();
    const startedAt = performance.now();
    await tier.strike(client, view, pid);
    const submitted = await submitProbe(client, `probe-${run}`);
    total.push(performance.now() - startedAt);
    windows.push([struckAt, struckAt + GAP_WINDOW_MS]);
    acknowledged.push(submitted);
    await client.waitForEnd(submitted, () => {});
    if (tier.hasParts === true)
      for (const [index, part] of PARTS.entries()) {
        const at = timeOf(standby.log(), part.says);
        if (at !== null) parts[index]?.push(at - struckAt);
      }
    // Its parent has waited longer after each end; a new one at the same address does not.
    if (tier.ends) await masters.replace(leader);
  }
  await checkNothingIsLost(context, client, acknowledged);
  context.row({ what: tier.what, unit: "ms", samples: total, aims: tier.aims, beside: tier.beside });
  if (tier.hasParts === true)
    for (const [index, part] of PARTS.entries()) context.row({ what: `  ${part.what}`, unit: "ms", samples: parts[index] ?? [] });
  await showJob(context, job, windows);
}

async function showJob(context: Context, job: SteadyJob, windows: readonly (readonly [number, number])[]): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, GAP_WINDOW_MS));
  const before = windows.map(([from]) => [from - GAP_WINDOW_MS, from] as const);
  context.row({
    what: "  longest gap in a running job's output, in the second from then on",
    unit: "ms",
    samples: job.gaps(windows),
    aims: [{ of: "median", value: 20 }],
    beside: "the row below: the same job in the second before, with nothing happening",
  });
  context.row({ what: "  the same in the second before", unit: "ms", samples: job.gaps(before) });
  const restarts = await job.restarts();
  if (restarts === 0) context.note(`no process of the job was replaced in ${windows.length} runs`);
  else context.wrong(`${restarts} processes of the running job were replaced`);
  await job.cancel();
}

/** As an operator has it: a master that was lost is there again at its own address. */
async function twoMasters(cluster: ProcessCluster) {
  const places = [await freeAddress(), await freeAddress()];
  let started = 0;
  const start = (listen: string) => ({
    listen,
    process: cluster.startMaster(`master-${started++}`, { args: MASTER_ARGS, listen }),
  });
  const present = places.map(start);
  return {
    rolesWith: (leaderPid: number) => {
      const leader = present.find(({ process }) => process.servingPid() === leaderPid)?.process;
      const standby = present.find(({ process }) => process !== leader)?.process;
      if (leader === undefined || standby === undefined) throw new Error("there is no leader, or no standby");
      return { leader, standby };
    },
    replace: async (lost: ClusterProcess) => {
      lost.signal("SIGKILL");
      await lost.exited;
      const at = present.findIndex(({ process }) => process === lost);
      const listen = present[at]?.listen;
      if (listen !== undefined) present[at] = start(listen);
    },
  };
}

async function bothReady(client: ClusterClient): Promise<ClusterView> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const view = await client.call("cluster", {});
    if (view.state === "ALIVE" && view.masters.length === 2 && view.workers.alive === 1) return view;
    if (performance.now() > deadline) throw new Error(`waited ${START_TIMEOUT_MS} ms in vain for a leader and a standby`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port could be had");
  return `127.0.0.1:${address.port}`;
}

async function checkNothingIsLost(context: Context, client: ClusterClient, acknowledged: readonly string[]): Promise<void> {
  const { applications } = await client.call("list", {});
  const known = new Map(applications.map((application) => [application.id, application.state]));
  for (const id of acknowledged) {
    if (known.get(id) !== "finished") context.wrong(`${id} was acknowledged and is ${known.get(id) ?? "unknown"} after all kills`);
  }
}

/** When the log said so last, in milliseconds since 1970. */
function timeOf(log: string, says: RegExp): number | null {
  let at: number | null = null;
  for (const line of log.split("\n")) {
    if (!line.startsWith("{")) continue;
    const { time, msg } = JSON.parse(line) as { readonly time: string; readonly msg: string };
    if (says.test(msg)) at = Date.parse(time);
  }
  return at;
}
