/**
 * A submitted job, loaded in a driver or an executor: its bundle checked by hash, imported and planned again.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import type { BuiltJob } from "../../api/built.js";
import { planJob } from "../../api/plan.js";
import type { RestartSettings } from "../../api/settings.js";
import { CodedError } from "../../base/errors.js";
import { placedOperators } from "../../checkpoint/compatibility.js";
import { createSink, createSource } from "../../connectors/index.js";
import { executionPlan } from "../../dataflow/chains.js";
import { checkpointObstacle } from "../../dataflow/checkpoint-support.js";
import type { StateStore } from "../../env/blob-store.js";
import { sinkConnectorOf, sinksOf, sourceConnectorOf, sourcesOf } from "../../executor/run/connectors-of.js";
import type { ConnectorFactory } from "../../executor/run/slice.js";
import type { JobInputs } from "../../host/job/driver-inputs.js";
import type { RestartStrategy } from "../../job/restart-strategy.js";
import { openStateStore } from "../../node/storage.js";
import type { ApplicationRecord } from "../../wire/application.js";
import { checkpointUnsupported } from "../checkpoint-option.js";
import type { InputsThread } from "./runner-inputs-thread.js";

export interface LoadedJob {
  readonly built: BuiltJob;
  readonly restart: RestartStrategy | null;
  readonly parallelism: number;
  /** What relative paths are relative to. */
  readonly baseDir: string;
  readonly takesCheckpoints: boolean;
  readonly state: "memory" | "disk";
}

const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Rejects with ARTIFACT_CORRUPT, INVALID_JOB, INVALID_PARAMS, PLAN_FAILED. */
export async function loadJob(application: ApplicationRecord, artifactPath: string): Promise<LoadedJob> {
  const { job } = application.spec;
  if (job === null) throw new CodedError("INVALID_JOB", `${application.id} is not a job, but a process application`);
  await checkArtifact(artifactPath, job.artifact);
  const module = await importBundle(artifactPath);
  const { built, settings } = await planJob(module.default, job.params, { sha256Hex, verify: false });
  return {
    built,
    restart: strategyOf(settings.restart),
    parallelism: job.parallelism,
    baseDir: job.baseDir ?? process.cwd(),
    takesCheckpoints: job.checkpoint !== undefined,
    state: settings.state,
  };
}

/** Throws GRAPH_MISMATCH when this process built another graph than the one that was submitted. An executor's is judged by its driver. */
export function checkGraph({ built }: LoadedJob, { spec: { job } }: ApplicationRecord): void {
  if (job === null || built.graph.hash === job.graphHash) return;
  throw new CodedError("GRAPH_MISMATCH", `The driver built the job graph ${built.graph.hash}, submitted was ${job.graphHash}.`, {
    hint: "The graph depends on the clock, on chance, on the environment or on the machine: let `build` depend on its params only.",
  });
}

async function checkArtifact(file: string, sha256: string): Promise<void> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (thrown) {
    throw new CodedError("ARTIFACT_CORRUPT", `the job bundle ${file} can't be read: ${CodedError.from(thrown).message}`, {
      cause: thrown,
    });
  }
  const found = sha256Hex(bytes);
  if (found !== sha256)
    throw new CodedError("ARTIFACT_CORRUPT", `the job bundle ${file} has the sha-256 ${found}, submitted was ${sha256}`);
}

async function importBundle(file: string): Promise<{ readonly default?: unknown }> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (thrown) {
    throw new CodedError("PLAN_FAILED", `the job bundle could not be loaded: ${CodedError.from(thrown).message}`, {
      cause: thrown,
    });
  }
}

function strategyOf(settings: RestartSettings | null): RestartStrategy | null {
  if (settings === null) return null;
  switch (settings.strategy) {
    case "none":
      return { kind: "none" };
    case "fixed-delay":
      return { kind: "fixed-delay", attempts: settings.attempts, delayMs: settings.delayMs };
    case "exponential": {
      const { minMs, maxMs, attempts, jitter } = settings;
      // A job that ran for ten times its longest wait has recovered.
      const resetAfterMs = Math.max(60_000, 10 * maxMs);
      return { kind: "exponential", initialMs: minMs, maxMs, multiplier: 2, resetAfterMs, attempts, jitter };
    }
    case "failure-rate": {
      const { failures, intervalMs, delayMs } = settings;
      return { kind: "failure-rate", failures, intervalMs, delayMs };
    }
  }
}

/** Throws CHECKPOINT_UNSUPPORTED when the submission asks for checkpoints that the job can't take. */
export function checkCheckpoints({ built, takesCheckpoints }: LoadedJob): void {
  const obstacle = takesCheckpoints ? checkpointObstacle(built.graph) : null;
  if (obstacle !== null) throw checkpointUnsupported(built.graph.jobId, obstacle);
}

/** Built-in connectors, with paths relative to where the job was submitted from. */
export function connectorsOf({ baseDir, built, takesCheckpoints }: LoadedJob): ConnectorFactory {
  const parts = built.graph.bounded ? "at-end" : "at-checkpoint";
  return {
    source: (descriptor) => createSource(descriptor, { baseDir }),
    sink: (descriptor) => createSink(descriptor, { baseDir, ...(takesCheckpoints ? { parts } : {}) }),
  };
}

/** The state of the application in the masters' storage; opened once, and again after it could not be. */
export function stateOpener({ id, bundleFolder, spec: { job } }: ApplicationRecord): (storage: string) => Promise<StateStore> {
  let opened: Promise<StateStore> | null = null;
  return (storage) => {
    const bundle = { bundle: job?.artifact ?? "", ...(bundleFolder === undefined ? {} : { bundleFolder }) };
    opened ??= openStateStore({ storage, applicationId: id, ...bundle });
    const opening = opened;
    opening.catch(() => {
      if (opened === opening) opened = null;
    });
    return opening;
  };
}

/** The connectors that the driver itself works with; with `own` those of the job's own code from there. */
export function inputsOf(loaded: LoadedJob, own?: InputsThread): JobInputs {
  const { built, parallelism } = loaded;
  const factory = connectorsOf(loaded);
  const { vertices } = executionPlan(built.graph, parallelism);
  const subtasks = new Map(
    vertices.flatMap((vertex) => vertex.operators.map((operator) => [operator.uid, vertex.parallelism] as const)),
  );
  const place = <C>(uid: string, connector: C) => ({ connector, parallelism: subtasks.get(uid) ?? parallelism });
  const isOwn = (uid: string) => (built.functions.get(uid) as { readonly custom?: unknown } | undefined)?.custom != null;
  const sources = sourcesOf(built).map((uid) => {
    const connector = sourceConnectorOf(built, uid, factory);
    return [uid, place(uid, own !== undefined && isOwn(uid) ? own.source(uid, connector.bounded) : connector)] as const;
  });
  const sinks = sinksOf(built).flatMap((uid) => {
    const connector = sinkConnectorOf(built, uid, factory);
    if (connector === null) return [];
    return [[uid, place(uid, own !== undefined && isOwn(uid) ? own.sink(uid, connector) : connector)] as const];
  });
  const collectLimits = built.graph.operators.flatMap(({ uid, kind, config }) => {
    const limit = kind === "sink" ? (config as { readonly maxRecords?: number }).maxRecords : undefined;
    return limit === undefined ? [] : [[uid, limit] as const];
  });
  const { jobId, maxParallelism } = built.graph;
  const target = { jobId, maxParallelism, operators: placedOperators(vertices) };
  return { sources: new Map(sources), sinks: new Map(sinks), target, collectLimits: new Map(collectLimits) };
}
