/** How long a new leader recovers: 1,000 real records in LevelDB, and a large cluster that re-registers with the core. */
import { openClient } from "../src/cli/client/cluster-client.js";
import { type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import type { Benchmark, Context } from "./benchmark.js";
import { submitProbe } from "./probe.js";
import { reRegister } from "./re-registration.js";

const IN_FLIGHT = 64;

export const recovery: Benchmark = {
  name: "recovery",
  summary: "kill -9 of the only master, start again -> ALIVE; 10,000 workers and 100,000 executors re-register in the core",
  run: async (context) => {
    await fromRecords(context, context.pick(1_000, 1_000, 200), context.pick(15, 5, 1));
    largeCluster(context);
  },
};

async function fromRecords(context: Context, records: number, runs: number): Promise<void> {
  const cluster = await processCluster(context.program);
  try {
    let master = cluster.startMaster("master-0");
    await using client = await openClient({ master: cluster.masterUrl, timeout: "30s", json: true }, context.signal);
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < records) await submitProbe(client, `record-${next++}`);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    const samples: number[] = [];
    const own: number[] = [];
    for (let run = 1; run <= runs; run++) {
      process.kill(master.pid, "SIGKILL");
      await master.exited;
      const startedAt = performance.now();
      master = start(cluster, run);
      const { epoch, state, applications } = await aliveAgain(context, cluster);
      samples.push(performance.now() - startedAt);
      const log = master.log();
      own.push(millisecondsBetween(log, /"the coordination store is open"/, /"Recovery complete/));
      if (state !== "ALIVE" || applications.waiting !== records)
        context.wrong(`after epoch ${epoch} ${applications.waiting} of ${records} applications are there`);
    }
    context.row({
      what: `${records} records: spawn of the master -> ALIVE, as a client sees it`,
      unit: "ms",
      samples,
      aims: [{ of: "median", value: 500 }],
      beside: "process start + 30 ms; Spark FILESYSTEM 4.0 / 4.5 / 5.7 s (performance.md 1)",
    });
    context.row({
      what: "  of these from the open store to ALIVE",
      unit: "ms",
      samples: own,
      beside: "reading 5,000 of 1 kB: classic-level 30 ms (reliability.md 2.5); Spark with 4,000: 0.6-2.1 s",
    });
  } finally {
    await cluster.close();
  }
}

const start = (cluster: ProcessCluster, run: number) =>
  cluster.startMaster(`master-${run}`, { args: ["--log-format", "json", "--log-level", "debug"] });

async function aliveAgain(context: Context, cluster: ProcessCluster) {
  await using client = await openClient({ master: cluster.masterUrl, timeout: "30s", json: true }, context.signal);
  for (;;) {
    const view = await client.call("cluster", {});
    if (view.state === "ALIVE") return view;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** By the time stamps of the first lines that say so. */
function millisecondsBetween(log: string, first: RegExp, last: RegExp): number {
  const at = (says: RegExp): number => {
    const line = log.split("\n").find((text) => says.test(text));
    return line === undefined ? Number.NaN : Date.parse((JSON.parse(line) as { readonly time: string }).time);
  };
  return at(last) - at(first);
}

function largeCluster(context: Context): void {
  const workers = context.pick(10_000, 10_000, 500);
  const executorsEach = 10;
  const samples: number[] = [];
  const memory: number[] = [];
  for (let run = 0; run < context.pick(3, 2, 1); run++) {
    const { milliseconds, heapBytes, lost } = reRegister(workers, executorsEach);
    samples.push(milliseconds);
    memory.push(heapBytes / 1e6);
    if (lost !== null) context.wrong(lost);
  }
  context.row({
    what: `core: ${workers} workers, ${workers * executorsEach} executors re-register -> ALIVE`,
    unit: "ms",
    samples,
    aims: [{ of: "median", value: 1_000 }],
  });
  context.row({ what: "  heap that the core holds then", unit: "MB", samples: memory });
}
