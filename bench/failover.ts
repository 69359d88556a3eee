/**
 * kill -9 of the leading master, and how long until the next one has made a new submission durable, asked by a client that was connected before.
 * Real processes, `file:` recovery. The parts come from the next leader's own log.
 */
import { createServer } from "node:net";
import { type ClusterClient, openClient } from "../src/cli/cluster-client.js";
import { type ClusterProcess, type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import type { Benchmark, Context } from "./benchmark.js";
import { submitProbe } from "./probe.js";

const START_TIMEOUT_MS = 30_000;
const MASTER_ARGS = ["--log-level", "debug", "--log-format", "json"] as const;
/** Between a standby's readiness and the kill: nothing of a start is in the measured time. */
const SETTLE_MS = 1100;

/** Milliseconds since the kill, by the log of the next leader (its clock has millisecond steps). */
const PARTS: readonly { readonly what: string; readonly says: RegExp }[] = [
  { what: "the standby is sure that the process is gone", says: /^Nobody listens at/ },
  { what: "it owns the store, all records read", says: /^the coordination store is open/ },
  { what: "it has the epoch (its first synced commit)", says: /^Elected/ },
];

export const failover: Benchmark = {
  name: "failover",
  summary: "kill -9 of the leading master until a new submission is durable on the next (file:, one worker)",
  run: async (context) => {
    const kills = context.pick(100, 30, 3);
    const cluster = await processCluster(context.program);
    try {
      await measure(context, cluster, kills);
    } finally {
      await cluster.close();
    }
  },
};

async function measure(context: Context, cluster: ProcessCluster, kills: number): Promise<void> {
  // As an operator has it: a killed master is started again at its own address.
  const addresses = [await freeAddress(), await freeAddress()] as const;
  const startMaster = (number: number): ClusterProcess =>
    cluster.startMaster(`master-${number}`, { args: MASTER_ARGS, listen: addresses[number % 2] ?? "127.0.0.1:0" });
  startMaster(0);
  cluster.startWorker("worker-1");
  const options = { master: cluster.masterUrl, timeout: `${START_TIMEOUT_MS}ms`, json: true };
  await using client = await openClient(options, context.signal);
  const total: number[] = [];
  const parts = PARTS.map((): number[] => []);
  const acknowledged: string[] = [];
  let standby = startMaster(1);
  for (let kill = 0; kill < kills; kill++) {
    await until(() => standby.log().includes("Standing by"), `master ${standby.name} to stand by`);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const { leader } = await client.call("cluster", {});
    if (leader === null) throw new Error("there is no leader to kill");
    const killedAt = Date.now();
    const startedAt = performance.now();
    process.kill(leader.pid, "SIGKILL");
    const submitted = await submitProbe(client, `probe-${kill}`);
    total.push(performance.now() - startedAt);
    acknowledged.push(submitted);
    await client.waitForEnd(submitted, () => {});
    for (const [index, part] of PARTS.entries()) {
      const at = timeOf(standby.log(), part.says);
      if (at !== null) parts[index]?.push(at - killedAt);
    }
    standby = startMaster(kill + 2);
  }
  await checkNothingIsLost(context, client, acknowledged);
  context.row({
    what: "kill -9 -> a new submit is durable on the next",
    unit: "ms",
    samples: total,
    aims: [
      { of: "median", value: 15 },
      { of: "p99", value: 50 },
    ],
    beside:
      "limit 8.8 ms (lock, LevelDB, first sync; reliability.md 2.1); Spark 7.4 / 8.2 / 10.3 s, Flink 40.1 / 41.1 / 41.5 s (performance.md 1)",
  });
  for (const [index, part] of PARTS.entries()) context.row({ what: `  ${part.what}`, unit: "ms", samples: parts[index] ?? [] });
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

async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited ${START_TIMEOUT_MS} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
