/**
 * A large cluster comes back after kill -9 of its master: real connections, a real master process with `file:` recovery, cold (no standby). Workers
 * and drivers are words only (load-cluster.ts); they share the machine's cores with the master.
 */
import { createServer } from "node:net";
import { openClient } from "../src/cli/client/cluster-client.js";
import { createNodeEnv } from "../src/node/env.js";
import { DEFAULT_RESTART_POLICY } from "../src/wire/application.js";
import { type ClusterProcess, type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import type { Benchmark, Context } from "./benchmark.js";
import { LoadCluster } from "./load-cluster.js";
import { submitProbe } from "./probe.js";

const EXECUTORS_A_JOB = 100;
const EXECUTORS_A_WORKER = 10;
const MEBIBYTE = 1024 ** 2;
const START_MS = 300_000;
const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export const reAttach: Benchmark = {
  name: "re-attach",
  summary: "a large cluster re-attaches over TCP after kill -9 of its master (file:, cold)",
  run: async (context) => {
    for (const workers of sizes(context)) {
      const cluster = await processCluster(context.program);
      try {
        await measure(context, cluster, workers);
      } finally {
        await cluster.close();
      }
    }
  },
};

/** Several, so that a cost that grows faster than the cluster shows. */
const sizes = (context: Context): readonly number[] =>
  context.size === "ci" ? [50] : context.size === "quick" ? [1_000, 2_000] : [1_250, 2_500, 5_000, 10_000];

async function measure(context: Context, cluster: ProcessCluster, workers: number): Promise<void> {
  const listen = await freeAddress();
  const start = (run: number): ClusterProcess => cluster.startMaster(`master-${run}`, { listen, args: ["--log-format", "json"] });
  let master = start(0);
  const control = new AbortController();
  const signal = AbortSignal.any([control.signal, context.signal]);
  const slots = EXECUTORS_A_WORKER + 1;
  const load = new LoadCluster({ env: createNodeEnv({ log: SILENT }), address: listen, workers, slots, signal });
  try {
    await load.start();
    const jobs = Math.max(1, Math.floor((workers * EXECUTORS_A_WORKER) / EXECUTORS_A_JOB));
    await fill(context, cluster, load, jobs);
    context.note(`${workers} workers, ${load.executors} executors and ${load.drivers.size} drivers are connected`);
    const launched = load.launches;
    const samples: number[] = [];
    const fromKill: number[] = [];
    const scheduled: number[] = [];
    for (let run = 1; run <= context.pick(3, 2, 1); run++) {
      const killedAt = Date.now();
      master.signal("SIGKILL");
      await master.exited;
      master = start(run);
      const probe = probeWhileRecovering(context, cluster, load, run);
      await until(() => master.log().includes("Recovery complete"), "the master to be ALIVE");
      const lines = master.log().split("\n");
      samples.push(timeOf(lines, /Recovery complete/) - timeOf(lines, /Elected leader/));
      fromKill.push(timeOf(lines, /Recovery complete/) - killedAt);
      scheduled.push(await probe);
      if (/still missing/.test(master.log())) context.wrong("somebody was missing when the recovery was complete");
    }
    // Each probe is one launch; nothing else may be started or stopped.
    if (load.launches - launched !== samples.length)
      context.wrong(`${load.launches - launched} launches instead of ${samples.length}`);
    if (load.stops > 0) context.wrong(`${load.stops} processes were stopped`);
    const what = `${workers} workers, ${load.executors} executors re-attach: elected -> ALIVE`;
    context.row({ what, unit: "ms", samples, ...(workers === 10_000 ? { aims: [{ of: "median", value: 1_000 }] } : {}) });
    context.row({ what: "  kill -9 -> ALIVE, with the start of the process", unit: "ms", samples: fromKill });
    context.row({ what: "  a program submitted meanwhile: submit -> launch order", unit: "ms", samples: scheduled });
  } finally {
    control.abort();
    await load.close();
  }
}

async function fill(context: Context, cluster: ProcessCluster, load: LoadCluster, jobs: number): Promise<void> {
  await using client = await openClient({ master: cluster.masterUrl, timeout: "60s", json: true }, context.signal);
  const artifact = await client.uploadArtifact(new TextEncoder().encode("a bundle that nobody runs"));
  const executor = { cores: 1, memoryBytes: MEBIBYTE };
  for (let number = 0; number < jobs; number++) {
    await client.call("submit", {
      key: `job-${number}`,
      spec: {
        name: "load",
        kind: "job",
        deployMode: "cluster",
        supervise: true,
        restart: DEFAULT_RESTART_POLICY,
        driver: { cores: 0, memoryBytes: MEBIBYTE },
        job: { artifact, graphHash: "b".repeat(64), params: {}, parallelism: EXECUTORS_A_JOB, executor },
        process: null,
      },
    });
  }
  await until(() => load.executors === jobs * EXECUTORS_A_JOB, "all executors to run");
}

/** Milliseconds from the submission, which is sent as soon as the next master is found, to the order at a worker. */
async function probeWhileRecovering(context: Context, cluster: ProcessCluster, load: LoadCluster, run: number): Promise<number> {
  await using client = await openClient({ master: cluster.masterUrl, timeout: "120s", json: true }, context.signal);
  const startedAt = performance.now();
  const id = await submitProbe(client, `probe-${run}`);
  await until(() => load.programs.has(id), "the probe to be launched");
  return (load.programs.get(id) ?? 0) - startedAt;
}

function timeOf(lines: readonly string[], says: RegExp): number {
  const line = lines.find((text) => says.test(text));
  return line === undefined ? Number.NaN : Date.parse((JSON.parse(line) as { readonly time: string }).time);
}

async function until(isSo: () => boolean, what: string): Promise<void> {
  const end = performance.now() + START_MS;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`waited too long for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return `127.0.0.1:${address.port}`;
}
