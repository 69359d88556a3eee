/**
 * Checkpoints as they are kept and told: settings, handles of blobs, the pointer in an application's record, and the manifest that it names.
 *
 * Rules:
 *   1. Records hold handles only. A handle names bytes by their sha-256 in `state/<application>/` of the storage that the record names.
 *   2. A manifest is complete: with it and the blobs that it names a try goes on. It is read back by other versions, so it has its own.
 *   3. Ids are safe integers that only grow, per application; `nextId` of the record is above every id that may have been used.
 */
import { z } from "zod";
import { errorShape } from "./envelope.js";
import { idText, submissionKey } from "./ids.js";

export const checkpointId = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);

/** Completed ones that are kept, the newest among them, unless the job says otherwise. */
export const RETAINED_CHECKPOINTS = 3;
/** An executor that has not heard of the newest one yet builds on the one before it, so that one's blobs are still needed. */
export const MIN_RETAINED_CHECKPOINTS = 2;
export const MAX_RETAINED_CHECKPOINTS = 16;
/** Subtasks that are told of a completed checkpoint: of a job with more, those that took longest. */
export const MAX_SUBTASKS_TOLD = 32;
/** Checkpoints that were given up and are told, the newest. */
export const MAX_FAILED_TOLD = 8;
/** Checkpoints and savepoints that somebody asked for and that are not there yet. */
export const MAX_CHECKPOINT_REQUESTS = 8;
/** Of those that are settled the newest are remembered, so that who asked hears of it after any failover. */
export const MAX_CHECKPOINT_ANSWERS = 16;
/** Pieces of output that wait for the end of the job: the manifest names each of them. */
export const MAX_CARRIED = 100_000;

export const checkpointSettings = z.object({
  intervalMs: z.number().int().min(10).max(86_400_000),
  /** Between the end of one and the beginning of the next. */
  minPauseMs: z.number().int().nonnegative().max(86_400_000),
  /** One that is not complete by then is given up. */
  timeoutMs: z.number().int().positive().max(86_400_000),
  /** So many in a row may fail; one more fails the try. Null: any number. */
  toleratedFailures: z.number().int().nonnegative().max(1_000_000).nullable(),
  /** The completed ones stay after the end of the application, until it is forgotten. Absent: they go with it. */
  retain: z.boolean().optional(),
  /** Completed ones that are kept while the job runs; absent: RETAINED_CHECKPOINTS. */
  history: z.number().int().min(MIN_RETAINED_CHECKPOINTS).max(MAX_RETAINED_CHECKPOINTS).optional(),
});
export type CheckpointSettings = z.infer<typeof checkpointSettings>;

export const stateHandle = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.number().int().nonnegative(),
});
export type StateHandle = z.infer<typeof stateHandle>;

/** A savepoint, by where its files are and what its description has to be. */
export const savepointReference = z.object({
  /** A directory that every process of the job reaches under this path. */
  directory: z.string().min(1).max(4096),
  /** Of its description, `savepoint.json`: another one in that place is not taken for it. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** Operators that the job does not have (any more) may have left state in it. */
  allowDropped: z.boolean().optional(),
});
export type SavepointReference = z.infer<typeof savepointReference>;

/** restored: what a job begins with, made from a savepoint. */
export const checkpointTrigger = z.enum(["periodic", "on-demand", "savepoint", "restored"]);
export type CheckpointTrigger = z.infer<typeof checkpointTrigger>;

/** What one executor had to do for a checkpoint. */
export const subtaskCheckpoint = z.object({
  subtask: z.number().int().nonnegative(),
  stateBytes: z.number().nonnegative(),
  /** From the driver's order to its answer. */
  durationMs: z.number().nonnegative(),
  /** From the first barrier at one of its inputs to the last: so long some input waited. */
  alignmentMs: z.number().nonnegative(),
});
export type SubtaskCheckpoint = z.infer<typeof subtaskCheckpoint>;

export const completedCheckpoint = z.object({
  id: checkpointId,
  attempt: z.number().int().positive(),
  try: z.number().int().positive(),
  manifest: stateHandle,
  /** Of all blobs together, the manifest among them. */
  sizeBytes: z.number().int().nonnegative(),
  /** Wall time of the driver. */
  completedAt: z.number(),
  durationMs: z.number().nonnegative(),
  records: z.object({ in: z.number(), out: z.number() }),
  /** Absent: periodic. */
  trigger: checkpointTrigger.optional(),
  /** The longest of all executors. */
  alignmentMs: z.number().nonnegative().optional(),
  subtasks: z.array(subtaskCheckpoint).max(MAX_SUBTASKS_TOLD).optional(),
});
export type CompletedCheckpoint = z.infer<typeof completedCheckpoint>;

export const failedCheckpoint = z.object({
  id: checkpointId,
  trigger: checkpointTrigger,
  failedAt: z.number(),
  durationMs: z.number().nonnegative(),
  reason: z.string().max(1_000),
});
export type FailedCheckpoint = z.infer<typeof failedCheckpoint>;

/** Somebody wants one now. `key` names the wish: told twice it is one. */
export const checkpointRequest = z.object({
  key: submissionKey,
  requestedAt: z.number(),
  /** Null: a checkpoint like others. */
  savepoint: z
    .object({
      /** Where a directory of its own is made for it; null: beside the state, in the masters' storage. */
      directory: z.string().min(1).max(4096).nullable(),
      /** The job ends with it, exactly there. */
      stop: z.boolean(),
    })
    .nullable(),
});
export type CheckpointRequest = z.infer<typeof checkpointRequest>;

export const writtenSavepoint = z.object({
  directory: z.string().max(4096),
  /** Of its description. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.number().int().nonnegative(),
});
export type WrittenSavepoint = z.infer<typeof writtenSavepoint>;

export const checkpointAnswer = z.object({
  key: submissionKey,
  answeredAt: z.number(),
  /** Null: it came to none. */
  checkpoint: checkpointId.nullable(),
  savepoint: writtenSavepoint.nullable(),
  error: errorShape.nullable(),
});
export type CheckpointAnswer = z.infer<typeof checkpointAnswer>;

/** What an application's record says of its checkpoints. */
export const checkpointsRecord = z.object({
  /** Directory that every process of the job has to reach under this path. */
  storage: z.string().max(4096),
  nextId: checkpointId,
  /** The savepoint that the job begins from, as long as no checkpoint of its own is complete. */
  from: savepointReference.optional(),
  /** Oldest first; how many are kept: `retainedOf`. */
  completed: z.array(completedCheckpoint).max(MAX_RETAINED_CHECKPOINTS),
  /** Oldest first. */
  failed: z.array(failedCheckpoint).max(MAX_FAILED_TOLD).optional(),
  requests: z.array(checkpointRequest).max(MAX_CHECKPOINT_REQUESTS).optional(),
  answers: z.array(checkpointAnswer).max(MAX_CHECKPOINT_ANSWERS).optional(),
});
export type CheckpointsRecord = z.infer<typeof checkpointsRecord>;

export const retainedOf = (settings: CheckpointSettings | undefined): number => settings?.history ?? RETAINED_CHECKPOINTS;

/** Parts of the state of one executor's subtasks. */
export const slicePart = z.object({
  /** Vertices whose subtask had ended; all: the executor had reported the end of its slice. */
  finished: z.union([z.array(z.string()), z.literal("all")]),
  /** By operator: blobs of its keyed state. */
  states: z.record(z.string(), z.array(stateHandle)),
  /** By sink: what its writer has to know to go on. */
  writers: z.record(z.string(), z.unknown()),
  /**
   * By vertex whose subtask had not ended: how far event time had come, in milliseconds since 1970; null: nothing was known. In a manifest it is the least of all
   * its subtasks, so that it holds whoever reads which split, and owns which keys, afterwards.
   */
  watermarks: z.record(z.string(), z.number().nullable()).optional(),
  /** Operators whose blobs hold entries of other subtasks, too (the job was rescaled): only those of own key groups are taken. */
  spread: z.array(z.string()).optional(),
});
export type SlicePart = z.infer<typeof slicePart>;

export const operatorCounts = z.object({ uid: z.string(), kind: z.string(), in: z.number(), out: z.number() });
export const checkpointCounts = z.object({
  recordsIn: z.number(),
  recordsOut: z.number(),
  badRecords: z.number(),
  operators: z.array(operatorCounts).max(1024),
});
export type CheckpointCounts = z.infer<typeof checkpointCounts>;

/** Splits of a source that an executor was given so far in this try, and those of them (from 0, in that order) that are not read to their end, with where it stands. */
export const sourceMark = z.object({
  taken: z.number().int().nonnegative(),
  reading: z.array(z.object({ nth: z.number().int().nonnegative(), position: z.unknown() })),
});
export type SourceMark = z.infer<typeof sourceMark>;

/** What one executor says of its part of a checkpoint. */
export const sliceSnapshot = slicePart.extend({
  /** By source. */
  sources: z.record(z.string(), sourceMark),
  /** By sink: everything that was staged and is in no completed checkpoint that this executor was told of. */
  committables: z.record(z.string(), z.array(z.unknown())),
  /** The newest completed checkpoint that it was told of: what that one and earlier ones held is not told again. */
  confirmed: z.number().int().nonnegative(),
  counts: checkpointCounts,
  /** From the first barrier to the last, of the operator that waited longest. Absent: not measured. */
  alignmentMs: z.number().nonnegative().optional(),
});
export type SliceSnapshot = z.infer<typeof sliceSnapshot>;

/** Something that a sink staged in the try of that name. */
const staged = z.object({ attempt: z.string(), committable: z.unknown() });
export const stagedBySink = z.record(z.string(), z.array(staged));
export type StagedBySink = z.infer<typeof stagedBySink>;

const split = z.looseObject({ id: z.string(), sizeHint: z.number() });

export const checkpointManifest = z.object({
  version: z.literal(1),
  applicationId: idText,
  id: checkpointId,
  /** Name of the try. */
  attempt: z.string(),
  graphHash: z.string(),
  /** By executor. */
  slices: z.array(slicePart),
  sources: z.record(
    z.string(),
    z.object({
      subtasks: z.number().int().positive(),
      totalRecords: z.number().nullable(),
      /** What is still to be read, of some from a position on. */
      remaining: z.array(z.object({ split, position: z.unknown() })),
    }),
  ),
  /** Becomes visible with this checkpoint ... */
  commit: stagedBySink,
  /** ... or with the end of the job. */
  carried: stagedBySink,
  counts: checkpointCounts,
});
export type CheckpointManifest = z.infer<typeof checkpointManifest>;

/** `savepoint.json` of a savepoint's directory. Names of files are relative to it. */
export const savepointDescription = z.object({
  version: z.literal(1),
  kind: z.literal("holdfast-savepoint"),
  /** `id` of defineJob. */
  jobId: z.string(),
  takenAt: z.string(),
  maxParallelism: z.number().int().positive(),
  operators: z.array(
    z.object({
      ...{ uid: z.string(), kind: z.string(), subtasks: z.number().int().positive(), vertex: z.string() },
      /** Kinds of its declared states, by name. */
      states: z.record(z.string(), z.string()).optional(),
    }),
  ),
  files: z.array(z.object({ name: z.string().regex(/^state\/[0-9a-f]{64}$/), sha256: z.string(), sizeBytes: z.number() })),
  manifest: checkpointManifest,
});
export type SavepointDescription = z.infer<typeof savepointDescription>;
