/**
 * From a job file to an application's spec: bundled and planned here, in the user's own process tree, so that mistakes in a job are told
 * before anything is submitted. User code runs only in the planner's child process.
 */
import path from "node:path";
import type { JobSettings as PlannedJob } from "../../api/settings.js";
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { JobGraph } from "../../dataflow/graph.js";
import { bundleJob, type JobBundle } from "../../node/planning/bundle.js";
import { openPlanner, type Plan } from "../../node/planning/plan-in-child.js";
import type { ApplicationSpec, Resources, RestartPolicy } from "../../wire/application.js";
import { type CheckpointInterval, checkGuarantee, checkpointsOf } from "../checkpoint-option.js";
import type { HeadStart } from "./head-start.js";
import { type BeginsFrom, beginFrom } from "./savepoint-option.js";

export interface JobSettings {
  readonly params: Readonly<Record<string, JsonValue>>;
  /** Null: the job's own, or `defaultParallelism`. */
  readonly parallelism: number | null;
  readonly name: string | null;
  readonly deployMode: "cluster" | "client";
  readonly supervise: boolean;
  readonly restart: RestartPolicy;
  readonly onPartition?: ApplicationSpec["onPartition"];
  /** A savepoint's directory, as it was given. Absent: the job begins with its input. */
  readonly from?: string;
  readonly allowDroppedState?: boolean;
  /** Absent: as the job says. */
  readonly checkpointInterval?: CheckpointInterval;
  /** They stay after the job's end. Needs a job that takes some. */
  readonly retainCheckpoints?: boolean;
  readonly driver: Resources;
  readonly executor: Resources;
}

export interface PreparedJob {
  readonly bundle: JobBundle;
  readonly plan: Plan;
  readonly spec: ApplicationSpec;
  /** Null: its input. */
  readonly from: BeginsFrom | null;
}

export const DEFAULT_PARALLELISM = 1;

export interface PrepareOptions {
  /** Of what was begun before, the planner is taken. */
  readonly headStart?: HeadStart | null;
  /** What can be done with the bundle while it is planned. */
  readonly onBundle?: (bundle: JobBundle) => Promise<void>;
  /** For looking at a job only: also one that promises less than it asks for. */
  readonly evenWithLessGuarantee?: boolean;
}

/** Rejects with NOT_FOUND, BUNDLE_FAILED, INVALID_JOB, INVALID_PARAMS, PLAN_FAILED, GUARANTEE_UNSUPPORTED or the signal's reason. */
export async function prepareJob(
  file: string,
  settings: JobSettings,
  signal: AbortSignal,
  options: PrepareOptions = {},
): Promise<PreparedJob> {
  // The planner starts while esbuild works: both take about as long.
  const planner = options.headStart?.takePlanner() ?? openPlanner();
  try {
    const bundle = await bundleJob(file);
    const handedOn = options.onBundle?.(bundle);
    handedOn?.catch(() => {});
    const plan = await planner.plan({ bundle: bundle.bytes, fileName: path.basename(file), params: settings.params, signal });
    await handedOn;
    const spec = jobSpecOf(settings, bundle, plan);
    if (options.evenWithLessGuarantee !== true)
      checkGuarantee(plan.graph, spec.job?.checkpoint !== undefined, plan.settings.checkpoint as PlannedJob["checkpoint"]);
    return withSavepoint(settings, plan, { bundle, plan, spec, from: null });
  } finally {
    planner.close();
  }
}

/** Rejects with SAVEPOINT_UNREADABLE or SAVEPOINT_MISMATCH: before anything is submitted. */
async function withSavepoint(settings: JobSettings, { graph }: Plan, prepared: PreparedJob): Promise<PreparedJob> {
  const { job } = prepared.spec;
  if (settings.from === undefined || job === null) return prepared;
  if (job.checkpoint === undefined)
    throw new CodedError("INVALID_ARGUMENT", "A job that begins from a savepoint takes checkpoints, and this one takes none.", {
      hint: "Add --checkpoint-interval 10s, or `checkpoint` in defineJob.",
    });
  const { allowDroppedState = false } = settings;
  const from = await beginFrom(settings.from, graph, job.parallelism, { allowDroppedState });
  return { ...prepared, from, spec: { ...prepared.spec, job: { ...job, from: from.reference } } };
}

/** Only then does it matter where a job is submitted from: the same job with absolute paths is the same everywhere. */
function hasRelativePath({ operators }: JobGraph): boolean {
  return operators.some(({ config }) => {
    const paths =
      (config as { readonly descriptor?: { readonly path?: string | readonly string[] } } | null)?.descriptor?.path ?? [];
    return [paths].flat().some((each) => !path.isAbsolute(each));
  });
}

function jobSpecOf(settings: JobSettings, bundle: JobBundle, plan: Plan): ApplicationSpec {
  const parallelism = settings.parallelism ?? plan.settings.parallelism ?? DEFAULT_PARALLELISM;
  if (parallelism > plan.graph.maxParallelism) {
    throw new CodedError(
      "INVALID_ARGUMENT",
      `--parallelism ${parallelism} is above the job's maximum of ${plan.graph.maxParallelism}.`,
      {
        hint: "State is spread over so many key groups; ask for less.",
      },
    );
  }
  const checkpoint = checkpointsOf(
    plan.graph,
    settings.checkpointInterval ?? null,
    plan.settings.checkpoint as PlannedJob["checkpoint"],
  );
  if (checkpoint === null && settings.retainCheckpoints === true)
    throw new CodedError("INVALID_ARGUMENT", `--retain-checkpoints: job '${plan.graph.jobId}' takes no checkpoints.`, {
      hint: "Give --checkpoint-interval, or `checkpoint` in defineJob.",
    });
  return {
    name: (settings.name ?? plan.graph.jobId).slice(0, 128),
    kind: "job",
    deployMode: settings.deployMode,
    supervise: settings.supervise,
    restart: settings.restart,
    ...(settings.onPartition === undefined ? {} : { onPartition: settings.onPartition }),
    driver: settings.driver,
    job: {
      artifact: bundle.sha256,
      graphHash: plan.graph.hash,
      params: plan.params,
      ...(hasRelativePath(plan.graph) ? { baseDir: process.cwd() } : {}),
      // Relative paths mean on the cluster what they mean here.
      baseDir: process.cwd(),
      parallelism,
      executor: {
        cores: plan.settings.cores ?? settings.executor.cores,
        memoryBytes: plan.settings.memoryBytes ?? settings.executor.memoryBytes,
      },
      ...(checkpoint === null
        ? {}
        : { checkpoint: { ...checkpoint, ...(settings.retainCheckpoints === true ? { retain: true } : {}) } }),
    },
    process: null,
  };
}
