/**
 * `holdfast submit JOB.ts` and `holdfast submit -- COMMAND ARGS...`: bundles and plans a job (or takes a command line), submits it under
 * a key so that a repeated submission gives the first application, and with --wait follows it through every failover to its exit code.
 */
import path from "node:path";
import type { Command } from "commander";
import { CodedError } from "../../base/errors.js";
import { type ApplicationSpec, DEFAULT_RESTART_POLICY } from "../../wire/application.js";
import type { ApplicationView } from "../../wire/views.js";
import { parseCheckpointInterval } from "../checkpoint-option.js";
import { type KnownMasters, runClientDriver } from "../client/client-driver.js";
import { openClient } from "../client/cluster-client.js";
import type { HeadStart } from "../client/head-start.js";
import { type PreparedJob, prepareJob } from "../client/job-submission.js";
import { operatorLines, progressView } from "../client/progress-view.js";
import { operatorTable } from "../client/savepoint-option.js";
import { type ClusterOptions, newCommand, onInterrupt, print, printJson, remark, withCluster } from "../command.js";
import { collect, parseChoice, parseCores, parseCount, parseEnvironment, parseParams, parseSizeBytes } from "../parse.js";
import { harmless } from "../terminal.js";

export interface SubmitOptions extends ClusterOptions {
  readonly param?: readonly string[];
  readonly id?: string;
  readonly name?: string;
  readonly parallelism?: string;
  readonly deployMode: string;
  readonly driverHost: string;
  readonly supervise?: boolean;
  readonly maxRestarts?: string;
  readonly cores?: string;
  readonly memory?: string;
  readonly executorCores: string;
  readonly executorMemory: string;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly onPartition?: string;
  readonly checkpointInterval?: string;
  readonly retainCheckpoints?: boolean;
  readonly from?: string;
  readonly allowDroppedState?: boolean;
  readonly wait?: boolean;
}

export function command(headStart: HeadStart | null): Command {
  const base = newCommand("submit", "Submit a job, or any program after --, to a cluster.", [
    "holdfast submit job.ts --param input=data.ndjson --wait",
    "holdfast submit job.ts --id nightly-2026-11-21 --parallelism 4",
    "holdfast submit job.ts --from /shared/savepoints/app-3-1-17 --parallelism 8",
    "holdfast submit --supervise -- node server.js --port 9000",
    "holdfast submit --supervise --on-partition continue -- node replica.js",
    "holdfast submit --deploy-mode client job.ts",
  ]);
  return withCluster(base)
    .usage("[options] JOB.ts | [options] -- COMMAND ARGS...")
    .argument("[job]", "the job file (default export: defineJob({...}))")
    .argument("[command...]", "after --: a program and its arguments")
    .option("--param <name=value>", "a parameter of the job (repeatable)", collect)
    .option("--id <key>", "name of this submission: the same id again gives the same application")
    .option("--name <name>", "a name for people; default: the job's id, or the program")
    .option("--parallelism <n>", "number of executors of a job; default: the job's own, or 1")
    .option("--deploy-mode <mode>", "cluster: the driver runs on a worker | client: here", "cluster")
    .option("--driver-host <host>", "client mode: a host of this machine that workers reach", "127.0.0.1")
    .option("--supervise", "restart the program when it fails (jobs: default)")
    .option("--no-supervise", "never restart the driver")
    .option("--max-restarts <n>", `restarts within 10 minutes before giving up; default ${DEFAULT_RESTART_POLICY.maxRestarts}`)
    .option("--cores <n>", "cores of the program (or of a job's driver: 0)")
    .option("--memory <size>", "memory of the program (512m) or of a job's driver (256m)")
    .option("--executor-cores <n>", "cores of each executor", "1")
    .option("--executor-memory <size>", "memory of each executor", "512m")
    .option("--env <NAME=value>", "environment of the program (repeatable)", collect)
    .option("--cwd <path>", "working directory of the program on the worker")
    .option(
      "--on-partition <choice>",
      "on a worker cut off from the leader: continue (jobs) | stop (programs): ended before it starts elsewhere",
    )
    .option(
      "--checkpoint-interval <duration>",
      "a job restarts from its last checkpoint; none: from its input. Default: the job's own, or 10s if its input never ends",
    )
    .option("--retain-checkpoints", "the completed checkpoints stay after the job's end, until its application is forgotten")
    .option("--from <savepoint>", "begin a job from a savepoint's directory")
    .option("--allow-dropped-state", "also when the savepoint holds state of operators that the job does not have")
    .option("--wait", "follow it to its end and exit with its exit code")
    .action(async (job: string | undefined, _rest: readonly string[], options: SubmitOptions) => {
      process.exitCode = await submit(job, options, headStart);
    });
}

/** What stands after `--`, which commander gives without saying that it stood there. */
function programArgv(): readonly string[] | null {
  const at = process.argv.indexOf("--");
  return at === -1 ? null : process.argv.slice(at + 1);
}

async function submit(job: string | undefined, options: SubmitOptions, headStart: HeadStart | null): Promise<number> {
  const argv = programArgv();
  const deployMode = parseChoice("--deploy-mode", options.deployMode, ["cluster", "client"] as const);
  if (argv !== null) {
    if (argv.length === 0)
      throw new CodedError("INVALID_ARGUMENT", "Nothing stands after --.", {
        hint: "Name a program: holdfast submit -- node server.js",
      });
    if (deployMode === "client")
      throw new CodedError("INVALID_ARGUMENT", "A program has no driver that could run here.", {
        hint: "Leave out --deploy-mode client.",
      });
  } else if (job === undefined) {
    throw new CodedError("INVALID_ARGUMENT", "Neither a job file nor a program is named.", {
      hint: "holdfast submit JOB.ts, or holdfast submit -- COMMAND ARGS...",
    });
  }
  const interrupt = onInterrupt();
  const program = argv === null ? null : programSpec(argv, options);
  const settings = argv === null ? jobSettings(options, deployMode) : null;
  const view = progressView(process.stderr, () => performance.now());
  const refused = new AbortController();
  const masters: KnownMasters = { addresses: [], onChange: () => {} };
  // The leader is looked for while the job is bundled and planned.
  const opening = openClient(options, AbortSignal.any([interrupt.signal, refused.signal]), {
    ...(options.json === true ? {} : { onLooking: (text: string) => view.note(text) }),
    onMasters: (addresses) => {
      masters.addresses = addresses;
      masters.onChange(addresses);
    },
  });
  opening.catch(() => {});
  let prepared: PreparedJob | null = null;
  try {
    if (settings !== null) prepared = await prepareJob(job ?? "", settings, interrupt.signal, { headStart });
  } catch (thrown) {
    refused.abort(thrown);
    await (await opening.catch(() => null))?.[Symbol.asyncDispose]();
    throw thrown;
  }
  await using client = await opening;
  const spec = program ?? prepared?.spec;
  if (spec === undefined) throw new CodedError("INTERNAL", "invariant broken: neither a job nor a program");
  const from = prepared?.from ?? null;
  if (from !== null && options.json !== true) remark(operatorTable(from));
  const key = options.id ?? client.newSubmissionKey();
  const submitted =
    prepared === null
      ? await client.call("submit", { key, spec })
      : await client.submitJob({ key, spec, bundle: prepared.bundle.bytes });
  if (!submitted.created && options.json !== true) remark(`${submitted.id} was submitted before under ${key}; this is its state.`);

  if (deployMode === "client" && prepared !== null) {
    const { spec: jobSpec, bundle } = prepared;
    const driver = { applicationId: submitted.id, submissionKey: key, spec: jobSpec, bundle: bundle.bytes };
    const exitCode = await runClientDriver({
      ...driver,
      driverHost: options.driverHost,
      cluster: options,
      masters,
      signal: interrupt.signal,
    });
    // The interrupt ended the job, and this client with it: its last state is asked by a new one.
    await using last = await openClient(options, new AbortController().signal);
    return report(
      (await last.call("status", { application: submitted.id, after: null, waitMs: 0 })).application,
      options,
      exitCode,
    );
  }
  if (options.wait !== true) {
    const { id, name, kind, state } = submitted;
    const begins =
      from === null
        ? {}
        : { from: { directory: from.reference.directory, checkpoint: from.checkpoint, operators: from.operators } };
    if (options.json === true) printJson({ id, name, kind, state, ...begins });
    else print(`${id} (${harmless(name)}) is ${state}. Follow it with: holdfast status ${id}`);
    return 0;
  }
  try {
    const show = (seen: ApplicationView) => {
      if (options.json !== true) view.show(seen);
    };
    const application = await client.waitForEnd(submitted.id, show, { orParked: true });
    view.end();
    return report(application, options, null);
  } catch (thrown) {
    view.end();
    if (interrupt.name() === null) throw thrown;
    remark(
      `${submitted.id} runs on. Follow it with: holdfast status ${submitted.id}; stop it with: holdfast cancel ${submitted.id}`,
    );
    return 130;
  }
}

export function jobSettings(options: SubmitOptions, deployMode: "cluster" | "client") {
  return {
    params: parseParams("--param", options.param),
    parallelism: options.parallelism === undefined ? null : parseCount("--parallelism", options.parallelism, { min: 1, max: 1024 }),
    name: options.name ?? null,
    deployMode,
    supervise: options.supervise ?? deployMode === "cluster",
    restart: restartPolicyOf(options),
    ...onPartitionOption(options),
    checkpointInterval: parseCheckpointInterval("--checkpoint-interval", options.checkpointInterval),
    retainCheckpoints: options.retainCheckpoints ?? false,
    ...(options.from === undefined ? {} : { from: options.from }),
    ...(options.allowDroppedState === undefined ? {} : { allowDroppedState: options.allowDroppedState }),
    driver: {
      cores: options.cores === undefined ? 0 : parseCores("--cores", options.cores),
      memoryBytes: parseSizeBytes("--memory", options.memory ?? "256m"),
    },
    executor: {
      cores: parseCores("--executor-cores", options.executorCores),
      memoryBytes: parseSizeBytes("--executor-memory", options.executorMemory),
    },
  };
}

const restartPolicyOf = (options: SubmitOptions) =>
  options.maxRestarts === undefined
    ? DEFAULT_RESTART_POLICY
    : { ...DEFAULT_RESTART_POLICY, maxRestarts: parseCount("--max-restarts", options.maxRestarts, { min: 0, max: 1000 }) };

/** What is not said is left to the kind of the application. */
const onPartitionOption = ({ onPartition }: SubmitOptions): Pick<ApplicationSpec, "onPartition"> =>
  onPartition === undefined ? {} : { onPartition: parseChoice("--on-partition", onPartition, ["continue", "stop"] as const) };

function programSpec(argv: readonly string[], options: SubmitOptions): ApplicationSpec {
  if (options.param !== undefined)
    throw new CodedError("INVALID_ARGUMENT", "--param is for jobs.", {
      hint: "Give a program its arguments after --, or use --env.",
    });
  if (options.from !== undefined)
    throw new CodedError("INVALID_ARGUMENT", "--from is for jobs.", { hint: "A program keeps its own state." });
  if (options.checkpointInterval !== undefined || options.retainCheckpoints === true)
    throw new CodedError("INVALID_ARGUMENT", "--checkpoint-interval and --retain-checkpoints are for jobs.", {
      hint: "A program keeps its own state.",
    });
  return {
    name: options.name ?? path.basename(argv[0] ?? "program").slice(0, 128),
    kind: "process",
    deployMode: "cluster",
    supervise: options.supervise ?? false,
    restart: restartPolicyOf(options),
    ...onPartitionOption(options),
    driver: {
      cores: parseCores("--cores", options.cores ?? "1"),
      memoryBytes: parseSizeBytes("--memory", options.memory ?? "512m"),
    },
    job: null,
    process: { argv: [...argv], env: parseEnvironment("--env", options.env), cwd: options.cwd ?? null },
  };
}

/** Prints the end and gives the exit code: the program's own, 0 for a finished job, 1 otherwise. */
export function report(application: ApplicationView, options: { readonly json?: boolean }, driverExitCode: number | null): number {
  const exitCode = exitCodeOf(application, driverExitCode);
  if (options.json === true) {
    const { id, name, kind, state, result } = application;
    printJson({ id, name, kind, state, exitCode, result: result ?? null, reason: application.reason });
    return exitCode;
  }
  const why =
    application.reason === null || application.state === "finished"
      ? ""
      : `: ${harmless(application.reason.message)} [${application.reason.code}]`;
  remark(`${application.id} ${application.state}${why}`);
  if (application.state !== "finished" && application.reason?.hint) remark(`  ${harmless(application.reason.hint)}`);
  for (const line of operatorLines(application)) remark(line);
  if (application.result !== null && application.result !== undefined) print(JSON.stringify(application.result, null, 2));
  return exitCode;
}

function exitCodeOf(application: ApplicationView, driverExitCode: number | null): number {
  if (application.state === "finished") return 0;
  if (application.kind === "process" && application.exitCode !== null && application.exitCode !== 0) return application.exitCode;
  return driverExitCode !== null && driverExitCode !== 0 ? driverExitCode : 1;
}
