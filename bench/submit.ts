/**
 * From a submission to the first record in an executor: as a command, from an open client with and without a pre-started executor, and `run`.
 * The executor itself writes down when its first record came.
 */
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { type ClusterClient, openClient } from "../src/cli/client/cluster-client.js";
import { type PreparedJob, prepareJob } from "../src/cli/client/job-submission.js";
import { DEFAULT_RESTART_POLICY } from "../src/wire/application.js";
import { type ProcessCluster, processCluster } from "../test/support/process-cluster.js";
import type { Benchmark, Context } from "./benchmark.js";
import { type CommandRun, runCommand } from "./run-command.js";

/** Time for a worker to start the next spare. */
const REFILL_MS = 1_500;

export const submit: Benchmark = {
  name: "submit",
  summary: "submission -> first record in an executor (one master with file:, one worker)",
  run: async (context) => {
    const runs = context.pick(15, 5, 1);
    await withCluster(context, 1, async (cluster, client) => {
      await fromCommand(context, cluster, runs);
      context.row({
        what: "open client -> first record, spare driver and executor",
        unit: "ms",
        samples: await fromClient(context, cluster, client, { runs, job: SMALL }),
        aims: [{ of: "median", value: 20 }],
        beside: "a spare that gets the job's code 1.8 ms, with esbuild 5.2 (performance.md 2)",
      });
      context.row({
        what: "  the same, with zod in the job",
        unit: "ms",
        samples: await fromClient(context, cluster, client, { runs, job: WITH_ZOD }),
      });
    });
    await withCluster(context, 0, async (cluster, client) =>
      context.row({
        what: "open client -> first record, nothing pre-started",
        unit: "ms",
        samples: await fromClient(context, cluster, client, { runs, job: SMALL }),
        aims: [{ of: "median", value: 200 }],
        beside: "fork of an executor to its first record 82-151 ms; a driver before it (performance.md 2)",
      }),
    );
    await fromRun(context, runs);
  },
};

async function withCluster(
  context: Context,
  spares: number,
  measure: (cluster: ProcessCluster, client: ClusterClient) => Promise<void>,
) {
  const cluster = await processCluster(context.program);
  try {
    cluster.startMaster("master-1");
    cluster.startWorker("worker-1", { args: ["--spares", String(spares)] });
    await using client = await openClient({ master: cluster.masterUrl, timeout: "30s", json: true }, context.signal);
    while ((await client.call("workers", {})).workers.length === 0) await pause(20);
    await pause(REFILL_MS);
    await measure(cluster, client);
  } finally {
    await cluster.close();
  }
}

/** Imports nothing but Holdfast. */
const SMALL = "first-record.job.ts";
/** As most jobs are: 240 KB, which planner, driver and executor each load. Commands are measured with it. */
const WITH_ZOD = "first-record-zod.job.ts";

const jobFile = (context: Context, job: string): string => path.join(context.root, "bench/jobs", job);
const pause = (durationMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, durationMs));

async function fromCommand(context: Context, cluster: ProcessCluster, runs: number): Promise<void> {
  const firsts: number[] = [];
  const walls: number[] = [];
  for (let run = 0; run < runs; run++) {
    const clock = cluster.file(`command-${run}`);
    const argv = [
      "submit",
      jobFile(context, WITH_ZOD),
      "--param",
      `clock=${clock}`,
      "--parallelism",
      "1",
      "--wait",
      "--json",
      "--master",
      cluster.masterUrl,
    ];
    const done = await runCommand([context.program, ...argv], { cwd: context.root, signal: context.signal });
    firsts.push(firstRecordAt(clock) - done.startedAt);
    walls.push(done.wallMs);
    checkResult(context, done);
    await pause(REFILL_MS);
  }
  context.row({
    what: "holdfast submit JOB.ts -> first record",
    unit: "ms",
    samples: firsts,
    aims: [{ of: "median", value: 300 }],
    beside: "spark-submit 8.2 / 8.8 / 13.7 s, flink run 2.4 / 2.7 / 2.8 s (performance.md 2)",
  });
  context.row({
    what: "  the whole command, --wait",
    unit: "ms",
    samples: walls,
    beside: "Spark 8.5 / 9.1 / 14.0 s, Flink 2.6 / 2.8 / 2.9 s",
  });
}

async function fromClient(
  context: Context,
  cluster: ProcessCluster,
  client: ClusterClient,
  { runs, job }: { readonly runs: number; readonly job: string },
): Promise<readonly number[]> {
  const samples: number[] = [];
  for (let run = 0; run < runs; run++) {
    const clock = cluster.file(`client-${path.basename(job, ".job.ts")}-${run}`);
    const prepared = await prepare(context, job, clock);
    await client.uploadArtifact(prepared.bundle.bytes);
    const startedAt = performance.timeOrigin + performance.now();
    const { id } = await client.call("submit", { key: client.newSubmissionKey(), spec: prepared.spec });
    const end = await client.waitForEnd(id, () => {});
    if (end.state !== "finished") context.wrong(`${id} is ${end.state}: ${end.reason?.message ?? ""}`);
    samples.push(firstRecordAt(clock) - startedAt);
    await pause(REFILL_MS);
  }
  return samples;
}

function prepare(context: Context, job: string, clock: string): Promise<PreparedJob> {
  return prepareJob(
    jobFile(context, job),
    {
      params: { clock },
      parallelism: 1,
      name: null,
      deployMode: "cluster",
      supervise: true,
      restart: DEFAULT_RESTART_POLICY,
      driver: { cores: 0, memoryBytes: 256 * 1024 ** 2 },
      executor: { cores: 1, memoryBytes: 512 * 1024 ** 2 },
    },
    context.signal,
  );
}

async function fromRun(context: Context, runs: number): Promise<void> {
  const firsts: number[] = [];
  const answers: number[] = [];
  const walls: number[] = [];
  for (let run = 0; run < runs; run++) {
    const clock = path.join(context.cache, `run-clock-${process.pid}-${run}`);
    const argv = [context.program, "run", jobFile(context, WITH_ZOD), "--param", `clock=${clock}`, "--parallelism", "1", "--json"];
    const done = await runCommand(argv, { cwd: context.root, signal: context.signal });
    firsts.push(firstRecordAt(clock) - done.startedAt);
    rmSync(clock);
    answers.push(done.answeredMs);
    walls.push(done.wallMs);
    checkResult(context, done);
  }
  context.row({
    what: "holdfast run JOB.ts -> first record",
    unit: "ms",
    samples: firsts,
    aims: [{ of: "median", value: 400 }],
    beside: "Spark local[2] 3.9 / 4.5 / 7.1 s, Flink MiniCluster 3.3 / 3.5 / 3.5 s (performance.md 2)",
  });
  context.row({ what: "  its answer", unit: "ms", samples: answers });
  context.row({ what: "  the whole command", unit: "ms", samples: walls, aims: [{ of: "median", value: 700 }] });
}

const firstRecordAt = (clock: string): number => Number(readFileSync(clock, "utf8").split("\n")[0]);

function checkResult(context: Context, done: CommandRun): void {
  const { result } = JSON.parse(done.stdout) as { readonly result: unknown };
  if (JSON.stringify(result) !== JSON.stringify({ result: [0] })) context.wrong(`the answer is ${JSON.stringify(result)}`);
}
