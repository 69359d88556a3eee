/**
 * Checkpoints as they are kept and told: settings, handles of blobs, the pointer in an application's record, and the manifest that it names.
 *
 * Rules:
 *   1. Records hold handles only. A handle names bytes by their sha-256 in `state/<application>/` of the storage that the record names.
 *   2. A manifest is complete: with it and the blobs that it names a try goes on. It is read back by other versions, so it has its own.
 *   3. Ids are safe integers that only grow, per application; `nextId` of the record is above every id that may have been used.
 */
import { z } from "zod";
import { idText } from "./ids.js";

export const checkpointId = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);

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
});
export type CheckpointSettings = z.infer<typeof checkpointSettings>;

/** Completed ones that are kept, the newest among them. */
export const RETAINED_CHECKPOINTS = 3;

export const stateHandle = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.number().int().nonnegative(),
});
export type StateHandle = z.infer<typeof stateHandle>;

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
});
export type CompletedCheckpoint = z.infer<typeof completedCheckpoint>;

/** What an application's record says of its checkpoints. */
export const checkpointsRecord = z.object({
  /** Directory that every process of the job has to reach under this path. */
  storage: z.string().max(4096),
  nextId: checkpointId,
  /** Oldest first, at most RETAINED_CHECKPOINTS. */
  completed: z.array(completedCheckpoint).max(RETAINED_CHECKPOINTS),
});
export type CheckpointsRecord = z.infer<typeof checkpointsRecord>;

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

/** What one executor says of its part of a checkpoint. */
export const sliceSnapshot = slicePart.extend({
  /** By source: splits that it was given so far in this try, and the position in the last of them; null: that one is read to its end. */
  sources: z.record(
    z.string(),
    z.object({ taken: z.number().int().nonnegative(), reading: z.object({ position: z.unknown() }).nullable() }),
  ),
  /** By sink: everything that was staged and is in no completed checkpoint that this executor was told of. */
  committables: z.record(z.string(), z.array(z.unknown())),
  /** The newest completed checkpoint that it was told of: what that one and earlier ones held is not told again. */
  confirmed: z.number().int().nonnegative(),
  counts: checkpointCounts,
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
