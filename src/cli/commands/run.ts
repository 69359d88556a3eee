/** `holdfast run JOB.ts`: an embedded cluster for one job, on this machine, in one process tree; nothing is left behind. */
import os from "node:os";
import type { Command } from "commander";
import { createNodeEnv } from "../../node/env.js";
import { createLog } from "../../node/log.js";
import { DEFAULT_RESTART_POLICY } from "../../wire/application.js";
import type { ApplicationView } from "../../wire/views.js";
import { parseCheckpointInterval } from "../checkpoint-option.js";
import { openClient } from "../client/cluster-client.js";
import type { HeadStart } from "../client/head-start.js";
import { prepareJob } from "../client/job-submission.js";
import { progressView } from "../client/progress-view.js";
import { newCommand, onInterrupt, withJson } from "../command.js";
import { type EmbeddedCluster, openEmbeddedCluster } from "../embedded-cluster.js";
import { collect, parseCount, parseParams, parseSizeBytes } from "../parse.js";
import { report } from "./submit.js";

interface RunOptions {
  readonly param?: readonly string[];
  readonly parallelism?: string;
  readonly from?: string;
  readonly allowDroppedState?: boolean;
  readonly checkpointInterval?: string;
  readonly memory: string;
  readonly executorMemory: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

export function command(headStart: HeadStart | null): Command {
  const base = newCommand(
    "run",
    "Run a job on an embedded cluster of this machine: nothing to start before, nothing left behind.",
    [
      "holdfast run job.ts",
      "holdfast run job.ts --param input=data.ndjson --parallelism 4",
      "holdfast run job.ts --json | jq .result",
    ],
  );
  return withJson(base)
    .argument("<job>", "the job file (default export: defineJob({...}))")
    .option("--param <name=value>", "a parameter of the job (repeatable)", collect)
    .option("--parallelism <n>", "number of executors; default: the cores of this machine")
    .option("--from <savepoint>", "begin from a savepoint's directory")
    .option("--allow-dropped-state", "also when it holds state of operators that the job does not have")
    .option("--checkpoint-interval <duration>", "take checkpoints this often; none: never. Default: as the job says")
    .option("--memory <size>", "memory of the driver", "256m")
    .option("--executor-memory <size>", "memory of each executor", "1g")
    .option("--verbose", "show the log of the embedded master and worker")
    .action(async (job: string, options: RunOptions) => {
      process.exitCode = await run(job, options, headStart);
    });
}

async function run(job: string, options: RunOptions, headStart: HeadStart | null): Promise<number> {
  const interrupt = onInterrupt();
  const params = parseParams("--param", options.param);
  const parallelism =
    options.parallelism === undefined
      ? os.availableParallelism()
      : parseCount("--parallelism", options.parallelism, { min: 1, max: 1024 });
  const memoryBytes = parseSizeBytes("--executor-memory", options.executorMemory);
  const settings = {
    params,
    parallelism,
    name: null,
    deployMode: "cluster" as const,
    supervise: true,
    restart: DEFAULT_RESTART_POLICY,
    checkpointInterval: parseCheckpointInterval("--checkpoint-interval", options.checkpointInterval),
    ...(options.from === undefined ? {} : { from: options.from }),
    ...(options.allowDroppedState === undefined ? {} : { allowDroppedState: options.allowDroppedState }),
    driver: { cores: 0, memoryBytes: parseSizeBytes("--memory", options.memory) },
    executor: { cores: 1, memoryBytes },
  };
  const env = createNodeEnv({
    log: createLog({
      format: "text",
      stream: process.stderr,
      role: "run",
      id: "embedded",
      level: options.verbose === true ? "info" : "error",
    }),
  });
  // The cluster (and its executors in advance) starts while the job is bundled and planned. What the job asks of memory is not bounded here.
  const opening = openEmbeddedCluster({
    env,
    resources: { cores: 4096, memoryBytes: Number.MAX_SAFE_INTEGER },
    spares: { count: parallelism, memoryBytes },
    driverSpares: { count: 1, memoryBytes: settings.driver.memoryBytes },
  });
  let cluster: EmbeddedCluster | null = null;
  try {
    const prepared = await prepareJob(job, settings, interrupt.signal, {
      headStart,
      onBundle: async (bundle) => (await opening).keepBundle(bundle.bytes),
    });
    cluster = await opening;
    return await follow(cluster, prepared, options, interrupt);
  } finally {
    // Also when the job was refused while the cluster was still opening.
    await (cluster ?? (await opening.catch(() => null)))?.close();
  }
}

async function follow(
  cluster: EmbeddedCluster,
  prepared: Awaited<ReturnType<typeof prepareJob>>,
  options: RunOptions,
  interrupt: ReturnType<typeof onInterrupt>,
): Promise<number> {
  // The client outlives the interrupt: it is what cancels the job.
  await using client = await openClient(
    { master: cluster.masterAddress, timeout: "10s", json: true },
    new AbortController().signal,
  );
  const { id } = await client.call("submit", { key: client.newSubmissionKey(), spec: prepared.spec });
  const cancel = () => void client.call("cancel", { application: id }).catch(() => {});
  if (interrupt.signal.aborted) cancel();
  else interrupt.signal.addEventListener("abort", cancel, { once: true });
  const view = progressView(process.stderr, () => performance.now());
  const show = (seen: ApplicationView) => {
    if (options.json !== true && process.stderr.isTTY) view.show(seen);
  };
  // Nobody could resume it: this cluster ends with the command.
  const ending = client.waitForEnd(id, show, { orParked: true });
  const logs = client.readLogs({
    application: id,
    streams: ["stdout"],
    follow: true,
    over: ending.catch(() => null),
    // What user code prints (console sinks, console.log) belongs to the command's own output; with --json that holds only the answer.
    onChunk: ({ bytes }) => void (options.json === true ? process.stderr : process.stdout).write(bytes),
  });
  const application = await ending;
  view.end();
  // Its logs end with it.
  if (application.state === "parked") await client.call("cancel", { application: id });
  await logs.catch(() => {});
  const exitCode = report(endedHere(application), options, null);
  return interrupt.name() === null ? exitCode : 130;
}

/** A parked job waits for somebody to resume it, but not here. */
function endedHere(application: ApplicationView): ApplicationView {
  const { state, reason } = application;
  if (state !== "parked" || reason === null) return application;
  return {
    ...application,
    reason: { ...reason, hint: "Mend the cause and run it again: this cluster ends with the command, and keeps nothing." },
  };
}
