/** What a large cluster of words needs before its master is killed, and what is watched afterwards: shared by the cold and the warm rows of re-attach. */
import { openClient } from "../src/cli/client/cluster-client.js";
import { DEFAULT_RESTART_POLICY } from "../src/wire/application.js";
import type { ClusterProcess, ProcessCluster } from "../test/support/process-cluster.js";
import type { Context } from "./benchmark.js";
import type { LoadProcess } from "./load-process.js";
import { submitProbe } from "./probe.js";

export const EXECUTORS_A_JOB = 100;
export const EXECUTORS_A_WORKER = 10;
const MEBIBYTE = 1024 ** 2;
const START_MS = 300_000;
const LOOK_EVERY_MS = 2;
/** All clients share two cores with the master; on a busy machine they may be late by more than workers of their own machines ever are. */
export const PATIENT = [
  "--worker-deadline",
  "60s",
  "--driver-deadline",
  "60s",
  "--recovery-deadline",
  "120s",
  "--hung-after",
  "10s",
];

export const jobsOf = (workers: number): number => Math.max(1, Math.floor((workers * EXECUTORS_A_WORKER) / EXECUTORS_A_JOB));

/** Rejects when it ends: nobody is to wait for a master that is not there. */
export async function endOf(master: ClusterProcess): Promise<never> {
  const code = await master.exited;
  throw new Error(`${master.name} ended with ${code}: ${master.log().slice(-2_000)}`);
}

export async function fill(context: Context, cluster: ProcessCluster, load: LoadProcess, jobs: number): Promise<void> {
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
  const end = performance.now() + START_MS;
  while ((await load.counts()).executors < jobs * EXECUTORS_A_JOB) {
    if (performance.now() > end) throw new Error("waited too long for all executors to run");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Milliseconds from the submission, which is sent as soon as the next master is found, to the order at a worker. */
export async function probeWhileRecovering(
  context: Context,
  cluster: ProcessCluster,
  load: LoadProcess,
  name: string,
): Promise<number> {
  await using client = await openClient({ master: cluster.masterUrl, timeout: "120s", json: true }, context.signal);
  const startedAt = performance.timeOrigin + performance.now();
  const id = await submitProbe(client, `probe-${name}`);
  await until(() => load.programs.has(id), "the probe to be launched");
  return (load.programs.get(id) ?? 0) - startedAt;
}

export function timeOf(lines: readonly string[], says: RegExp): number {
  const line = lines.find((text) => says.test(text));
  return line === undefined ? Number.NaN : Date.parse((JSON.parse(line) as { readonly time: string }).time);
}

export async function until(isSo: () => boolean, what: string): Promise<void> {
  const end = performance.now() + START_MS;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`waited too long for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
