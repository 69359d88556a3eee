/**
 * `npm run demo`: examples/flight-delays on a cluster of separate processes, while they are killed one after the other; the answer is compared with
 * DuckDB's. Exit 0 only when it is equal and every promise held. Options: --zookeeper, --no-faults, --seed N, --json.
 */
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { type ClusterClient, openClient } from "../src/cli/client/cluster-client.js";
import { prepareJob } from "../src/cli/client/job-submission.js";
import { parseCount } from "../src/cli/parse.js";
import { formatCount, formatDuration, styleFor, table } from "../src/cli/terminal.js";
import { DEFAULT_RESTART_POLICY } from "../src/wire/application.js";
import { compareWithDuckDb, type TopAirport } from "./expected.js";
import {
  type FaultContext,
  type FaultReport,
  killDriver,
  killExecutor,
  killLeader,
  killMachine,
  killZooKeeperServer,
} from "./faults.js";
import { isWhole, observer } from "./observe.js";
import { announcement, type DemoStage, openStage } from "./stage.js";

const PARALLELISM = 2;
/** Flights a second: stretches a run so that every fault hits a running job. */
const RATE = 250_000;
/** So that no fault costs more than a few seconds of work. */
const CHECKPOINT_EVERY_MS = 1_000;
const PAUSE_BEFORE_FAULT_MS = 1_500;
const START_TIMEOUT_MS = 20_000;

let interrupted = false;

interface DemoOptions {
  readonly faults: boolean;
  readonly seed: string;
  readonly json?: boolean;
  readonly zookeeper?: boolean;
}

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..");

function chanceFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

async function demo(options: DemoOptions): Promise<number> {
  const chance = chanceFrom(parseCount("--seed", options.seed, { min: 0, max: 4294967295 }));
  const startedAt = performance.now();
  const say = (text: string) => {
    if (options.json !== true) process.stdout.write(`${text}\n`);
  };
  const interrupt = new AbortController();
  const stop = () => {
    interrupted = true;
    interrupt.abort(new Error("interrupted"));
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  const data = path.join(root, "node_modules/vega-datasets/data");
  const inputs = { flights: path.join(data, "flights-3m.parquet"), airports: path.join(data, "airports.csv") };
  say(announcement(options.zookeeper === true));
  const stage = await openStage(path.join(root, "dist/bin/holdfast.mjs"), options.zookeeper === true);
  const { cluster } = stage;
  try {
    const output = path.join(cluster.directory, "out");
    await mkdir(output);
    await using client = await openClient(
      { master: cluster.masterUrl, timeout: `${START_TIMEOUT_MS}ms`, json: true },
      interrupt.signal,
    );
    const application = await submitJob(client, { ...inputs, output, ...(options.faults ? { rate: RATE } : {}) }, interrupt.signal);
    say(`Submitted examples/flight-delays over 3,000,000 flights as ${application}.`);

    const context: FaultContext = {
      client,
      observer: observer(client, application),
      parallelism: PARALLELISM,
      chance,
    };
    const reports = options.faults ? await allFaults(context, stage, say) : [];
    const view = await client.waitForEnd(application, () => {});
    say(`${application} ${view.state}${view.reason === null ? "" : `: ${view.reason.message}`}.`);
    if (view.state !== "finished") return fail(options, `the job is ${view.state}`);

    const { comparisons, top } = await compareWithDuckDb({
      ...inputs,
      // A job with checkpoints writes directories of parts.
      ndjson: path.join(output, "delays.ndjson", "part-*.ndjson"),
      parquet: path.join(output, "delays.parquet", "part-*.parquet"),
    });
    const equal = comparisons.ndjson.equal && comparisons.parquet.equal;
    const kept = reports.every((report) => report.asPromised);
    const seconds = (performance.now() - startedAt) / 1000;
    if (options.json === true)
      process.stdout.write(`${JSON.stringify({ equal, promisesKept: kept, faults: reports, comparisons, top, seconds })}\n`);
    else {
      showTop(top, say);
      for (const [name, { equal: same, groups, flights, differences }] of Object.entries(comparisons)) {
        say(
          `${name}: ${formatCount(groups)} groups of ${formatCount(flights)} flights, ${same ? "equal to DuckDB's answer" : `NOT equal to DuckDB's: ${differences.join(" ")}`}.`,
        );
      }
      for (const { fault, noticed } of reports.filter(({ asPromised }) => !asPromised))
        say(`${fault}: NOT as promised, the job noticed: ${noticed}.`);
      say(
        `${equal && kept ? "Exact" : "WRONG"}, after ${reports.length} kills${workAgain(reports)}, in ${formatDuration(seconds * 1000)}.`,
      );
    }
    return equal && kept ? 0 : 1;
  } finally {
    await stage.close();
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
}

/** What all faults together cost of the job's work. */
function workAgain(reports: readonly FaultReport[]): string {
  if (reports.length === 0) return "";
  const records = reports.reduce((sum, { recordsBack }) => sum + recordsBack, 0);
  return ` that cost ${formatCount(records)} of 3,000,000 records read again (${(records / RATE).toFixed(1)} s of work)`;
}

function fail(options: DemoOptions, why: string): number {
  if (options.json === true) process.stdout.write(`${JSON.stringify({ equal: false, why })}\n`);
  else process.stderr.write(`The demo failed: ${why}.\n`);
  return 1;
}

async function submitJob(
  client: ClusterClient,
  params: Readonly<Record<string, string | number>>,
  signal: AbortSignal,
): Promise<string> {
  const prepared = await prepareJob(
    path.join(root, "examples/flight-delays/job.ts"),
    {
      params,
      parallelism: PARALLELISM,
      name: null,
      deployMode: "cluster",
      supervise: true,
      restart: { ...DEFAULT_RESTART_POLICY, minBackoffMs: 100 },
      driver: { cores: 0, memoryBytes: 256 * 1024 * 1024 },
      checkpointInterval: CHECKPOINT_EVERY_MS,
      executor: { cores: 1, memoryBytes: 512 * 1024 * 1024 },
    },
    signal,
  );
  await client.uploadArtifact(prepared.bundle.bytes);
  return (await client.call("submit", { key: client.newSubmissionKey(), spec: prepared.spec })).id;
}

async function allFaults(
  context: FaultContext,
  { ensemble }: DemoStage,
  say: (text: string) => void,
): Promise<readonly FaultReport[]> {
  const { observer: watch } = context;
  const reports: FaultReport[] = [];
  const faults: readonly (() => Promise<FaultReport>)[] = [
    () => killLeader(context, "the leading master"),
    ...(ensemble === null ? [] : [() => killZooKeeperServer(context, ensemble)]),
    () => killExecutor(context),
    () => killDriver(context),
    () => killMachine(context),
    () => killLeader(context, "the next leader"),
  ];
  for (const inject of faults) {
    await watch.until("the job to run", START_TIMEOUT_MS, async () => isWhole(await watch.status(), PARALLELISM));
    await new Promise((resolve) => setTimeout(resolve, PAUSE_BEFORE_FAULT_MS));
    const report = await inject();
    reports.push(report);
    say(
      `kill -9 of ${report.fault}: ${report.killed}\n    the job noticed: ${report.noticed}; whole again after ${formatDuration(report.millisecondsUntilWhole)}${report.asPromised ? "" : "  ← NOT AS PROMISED"}`,
    );
  }
  return reports;
}

function showTop(top: readonly TopAirport[], say: (text: string) => void): void {
  say("\nThe ten busiest airports:");
  say(
    table(
      [
        { title: "AIRPORT", of: (row) => row.origin },
        { title: "CITY", of: (row) => row.city, shrink: true },
        { title: "FLIGHTS", of: (row) => formatCount(row.flights), align: "right" },
        { title: "MEAN", of: (row) => `${row.meanDelay.toFixed(1)} min`, align: "right" },
        { title: "P90 (WORST HOUR)", of: (row) => `${row.p90Delay} min`, align: "right" },
        { title: "WORST", of: (row) => `${row.worstDelay} min`, align: "right" },
      ],
      top,
      styleFor(process.stdout),
    ),
  );
  say("");
}

const program = new Command("demo")
  .description(
    "Runs examples/flight-delays on a cluster of separate processes while they are killed, and compares the answer with DuckDB's.",
  )
  .option("--no-faults", "kill nothing")
  .option("--seed <n>", "chooses the victims", "1")
  .option("--zookeeper", "records in three ZooKeeper servers, three masters; one server is killed too")
  .option("--json", "one JSON object")
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .action(async (options: DemoOptions) => {
    process.exitCode = await demo(options);
  });
try {
  await program.parseAsync();
} catch (thrown) {
  // Ctrl-C ends here after everything was taken down; anything else is a broken promise, told in one sentence.
  const said = thrown instanceof Error ? thrown.message : String(thrown);
  const why = interrupted ? "it was interrupted; nothing of it is left." : said;
  process.stderr.write(`The demo ended: ${why}\n`);
  process.exitCode = interrupted ? 130 : 1;
}
