/** Durable submissions a second: clients that keep several in flight each, one leading master, group commit; on LevelDB (`file:`) and on ZooKeeper. */
import { type ClusterClient, openClient } from "../src/cli/client/cluster-client.js";
import { processCluster } from "../test/support/process-cluster.js";
import { startZooKeeper, zooKeeperMissing } from "../test/support/zookeeper.js";
import type { Benchmark, Context } from "./benchmark.js";
import { cpuMs } from "./cpu-time.js";
import { submitProbe } from "./probe.js";

const CLIENTS = 4;
const IN_FLIGHT = 64;

export const submissions: Benchmark = {
  name: "submissions",
  summary: `durable submissions a second, ${CLIENTS} clients with ${IN_FLIGHT} in flight each (one master, no worker; file: and ZooKeeper)`,
  run: async (context) => {
    await onStore(context, "file:", null);
    const missing = zooKeeperMissing();
    if (missing !== null) {
      context.note(`on ZooKeeper left out: ${missing}`);
      return;
    }
    const server = await startZooKeeper({ java: ["-Xmx1g"] });
    try {
      await onStore(context, "ZooKeeper", `zk://${server.connectString}/submissions`);
    } finally {
      await server.close();
    }
  },
};

interface Samples {
  readonly rates: number[];
  readonly latencies: number[];
  readonly processorMicros: number[];
}

async function onStore(context: Context, name: string, recovery: string | null): Promise<void> {
  const samples: Samples = { rates: [], latencies: [], processorMicros: [] };
  for (let run = 0; run < context.pick(5, 3, 1); run++)
    await once(context, recovery === null ? null : `${recovery}/${run}`, samples);
  context.row({
    what: `${name}: submissions acknowledged`,
    unit: "1/s",
    samples: samples.rates,
    aims: [{ of: "median", value: 10_000 }],
    beside:
      "one by one ZooKeeper 840-930, Spark FILESYSTEM 1,300-3,900, RocksDB 12,000-17,000 (not synced); fenced on ZooKeeper with 256 in flight 16,000 (performance.md 1)",
  });
  context.row({
    what: `  from the call to the answer, ${CLIENTS * IN_FLIGHT} in flight`,
    unit: "ms",
    samples: samples.latencies,
    aims: [{ of: "p99", value: 50 }],
    beside: "ZooKeeper with 256 in flight: p99 33-55 ms (reliability.md 2.5)",
  });
  context.row({ what: "  processor time of the master for each", unit: "µs", samples: samples.processorMicros });
}

async function once(context: Context, recovery: string | null, { rates, latencies, processorMicros }: Samples): Promise<void> {
  const count = context.pick(20_000, 8_000, 1_000);
  const cluster = await processCluster(context.program);
  const clients: ClusterClient[] = [];
  try {
    const storage = ["--storage", `file:${cluster.file("bundles")}`];
    const master = cluster.startMaster("master-1", recovery === null ? {} : { recovery, args: storage });
    for (let client = 0; client < CLIENTS; client++)
      clients.push(await openClient({ master: cluster.masterUrl, timeout: "30s", json: true }, context.signal));
    let next = 0;
    const lane = async (client: ClusterClient): Promise<void> => {
      while (next < count) {
        const key = `s-${next++}`;
        const startedAt = performance.now();
        await submitProbe(client, key);
        latencies.push(performance.now() - startedAt);
      }
    };
    const startedAt = performance.now();
    const pid = master.servingPid() ?? master.pid;
    const cpuBefore = cpuMs(pid);
    await Promise.all(clients.flatMap((client) => Array.from({ length: IN_FLIGHT }, () => lane(client))));
    processorMicros.push(((cpuMs(pid) - cpuBefore) * 1_000) / count);
    rates.push(count / ((performance.now() - startedAt) / 1000));
    const [client] = clients;
    const waiting = (await client?.call("cluster", {}))?.applications.waiting;
    if (waiting !== count) context.wrong(`${count} submissions were acknowledged, the master has ${waiting ?? "none"}`);
  } finally {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await cluster.close();
  }
}
