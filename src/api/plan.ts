/**
 * Planning: from a job and its params to the job graph. The planner does it once for a submission, and every executor again from the same
 * bundle and the same raw params; the hash of the graph tells whether both are the same.
 *
 * Boundary: neutral; sha-256 is handed in. Nothing is opened, nothing runs but the user's `build` and the schema of the params.
 */
import { CodedError } from "../base/errors.js";
import { canonicalJson, type JsonValue } from "../base/json.js";
import type { JobGraph, OperatorSpec } from "../dataflow/graph.js";
import { GraphBuilder, planFailed } from "./builder.js";
import type { BuiltJob } from "./built.js";
import { firstDifference } from "./graph-difference.js";
import { checkJob, type Job, JobBuilder } from "./job.js";
import { plainPath } from "./plain-path.js";
import { withProbeModes } from "./probe-modes.js";
import { issueLines, type StandardSchemaV1 } from "./schema.js";
import { type JobSettings, settingsOf } from "./settings.js";
import { checkDiskState } from "./state-on-disk.js";

/** Key groups of a job: the most subtasks that its state can be spread over. */
export const MAX_PARALLELISM = 128;
const MAX_OPERATORS = 1_024;

export interface PlanOptions {
  readonly sha256Hex: (bytes: Uint8Array) => string;
  /** Builds a second time and compares, to catch graphs that depend on the clock or on chance. Default true; executors compare hashes instead. */
  readonly verify?: boolean;
  /** Runs the second build with the clock and chance changed, where the caller can do that. */
  readonly disturb?: (run: () => void) => void;
}

export interface PlannedJob {
  readonly graph: JobGraph;
  /** As the schema of the job gave them; what `build` was called with. */
  readonly params: unknown;
  readonly settings: JobSettings;
  /** Graph and functions, to run the job in this process. */
  readonly built: BuiltJob;
}

/**
 * Checks the params, builds the graph and hashes it. Rejects with INVALID_JOB (not a job, or used wrongly), INVALID_PARAMS (`details.issues`
 * lists each), PLAN_FAILED (`details.operator` names the operator).
 */
export async function planJob(job: unknown, rawParams: unknown, options: PlanOptions): Promise<PlannedJob> {
  checkJob(job);
  const settings = settingsOf(job);
  const params = await checkedParams(job, rawParams);
  const built = buildJob(job, params, options.sha256Hex);
  if (settings.state === "disk") checkDiskState(built);
  if (options.verify !== false) verifyRepeatable(job, params, built.graph, options);
  return { graph: built.graph, params, settings, built };
}

async function checkedParams(job: Job, raw: unknown): Promise<unknown> {
  if (job.params === null) return raw ?? {};
  const schema: StandardSchemaV1 | undefined = job.params;
  if (schema?.["~standard"] === undefined) {
    throw new CodedError("INVALID_JOB", `The params of job '${job.id}' are not a Standard Schema.`, {
      hint: "Give a schema of zod, valibot, arktype or another library that implements Standard Schema v1.",
    });
  }
  const result = await schema["~standard"].validate(raw ?? {});
  if (result.issues === undefined) return result.value;
  const issues = issueLines(result.issues);
  throw new CodedError("INVALID_PARAMS", `The params of job '${job.id}' are not valid: ${issues.join("; ")}`, {
    hint: "Give each with --param name=value.",
    details: { issues },
  });
}

function buildJob(job: Job, params: unknown, sha256Hex: PlanOptions["sha256Hex"]): BuiltJob {
  const builder = new GraphBuilder(job.id);
  let returned: unknown;
  try {
    returned = (job.build as (builder: JobBuilder, params: unknown) => unknown).call(job, new JobBuilder(builder), params);
  } catch (thrown) {
    if (thrown instanceof CodedError) throw thrown;
    const cause = thrown instanceof Error ? thrown : new Error(String(thrown));
    throw new CodedError("PLAN_FAILED", `The build function of job '${job.id}' failed: ${cause.message}`, {
      cause,
      details: { stack: cause.stack ?? null },
    });
  }
  builder.close();
  if (typeof (returned as { then?: unknown } | undefined)?.then === "function") {
    throw new CodedError("INVALID_JOB", `The build function of job '${job.id}' is async.`, {
      hint: "Build the graph synchronously; what has to be awaited belongs into params, sources or operators.",
    });
  }
  checkGraph(builder);
  const operators = withProbeModes(builder.operators, builder.edges);
  const body = {
    version: 1 as const,
    jobId: job.id,
    bounded: operators.every(
      (operator) => operator.kind !== "source" || (operator.config as { bounded?: boolean }).bounded === true,
    ),
    maxParallelism: MAX_PARALLELISM,
    operators,
    edges: builder.edges,
  };
  const hash = sha256Hex(new TextEncoder().encode(canonicalJson(body as unknown as JsonValue)));
  return { graph: { ...body, hash }, functions: builder.functions };
}

function checkGraph(builder: GraphBuilder): void {
  const { operators, edges, jobId } = builder;
  if (!operators.some((operator) => operator.kind === "source")) {
    throw new CodedError("PLAN_FAILED", `Job '${jobId}' has no source.`, { hint: "Start with job.from(uid, source)." });
  }
  if (!operators.some((operator) => operator.kind === "sink")) {
    throw new CodedError("PLAN_FAILED", `Job '${jobId}' has no sink.`, { hint: "End a stream with .to(uid, sink)." });
  }
  if (operators.length > MAX_OPERATORS) {
    throw new CodedError(
      "PLAN_FAILED",
      `Job '${jobId}' has ${operators.length} operators; at most ${MAX_OPERATORS} are allowed.`,
      {},
    );
  }
  const used = new Set(edges.map((edge) => edge.from));
  const unused: OperatorSpec | undefined = operators.find((operator) => operator.kind !== "sink" && !used.has(operator.uid));
  if (unused !== undefined) {
    throw planFailed(
      unused.uid,
      `(${unused.kind}) leads to no sink`,
      "End its stream with .to(uid, sink), or leave it out.",
      "no sink",
    );
  }
  checkOutputs(operators);
}

/** Two sinks at one place would replace each other's output, whatever their formats. */
function checkOutputs(operators: readonly OperatorSpec[]): void {
  const sinkAt = new Map<string, string>();
  for (const { uid, kind, config } of operators) {
    const path = kind === "sink" ? (config as { readonly descriptor?: { readonly path?: unknown } }).descriptor?.path : undefined;
    if (typeof path !== "string") continue;
    const place = plainPath(path);
    const other = sinkAt.get(place);
    if (other !== undefined) {
      throw planFailed(
        uid,
        `writes to ${path}, as the sink '${other}' does`,
        "Give each sink a path of its own; several streams become one output with union.",
        "same output",
      );
    }
    sinkAt.set(place, uid);
  }
}

function verifyRepeatable(job: Job, params: unknown, first: JobGraph, options: PlanOptions): void {
  let second = first;
  const run = () => {
    second = buildJob(job, params, options.sha256Hex).graph;
  };
  if (options.disturb === undefined) run();
  else options.disturb(run);
  if (second.hash === first.hash) return;
  const difference = firstDifference(first, second);
  throw new CodedError("PLAN_FAILED", `The graph of job '${job.id}' differs each time it is built: ${difference.text}.`, {
    hint: "A graph may depend on its params only, not on the clock, on chance or on the environment: pass what varies as a param.",
    details: { operator: difference.operator, problem: "not repeatable" },
  });
}
