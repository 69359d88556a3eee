/**
 * What a driver does itself with the sources and sinks of its job: enumerate, begin, commit, clean up. The records are the executors' affair.
 *
 * Boundary: connectors in, JSON out; which try, and when, is decided by the driver's core.
 */
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { TargetJob } from "../../checkpoint/compatibility.js";
import type { SinkConnector, SourceConnector } from "../../dataflow/connector.js";
import type { Log } from "../../env/log.js";
import { isUpTo } from "../../job/driver-events.js";
import type { EnumeratedSource } from "../../job/splits.js";
import type { CommitManifest } from "../../wire/application.js";
import type { CheckpointManifest } from "../../wire/checkpoint.js";

interface Placed<C> {
  readonly connector: C;
  /** Subtasks of the operator. */
  readonly parallelism: number;
}

/** By the uid of the operator. */
export interface JobInputs {
  readonly sources: ReadonlyMap<string, Placed<SourceConnector<unknown>>>;
  readonly sinks: ReadonlyMap<string, Placed<SinkConnector<unknown>>>;
  /** The job as a savepoint sees it. Absent: it has none. */
  readonly target?: TargetJob;
  /** By `collect` sink: the most records of all subtasks together. */
  readonly collectLimits?: ReadonlyMap<string, number>;
}

export interface InputsOptions {
  readonly job: JobInputs;
  readonly applicationId: string;
  /** Of this driver. */
  readonly attempt: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Rejects with SOURCE_FAILED or SINK_FAILED. `keep`: tries whose staged output is still needed. */
export async function prepareTry(
  options: InputsOptions,
  attempt: string,
  keep: ReadonlySet<string> = new Set(),
): Promise<EnumeratedSource[]> {
  await removeLeftovers(options, attempt, keep);
  const { sources, sinks } = options.job;
  const begun = Promise.all([...sinks].map(([uid, sink]) => beginSink(options, uid, sink, attempt)));
  const enumerated = Promise.all([...sources].map(([uid, source]) => enumerate(options, uid, source)));
  const [, result] = await Promise.all([begun, enumerated]);
  return result;
}

/** Sources that a savepoint does not know, as a manifest has them: all of them is still to be read. */
export async function enumerateNew(options: InputsOptions, known: ReadonlySet<string>): Promise<CheckpointManifest["sources"]> {
  const added = [...options.job.sources].filter(([uid]) => !known.has(uid));
  const all = await Promise.all(added.map(([uid, source]) => enumerate(options, uid, source)));
  return Object.fromEntries(
    all.map(({ uid, subtasks, totalRecords, splits }) => [
      uid,
      { subtasks, totalRecords, remaining: splits.map((split) => ({ split: { ...split }, position: null })) },
    ]),
  );
}

/** The same for a try that goes on from a checkpoint: its sources go on, and so do sinks of which something is visible already. */
export async function prepareRestoredTry(options: InputsOptions, attempt: string, keep: ReadonlySet<string>): Promise<void> {
  await removeLeftovers(options, attempt, keep);
  const hidden = [...options.job.sinks].filter(([, { connector }]) => connector.appears !== "at-checkpoint");
  await Promise.all(hidden.map(([uid, sink]) => beginSink(options, uid, sink, attempt)));
}

/** Rejects with SINK_FAILED; may be repeated. */
export async function commitSinks(options: InputsOptions, manifest: CommitManifest, attempt: string): Promise<void> {
  const commits = Object.entries(manifest.sinks).map(([uid, committables]) =>
    commitOne(options, uid, committables as JsonValue[], { attempt, again: false }),
  );
  const outcomes = await Promise.allSettled(commits);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

export async function commitOne(
  { applicationId, job }: InputsOptions,
  uid: string,
  committables: readonly JsonValue[],
  { attempt, again }: { readonly attempt: string; readonly again: boolean },
): Promise<void> {
  const sink = job.sinks.get(uid);
  if (sink === undefined) throw new CodedError("SINK_FAILED", `The commit names the sink ${uid}, which the job does not have.`);
  const { connector, parallelism } = sink;
  try {
    await connector.commit(committables, { applicationId, attempt, parallelism, ...(again ? { again } : {}) });
  } catch (thrown) {
    throw named(thrown, "SINK_FAILED", `The sink ${uid} could not commit`);
  }
}

/** Leftovers cost space, not correctness: what can't be removed is logged. False: of some sink that is so. */
export async function removeLeftovers(
  options: InputsOptions,
  keepAttempt: string | null,
  keep: ReadonlySet<string> = new Set(),
): Promise<boolean> {
  const { applicationId, attempt, job, log } = options;
  const removals = [...job.sinks].map(async ([uid, { connector }]) => {
    try {
      const needed = [...keep];
      await connector.cleanUp({ applicationId, keepAttempt, needed, isOver: (name) => isUpTo(attempt, name) && !keep.has(name) });
      return true;
    } catch (thrown) {
      log.warn("leftovers of a sink could not be removed", {
        app: applicationId,
        sink: uid,
        reason: CodedError.from(thrown).message,
      });
      return false;
    }
  });
  return (await Promise.all(removals)).every((isClean) => isClean);
}

async function beginSink(
  options: InputsOptions,
  uid: string,
  sink: Placed<SinkConnector<unknown>>,
  attempt: string,
): Promise<void> {
  const { applicationId, signal } = options;
  try {
    await sink.connector.begin?.({ applicationId, attempt, parallelism: sink.parallelism, signal });
  } catch (thrown) {
    throw named(thrown, "SINK_FAILED", `The sink ${uid} could not begin`);
  }
}

async function enumerate(options: InputsOptions, uid: string, source: Placed<SourceConnector<unknown>>): Promise<EnumeratedSource> {
  try {
    const { connector, parallelism } = source;
    const { splits, totalRecords } = await connector.enumerate({ parallelism, signal: options.signal });
    return { uid, subtasks: parallelism, splits, totalRecords, isEndless: !connector.bounded };
  } catch (thrown) {
    throw named(thrown, "SOURCE_FAILED", `The source ${uid} could not be read`);
  }
}

/** Errors of connectors name path and cause; others, of users' own connectors, get the operator's name put before. */
function named(thrown: unknown, code: "SOURCE_FAILED" | "SINK_FAILED", what: string): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const cause = CodedError.from(thrown, code);
  return new CodedError(code, `${what}: ${cause.message}`, { cause: thrown });
}
