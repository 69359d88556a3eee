/**
 * What an application is: its spec (as submitted, never changed) and its record (what the master keeps of it, see records.ts).
 *
 * States:  submitted -> waiting -> running -> finished | failed | cancelled
 *          running -> restarting -> running                   (its driver ended and is to be started again)
 *          submitted: accepted; in client mode until its driver registers. Whatever has to be placed is waiting as soon as that is recorded.
 *          running -> parked -> waiting                       (a job that could only go on by a guess; a person decides: `resume`)
 * `finished`, `failed` and `cancelled` are final for ever (I8).
 */
import { z } from "zod";
import { checkpointAnswer, checkpointId, checkpointSettings, checkpointsRecord, savepointReference } from "./checkpoint.js";
import { errorShape } from "./envelope.js";
import { idText, submissionKey } from "./ids.js";

export const APPLICATION_STATES = [
  "submitted",
  "waiting",
  "running",
  "restarting",
  "parked",
  "finished",
  "failed",
  "cancelled",
] as const;
export type ApplicationState = (typeof APPLICATION_STATES)[number];
export const FINAL_STATES: ReadonlySet<ApplicationState> = new Set(["finished", "failed", "cancelled"]);
export const isFinal = (state: ApplicationState): boolean => FINAL_STATES.has(state);

/** A job's driver may ask for 0 cores: it only coordinates. */
export const resources = z.object({ cores: z.number().nonnegative().max(4096), memoryBytes: z.number().int().positive() });
export type Resources = z.infer<typeof resources>;

/** How often a driver (or a supervised program) may be started again. */
export const restartPolicy = z.object({
  maxRestarts: z.number().int().nonnegative(),
  windowMs: z.number().int().positive(),
  minBackoffMs: z.number().int().nonnegative(),
  maxBackoffMs: z.number().int().nonnegative(),
});
export type RestartPolicy = z.infer<typeof restartPolicy>;
export const DEFAULT_RESTART_POLICY: RestartPolicy = {
  maxRestarts: 10,
  windowMs: 600_000,
  minBackoffMs: 500,
  maxBackoffMs: 30_000,
};

export const MAX_PARALLELISM = 1024;
/** Of a restart strategy that looks at a span of time. */
export const MAX_COUNTED_FAILURES = 100;

export const jobSpec = z.object({
  /** sha-256 of the bundled module; its bytes were put to the blob store before. */
  artifact: z.string().regex(/^[0-9a-f]{64}$/),
  graphHash: z.string().regex(/^[0-9a-f]{64}$/),
  /** JSON, as given at the submission: every process that plans the job checks and converts them again. */
  params: z.unknown(),
  /** What relative paths of sources and sinks are relative to. Absent: the working directory of each process. */
  baseDir: z.string().max(4096).optional(),
  parallelism: z.number().int().min(1).max(MAX_PARALLELISM),
  /** Each executor is one slot. */
  executor: resources,
  /** Absent: the job takes no checkpoints. */
  checkpoint: checkpointSettings.optional(),
  /** What it begins from. Absent: its input. */
  from: savepointReference.optional(),
});

export const processSpec = z.object({
  argv: z.array(z.string().max(65_536)).min(1).max(1024),
  env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string().max(65_536)),
  cwd: z.string().max(4096).nullable(),
});

export const applicationSpec = z.object({
  name: z.string().min(1).max(128),
  kind: z.enum(["job", "process"]),
  /** client: the driver runs in the caller's process tree and registers by itself; the master never starts it. */
  deployMode: z.enum(["cluster", "client"]),
  supervise: z.boolean(),
  restart: restartPolicy,
  /** What its driver (or the program) does on a worker that no leader hears; absent: as `onPartitionOf` says. */
  onPartition: z.enum(["continue", "stop"]).optional(),
  /** What the driver (or the program) needs of a worker. */
  driver: resources,
  job: jobSpec.nullable(),
  process: processSpec.nullable(),
});
export type ApplicationSpec = z.infer<typeof applicationSpec>;

/**
 * On a worker that is cut off from a living leader: `continue` runs on, possibly beside a second one that was started elsewhere; `stop` has ended
 * before that may be started (wire/partition-lease.ts). A job is fenced by its attempt, so two of its drivers do no harm; two of a program may.
 */
export const onPartitionOf = (spec: Pick<ApplicationSpec, "kind" | "onPartition">): "continue" | "stop" =>
  spec.onPartition ?? (spec.kind === "job" ? "continue" : "stop");

/** What a driver attempt decided to make visible; durable before any output is (two-phase commit of sinks). */
export const commitManifest = z.object({
  attempt: z.number().int().positive(),
  /** The run of the job within that driver attempt; sinks know the two as `attempt.try`. Absent: 1. */
  try: z.number().int().positive().optional(),
  /** uid of the sink -> committables of all subtasks, in subtask order. */
  sinks: z.record(z.string(), z.array(z.unknown())),
  /** Read and written by that run: a job's last counts survive every process of it. Absent: an older driver. */
  records: z.object({ in: z.number(), out: z.number() }).optional(),
  /** The completed checkpoint that holds what sinks had staged before it and is to appear now, too. Absent: none does. */
  checkpoint: checkpointId.optional(),
  /** What a `collect` sink gave, bounded by MAX_RESULT_BYTES. */
  result: z.unknown(),
  /** The job ends with this savepoint. Absent: with its input. */
  stopped: checkpointAnswer.optional(),
});
export type CommitManifest = z.infer<typeof commitManifest>;
export const MAX_RESULT_BYTES = 256 * 1024;

const restartHistory = z.object({
  row: z.number().int().nonnegative(),
  /** Wall times. */
  lastFailureAt: z.number().nullable(),
  recent: z.array(z.number()).max(MAX_COUNTED_FAILURES),
});

/** What a job's restart strategies count: it outlives the driver that counted. */
export const failureNotes = z.object({
  lost: restartHistory,
  user: restartHistory,
  /** The failure that came last, and how often it came in a row. */
  loop: z.object({ signature: z.string().max(1024), times: z.number().int().positive(), lastAt: z.number() }).nullable(),
});
export type FailureNotes = z.infer<typeof failureNotes>;

/** What a person wants a parked job to go on from. */
export const resumeChoice = z.discriminatedUnion("kind", [
  /** A completed checkpoint of its history; those after it are given up. */
  z.object({ kind: z.literal("checkpoint"), id: checkpointId }),
  /** Its input, from the start. */
  z.object({ kind: z.literal("fresh") }),
  z.object({ kind: z.literal("savepoint"), savepoint: savepointReference }),
]);
export type ResumeChoice = z.infer<typeof resumeChoice>;

export const applicationRecord = z.object({
  id: idText,
  submissionKey,
  /** sha-256 of the canonical spec: the same key with another spec is refused (CONFLICT). */
  contentHash: z.string(),
  spec: applicationSpec,
  state: z.enum(APPLICATION_STATES),
  reason: errorShape.nullable(),
  /** Number of the current (or last) driver attempt; 0 before the first. */
  attempt: z.number().int().nonnegative(),
  /** Driver attempts after the first. */
  restarts: z.number().int().nonnegative(),
  /** Wall times of recent restarts, for the window of the restart policy; at most maxRestarts + 1. */
  restartedAt: z.array(z.number()),
  /** Wall time before which the next attempt is not started. */
  notBefore: z.number().nullable(),
  cancelRequested: z.boolean(),
  commit: commitManifest.nullable(),
  /** Of a job that takes them; absent: it doesn't, or the record is older than checkpoints. */
  checkpoints: checkpointsRecord.optional(),
  /**
   * What its sinks staged, and nobody is going to commit: to be removed by processes that do only that. Absent: nothing, or its driver has removed it.
   */
  leftovers: z
    .object({
      /** Such processes so far. */
      tries: z.number().int().nonnegative(),
      /** Where the last one was placed; null: none was. */
      workerId: idText.nullable(),
      /** Why no further one is started; null: it goes on. */
      error: errorShape.nullable(),
    })
    .optional(),
  /** Somebody wants it to be forgotten. */
  forget: z.boolean().optional(),
  /** Where in the storage the job's bundle lies; absent: among those of earlier releases. */
  bundleFolder: idText.optional(),
  /** Absent: no try of the job has failed. */
  failures: failureNotes.optional(),
  /** How it was resumed last, after that attempt had been parked. Absent: it never was. */
  resumed: z.object({ choice: resumeChoice, attempt: z.number().int().nonnegative() }).optional(),
  exitCode: z.number().int().nullable(),
  result: z.unknown(),
  submittedAt: z.number(),
  startedAt: z.number().nullable(),
  endedAt: z.number().nullable(),
  /** Where the current driver attempt was placed; null: not placed, or client mode. */
  driver: z.object({ workerId: idText, incarnation: z.number().int().positive() }).nullable(),
  /** Sequence in which it was submitted: FIFO order across failovers. */
  order: z.number().int().nonnegative(),
  /** Reasons of earlier attempts, newest last, at most MAX_ATTEMPT_REASONS. */
  attempts: z.array(
    z.object({
      attempt: z.number().int().positive(),
      workerId: z.string().nullable(),
      endedAt: z.number(),
      reason: errorShape.nullable(),
      exitCode: z.number().int().nullable(),
    }),
  ),
});
export type ApplicationRecord = z.infer<typeof applicationRecord>;
export const MAX_ATTEMPT_REASONS = 16;

/** The record of an application that has just been submitted: nothing has happened to it yet. */
export function submittedApplication(
  facts: Pick<
    ApplicationRecord,
    "id" | "submissionKey" | "contentHash" | "spec" | "submittedAt" | "order" | "checkpoints" | "bundleFolder"
  >,
): ApplicationRecord {
  return {
    ...facts,
    state: "submitted",
    reason: null,
    attempt: 0,
    restarts: 0,
    restartedAt: [],
    notBefore: null,
    cancelRequested: false,
    commit: null,
    exitCode: null,
    result: null,
    startedAt: null,
    endedAt: null,
    driver: null,
    attempts: [],
  };
}

/** The registrar's record of a worker. */
export const workerRecord = z.object({
  workerId: idText,
  incarnation: z.number().int().positive(),
  address: z.string().max(256),
  resources,
  state: z.enum(["alive", "draining", "lost", "gone"]),
  changedAt: z.number(),
  /** Of a draining one: wall time at which what still runs there is stopped; absent or null: it may finish. */
  drainUntil: z.number().nullable().optional(),
  /** Of one that is gone: its operator said that it never comes back, so its id is refused for ever. */
  retired: z.boolean().optional(),
});
export type WorkerRecord = z.infer<typeof workerRecord>;
