/**
 * The leader is lost, in each of the ways in which that is noticed, and how long until the next one has made a new submission durable, asked by a
 * client that was connected before. A job runs meanwhile: how long its output stands still, and that nothing of it is replaced.
 * Real processes with their parents; `file:` recovery, or an ensemble of three ZooKeeper servers. The parts of a crash come from the next leader's log.
 */
import { type ClusterClient, openClient } from "../src/cli/client/cluster-client.js";
import { type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import { startZooKeeper, zooKeeperMissing } from "../test/support/zookeeper.js";
import type { Benchmark, Context } from "./benchmark.js";
import { bothReady, type MasterPair, twoMasters } from "./failover-masters.js";
import {
  FILE_TIERS,
  ON_FILE_PARTS,
  ON_ZOOKEEPER_PARTS,
  type Part,
  SERVER_TICK_MS,
  type Tier,
  ZOOKEEPER_TIERS,
} from "./failover-tiers.js";
import { submitProbe } from "./probe.js";
import { startCaller } from "./steady-caller.js";
import { type SteadyJob, startSteadyJob } from "./steady-job.js";

const START_TIMEOUT_MS = 30_000;
/** Between a standby's readiness and the fault: nothing of a start is in the measured time. */
const SETTLE_MS = 1100;
/** From the fault on, in which the job's output is looked at. */
const GAP_WINDOW_MS = 1_000;
const SAY_EVERY = 25;

/** Where the masters keep their records, and how everybody finds them. */
interface Place {
  readonly parts: readonly Part[];
  readonly recovery?: string;
  /** Default: the file in which the masters advertise. */
  readonly masterUrl?: string;
}

export const failover: Benchmark = {
  name: "failover",
  summary: "the leader crashes, hands over, hangs -> a new submission is durable on the next (file:, one worker, a running job)",
  run: (context) => inTurn(context, FILE_TIERS, { parts: ON_FILE_PARTS }),
};

export const failoverZooKeeper: Benchmark = {
  name: "failover-zookeeper",
  summary: "the same, and a lost machine, with an ensemble of three ZooKeeper servers",
  run: async (context) => {
    const missing = zooKeeperMissing();
    if (missing !== null) {
      context.note(`left out: ${missing}`);
      return;
    }
    const ensemble = await startZooKeeper({ servers: 3, tickTimeMs: SERVER_TICK_MS });
    try {
      const url = `zk://${ensemble.connectString}/failover`;
      await inTurn(context, ZOOKEEPER_TIERS, { parts: ON_ZOOKEEPER_PARTS, recovery: url, masterUrl: url });
    } finally {
      await ensemble.close();
    }
  },
};

async function inTurn(context: Context, tiers: readonly Tier[], place: Place): Promise<void> {
  for (const [index, tier] of tiers.entries()) {
    const cluster = await processCluster(context.program);
    // Each tier has a cluster of its own, with records of its own.
    const path =
      place.recovery === undefined ? {} : { recovery: `${place.recovery}/${index}`, masterUrl: `${place.recovery}/${index}` };
    try {
      await measure(context, cluster, tier, { ...place, ...path });
    } finally {
      await cluster.close();
    }
  }
}

async function measure(context: Context, cluster: ProcessCluster, tier: Tier, place: Place): Promise<void> {
  const masterUrl = place.masterUrl ?? cluster.masterUrl;
  const masters = await twoMasters(cluster, place.recovery, tier.masterArgs ?? []);
  cluster.startWorker("worker-1", { cores: 4, master: masterUrl });
  const options = { master: masterUrl, timeout: `${START_TIMEOUT_MS}ms`, json: true };
  await using client = await openClient(options, context.signal);
  const job = await startSteadyJob(context, cluster, client, masterUrl);
  const found = await strikeOften(context, tier, { client, masters, parts: place.parts });
  await checkNothingIsLost(context, client, found.acknowledged);
  context.row({ what: tier.what, unit: "ms", samples: found.total, aims: tier.aims, beside: tier.beside });
  if (tier.hasParts === true)
    for (const [index, part] of place.parts.entries())
      context.row({ what: `  ${part.what}`, unit: "ms", samples: found.parts[index] ?? [] });
  if (tier.hasCaller === true)
    context.row({ what: "  the slowest of a client's calls meanwhile, one after the other", unit: "ms", samples: found.slowest });
  await showJob(context, job, found.windows);
}

interface Found {
  readonly total: number[];
  readonly parts: number[][];
  /** Of the job's output, in calendar time. */
  readonly windows: (readonly [number, number])[];
  readonly acknowledged: string[];
  readonly slowest: number[];
}

async function strikeOften(
  context: Context,
  tier: Tier,
  { client, masters, parts }: { readonly client: ClusterClient; readonly masters: MasterPair; readonly parts: readonly Part[] },
): Promise<Found> {
  const found: Found = { total: [], parts: parts.map(() => []), windows: [], acknowledged: [], slowest: [] };
  const runs = tier.runs(context);
  for (let run = 0; run < runs; run++) {
    context.signal.throwIfAborted();
    if (run > 0 && run % SAY_EVERY === 0) context.note(`${tier.name}: ${run} of ${runs}`);
    const view = await bothReady(client, START_TIMEOUT_MS);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const leaderPid = view.leader?.pid ?? 0;
    const { leader, standby } = masters.rolesWith(leaderPid);
    const caller = tier.hasCaller === true ? startCaller(client) : null;
    const struckAt = performance.timeOrigin + performance.now();
    const startedAt = performance.now();
    await tier.strike({ client, view, leaderPid, leader });
    const submitted = await submitProbe(client, `probe-${run}`);
    found.total.push(performance.now() - startedAt);
    found.windows.push([struckAt, struckAt + GAP_WINDOW_MS]);
    found.acknowledged.push(submitted);
    if (caller !== null) {
      const { failed, slowestMs } = await caller.stop();
      found.slowest.push(slowestMs);
      for (const reason of failed) context.wrong(`a client's call failed during ${tier.name}: ${reason}`);
    }
    await client.waitForEnd(submitted, () => {});
    if (tier.hasParts === true)
      for (const [index, part] of parts.entries()) {
        const at = lastTimeOf(standby.log(), part.says);
        if (at !== null && at >= struckAt - 1) found.parts[index]?.push(at - struckAt);
      }
    // Its parent has waited longer after each end; a new one at the same address does not.
    if (tier.ends) await masters.replace(leader, leaderPid);
  }
  return found;
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
  context.row({
    what: "  processes of the running job replaced",
    unit: "processes",
    samples: [restarts],
    aims: [{ of: "max", value: 0 }],
  });
  if (restarts !== 0) context.wrong(`${restarts} processes of the running job were replaced`);
  await job.cancel();
}

async function checkNothingIsLost(context: Context, client: ClusterClient, acknowledged: readonly string[]): Promise<void> {
  const { applications } = await client.call("list", {});
  const known = new Map(applications.map((application) => [application.id, application.state]));
  for (const id of acknowledged) {
    if (known.get(id) !== "finished") context.wrong(`${id} was acknowledged and is ${known.get(id) ?? "unknown"} after all faults`);
  }
}

/** When the log said so last, in milliseconds since 1970. */
function lastTimeOf(log: string, says: RegExp): number | null {
  let at: number | null = null;
  for (const line of log.split("\n")) {
    if (!line.startsWith("{") || !line.endsWith("}")) continue;
    const { time, msg } = JSON.parse(line) as { readonly time: string; readonly msg: string };
    if (says.test(msg)) at = Date.parse(time);
  }
  return at;
}
