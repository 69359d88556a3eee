/**
 * `npm run bench [name ...]`: measures, and prints beside each figure the aim, and the limit or peer that it is held against.
 * Times are never asserted: the exit code is 1 only when a result was wrong. Options: --all, --quick, --ci, --kills, --json.
 */
import { setMaxListeners } from "node:events";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { ACCEPT_SERVER, runAcceptServer } from "./accept-floor.js";
import type { Benchmark, Context, Size } from "./benchmark.js";
import { CHECKPOINT_PROCESS, runCheckpointProcess } from "./checkpoint-process.js";
import { checkpoints } from "./checkpoints.js";
import { engine } from "./engine.js";
import { failover, failoverZooKeeper } from "./failover.js";
import { jobs } from "./jobs.js";
import { LOAD_PROCESS, runLoadProcess } from "./load-process.js";
import { machineName, machineRows, versionOf } from "./machine.js";
import { reAttach } from "./re-attach.js";
import { recovery } from "./recovery.js";
import { createReport, STANDARD_OUTPUT } from "./report.js";
import { runStandingServer, STANDING_SERVER } from "./standing-floor.js";
import { submissions } from "./submissions.js";
import { submit } from "./submit.js";
import { zookeeper } from "./zookeeper.js";
import { zookeeperStore } from "./zookeeper-store.js";

const BENCHMARKS: readonly Benchmark[] = [
  failover,
  failoverZooKeeper,
  submit,
  submissions,
  recovery,
  reAttach,
  engine,
  checkpoints,
  jobs,
  zookeeper,
  zookeeperStore,
];

interface Options {
  readonly all?: boolean;
  readonly quick?: boolean;
  readonly ci?: boolean;
  /** True: on standard output; else the file. */
  readonly json?: boolean | string;
  readonly runs?: string;
  readonly kills?: string;
  readonly program?: string;
}

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..");

async function bench(names: readonly string[], options: Options): Promise<number> {
  if (options.all === true && names.length > 0) {
    process.stderr.write(`--all takes no names; leave out ${names.join(", ")}.\n`);
    return 2;
  }
  const { json: place } = options;
  if (typeof place === "string" && BENCHMARKS.some(({ name }) => name === place)) {
    process.stderr.write(`--json ${place} would write a file of that name; name the benchmarks before it.\n`);
    return 2;
  }
  const wanted = options.kills ?? options.runs;
  const unknown = names.find((name) => !BENCHMARKS.some((benchmark) => benchmark.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`There is no benchmark ${unknown}. There are: ${BENCHMARKS.map(({ name }) => name).join(", ")}.\n`);
    return 2;
  }
  if (wanted !== undefined && !/^[1-9][0-9]{0,4}$/.test(wanted)) {
    process.stderr.write(`--kills (or --runs) is "${wanted}"; it has to be a number from 1 to 99999.\n`);
    return 2;
  }
  const size: Size = options.ci === true ? "ci" : options.quick === true ? "quick" : "full";
  const machine = machineName();
  const json = options.json === true ? STANDARD_OUTPUT : options.json === false ? undefined : options.json;
  const { commit, isClean } = versionOf(root);
  const version = isClean ? commit : `${commit} with changes`;
  const command = ["bench", ...process.argv.slice(2)].join(" ");
  const report = createReport({ json: json ?? null, showTimes: size !== "ci", machine, commit: version, command });
  // One signal ends everything, so many wait for it.
  setMaxListeners(0);
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort(new Error("interrupted")));
  const cache = path.join(root, ".bench");
  mkdirSync(cache, { recursive: true });
  const context: Context = {
    size,
    root,
    cache,
    program: options.program === undefined ? path.join(root, "dist/bin/holdfast.mjs") : path.resolve(options.program),
    signal: interrupt.signal,
    runs: wanted === undefined ? null : Number(wanted),
    pick: (full, quick, ci) => (size === "full" ? full : size === "quick" ? quick : ci),
    row: report.row,
    note: report.note,
    wrong: report.wrong,
  };
  report.begin("machine", machine);
  for (const row of machineRows(cache, size !== "full")) report.row(row);
  for (const benchmark of BENCHMARKS) {
    if (names.length > 0 && !names.includes(benchmark.name)) continue;
    interrupt.signal.throwIfAborted();
    report.begin(benchmark.name, benchmark.summary);
    // One that breaks down must not take the figures of the others with it.
    await benchmark.run(context).catch((thrown) => {
      interrupt.signal.throwIfAborted();
      report.wrong(`it broke down: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`);
    });
  }
  return report.end() ? 0 : 1;
}

const list = BENCHMARKS.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join("\n");
const program = new Command("bench")
  .description("Measures Holdfast on this machine; each figure stands beside its aim and the limit or peer it is held against.")
  .argument("[names...]", "which benchmarks; default: all")
  .option("--quick", "fewer runs")
  .option("--ci", "a short fixed part of each; checks that results are right and says nothing of times")
  .option("--all", "all, one after the other (20 to 25 minutes), with a table for docs/benchmarks.md at the end")
  .option("--kills <n>", "how often, where a benchmark repeats a fault (failover)")
  .option("--runs <n>", "the same")
  .option("--program <file>", "measure this build's holdfast.mjs instead, for comparing two")
  .option("--json [file]", "one JSON object: to that file, or to standard output")
  .addHelpText(
    "after",
    `\nBenchmarks:\n${list}\n\nSingle parts, each a script of its own: node bench/{codec,chains,exchange,connectors,submission-records}.mjs`,
  )
  .action(async (names: readonly string[], options: Options) => {
    process.exitCode = await bench(names, options);
  });
if (process.argv[2] === LOAD_PROCESS) await runLoadProcess();
else if (process.argv[2] === ACCEPT_SERVER) await runAcceptServer();
else if (process.argv[2] === CHECKPOINT_PROCESS) await runCheckpointProcess();
else if (process.argv[2] === STANDING_SERVER) await runStandingServer();
else await program.parseAsync();
