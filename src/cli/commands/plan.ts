/**
 * `holdfast plan JOB.ts`: what a job would run as, and what it promises, without running or submitting it: its operators with their subtasks and
 * exchanges, whether it takes checkpoints, the guarantee of the way from each source to each sink, and what restarts with a lost executor.
 */
import path from "node:path";
import type { Command } from "commander";
import type { JobSettings } from "../../api/settings.js";
import { executionPlan } from "../../dataflow/chains.js";
import { type FailoverRegions, failoverRegions } from "../../dataflow/failover-regions.js";
import type { JobGraph, OperatorSpec } from "../../dataflow/graph.js";
import { type PathGuarantee, pathGuarantees } from "../../dataflow/guarantees.js";
import { DEFAULT_RESTART_POLICY } from "../../wire/application.js";
import { checkGuarantee, parseCheckpointInterval } from "../checkpoint-option.js";
import { prepareJob } from "../client/job-submission.js";
import { newCommand, onInterrupt, print, printJson, withJson } from "../command.js";
import { collect, parseCount, parseParams } from "../parse.js";
import { styleFor, table } from "../terminal.js";

interface PlanOptions {
  readonly param?: readonly string[];
  readonly parallelism?: string;
  readonly checkpointInterval?: string;
  readonly json?: boolean;
}

export function command(): Command {
  const base = newCommand("plan", "Show what a job would run as and what it guarantees, without running it.", [
    "holdfast plan job.ts",
    "holdfast plan job.ts --param input=data.ndjson --parallelism 4",
    "holdfast plan job.ts --json | jq .guarantees",
  ]);
  return withJson(base)
    .argument("<job>", "the job file (default export: defineJob({...}))")
    .option("--param <name=value>", "a parameter of the job (repeatable)", collect)
    .option("--parallelism <n>", "number of executors; default: the job's own, or 1")
    .option("--checkpoint-interval <duration>", "as of submit: a duration, or none")
    .action(async (job: string, options: PlanOptions) => {
      await plan(job, options);
    });
}

/** Rejects as a submission does; with GUARANTEE_UNSUPPORTED after it has shown everything. */
async function plan(file: string, options: PlanOptions): Promise<void> {
  const interrupt = onInterrupt();
  const none = { cores: 0, memoryBytes: 0 };
  const { plan: planned, spec } = await prepareJob(
    file,
    {
      params: parseParams("--param", options.param),
      parallelism:
        options.parallelism === undefined ? null : parseCount("--parallelism", options.parallelism, { min: 1, max: 1024 }),
      name: null,
      deployMode: "cluster",
      supervise: true,
      restart: DEFAULT_RESTART_POLICY,
      checkpointInterval: parseCheckpointInterval("--checkpoint-interval", options.checkpointInterval),
      driver: none,
      executor: none,
    },
    interrupt.signal,
    { evenWithLessGuarantee: true },
  );
  const { graph, settings } = planned;
  const checkpoint = spec.job?.checkpoint ?? null;
  const parallelism = spec.job?.parallelism ?? 1;
  const rows = operatorRows(graph, parallelism);
  const guarantees = pathGuarantees(graph, checkpoint !== null);
  const failover = failoverRegions(graph, parallelism);
  if (options.json === true) {
    const { jobId, bounded, hash } = graph;
    const { state } = settings;
    printJson({ job: jobId, bounded, parallelism, graphHash: hash, checkpoint, state, operators: rows, guarantees, failover });
  } else {
    const length = graph.bounded ? "ends with its input" : "never ends";
    const taken = checkpoint === null ? "no checkpoints" : `a checkpoint every ${checkpoint.intervalMs} ms`;
    const disk = settings.state === "disk" ? ", state on disk" : "";
    print(
      `Job '${graph.jobId}' of ${path.basename(file)}: ${length}, ${parallelism} executor${parallelism === 1 ? "" : "s"}, ${taken}${disk}.\n`,
    );
    printOperators(rows);
    print("");
    printGuarantees(guarantees);
    print("");
    for (const line of failoverLines(failover, parallelism)) print(line);
  }
  checkGuarantee(graph, checkpoint !== null, settings.checkpoint as JobSettings["checkpoint"]);
}

interface OperatorRow {
  readonly uid: string;
  readonly kind: OperatorSpec["kind"];
  readonly subtasks: number;
  /** Operators of one chain run as one loop; counted from 1. */
  readonly chain: number;
  readonly inputs: readonly { readonly from: string; readonly exchange: string; readonly side: string | null }[];
}

function operatorRows(graph: JobGraph, parallelism: number): OperatorRow[] {
  const { vertices } = executionPlan(graph, parallelism);
  return vertices.flatMap((vertex, index) =>
    vertex.operators.map(({ uid, kind }) => ({
      uid,
      kind,
      subtasks: vertex.parallelism,
      chain: index + 1,
      inputs: graph.edges.filter(({ to }) => to === uid).map(({ from, exchange, side }) => ({ from, exchange, side })),
    })),
  );
}

function printOperators(rows: readonly OperatorRow[]): void {
  const inputsOf = ({ inputs }: OperatorRow): string =>
    inputs.map(({ from, exchange, side }) => `${from}${side === null ? "" : `.${side}`} (${exchange})`).join(", ");
  print(
    table(
      [
        { title: "CHAIN", of: (row) => String(row.chain), align: "right" },
        { title: "OPERATOR", of: (row) => row.uid },
        { title: "KIND", of: (row) => row.kind },
        { title: "SUBTASKS", of: (row) => String(row.subtasks), align: "right" },
        { title: "READS", of: inputsOf, shrink: true },
      ],
      rows,
      styleFor(process.stdout),
    ),
  );
}

/** What restarts with a lost executor, and why. */
function failoverLines({ parts, restarts }: FailoverRegions, parallelism: number): string[] {
  if (parallelism === 1) return ["A lost executor restarts the job: it has no other."];
  if (restarts === "slice")
    return [
      `A lost executor restarts alone: nothing goes from one to another, so the other ${parallelism === 2 ? "one goes" : `${parallelism - 1} go`} on.`,
    ];
  const joined = parts.flatMap(({ joinedBy }) =>
    joinedBy === null
      ? []
      : [
          `A lost executor restarts all ${parallelism}: '${joinedBy.to}' reads '${joinedBy.from}' from every one of them (${joinedBy.exchange}).`,
        ],
  );
  const apart = parts.flatMap(({ operators, joinedBy }) =>
    joinedBy !== null
      ? []
      : [`Nothing goes from one to another in ${operators.join(", ")}; they restart with the others, on the same executors.`],
  );
  return [...joined, ...apart];
}

function printGuarantees(paths: readonly PathGuarantee[]): void {
  print(
    table(
      [
        { title: "FROM", of: (row) => row.source },
        { title: "TO", of: (row) => row.sink },
        { title: "GUARANTEE", of: (row) => row.guarantee },
        { title: "BECAUSE OF", of: ({ limit }) => (limit === null ? "" : `${limit.operator}: ${limit.reason}`), shrink: true },
      ],
      paths,
      styleFor(process.stdout),
    ),
  );
}
