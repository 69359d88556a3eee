/** A job that runs through a benchmark: how long its output stood still in given windows, and whether any of its processes was replaced. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { ClusterClient } from "../src/cli/client/cluster-client.js";
import type { ProcessCluster } from "../test/support/process-cluster.js";
import type { Context } from "./benchmark.js";
import { runCommand } from "./run-command.js";

const RATE = 2_000;
const PARALLELISM = 2;
const STARTS_WITHIN_MS = 30_000;

export interface SteadyJob {
  /** The longest time without a record at any executor's last operator, in each window of calendar time. */
  gaps(windows: readonly (readonly [number, number])[]): readonly number[];
  /** Processes that are others than at the beginning, and runs of the job from its input. */
  restarts(): Promise<number>;
  cancel(): Promise<void>;
}

/** `masterUrl`: as its driver is to look for masters. */
export async function startSteadyJob(
  context: Context,
  cluster: ProcessCluster,
  client: ClusterClient,
  masterUrl = cluster.masterUrl,
): Promise<SteadyJob> {
  const clock = cluster.file("steady-clock");
  const words = [
    ...["submit", path.join(context.root, "bench/jobs/steady.job.ts"), "--json", "--master", masterUrl],
    ...["--param", `rate=${RATE}`, "--param", `clock=${clock}`, "--param", `output=${cluster.file("steady-output")}`],
    ...["--parallelism", String(PARALLELISM), "--executor-memory", "256m"],
  ];
  const submitted = await runCommand([context.program, ...words], { cwd: context.root, signal: context.signal });
  const { id } = JSON.parse(submitted.stdout) as { readonly id: string };
  const processes = async (): Promise<readonly number[]> => {
    const { application } = await client.call("status", { application: id, after: null, waitMs: 0 });
    const running = application.executors.flatMap(({ state, pid }) => (state === "running" && pid !== null ? [pid] : []));
    return [...(application.driver?.pid == null ? [] : [application.driver.pid]), ...running];
  };
  const deadline = performance.now() + STARTS_WITHIN_MS;
  while ((await processes()).length < 1 + PARALLELISM || filesOf(clock).length < PARALLELISM) {
    if (performance.now() > deadline) throw new Error(`the steady job did not start within ${STARTS_WITHIN_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const before = await processes();
  return {
    gaps: (windows) => {
      const all = filesOf(clock).map((file) => readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number));
      return windows.map(([from, to]) => Math.max(...all.map((times) => longestGap(times, from, to))));
    },
    restarts: async () => {
      const now = await processes();
      return before.filter((pid) => !now.includes(pid)).length;
    },
    cancel: async () => {
      await client.call("cancel", { application: id });
      await client.waitForEnd(id, () => {});
    },
  };
}

function filesOf(clock: string): readonly string[] {
  return readdirSync(path.dirname(clock))
    .filter((name) => name.startsWith(`${path.basename(clock)}.`))
    .map((name) => path.join(path.dirname(clock), name));
}

/** Between two records of which at least one lies in the window. */
function longestGap(times: readonly number[], from: number, to: number): number {
  let longest = 0;
  for (let at = 1; at < times.length; at++) {
    const [earlier = 0, later = 0] = [times[at - 1], times[at]];
    if (later >= from && earlier <= to) longest = Math.max(longest, later - earlier);
  }
  return longest;
}
