/**
 * Conversation executor <-> driver. The executor connects to its driver; the driver judges its life by this connection.
 *
 * Rules:
 *   1. `try` numbers the runs of the job within one driver attempt, from 1; messages of another try are stale and ignored.
 *   2. Executor i of the deployment runs subtask i of every vertex. Splits are pulled, so a fast executor takes more of them.
 *   3. An executor without its driver for `driverDeadlineMs` ends itself.
 */
import { z } from "zod";
import { checkpointId, sliceSnapshot, stateHandle } from "./checkpoint.js";
import { errorShape } from "./envelope.js";
import { idText } from "./ids.js";
import { progress } from "./progress.js";

export const executorToDriver = {
  "executor.register": z.object({
    processId: idText,
    pid: z.number().int().positive(),
    dataAddress: z.string().max(256),
    graphHash: z.string(),
  }),
  /** Request; the answer has a split (JSON) or null when the source has no more. */
  "executor.split": z.object({
    try: z.number().int().positive(),
    source: z.string(),
    /** Counts the asks of this executor for this source from 1: the same number again gets the same answer (a link broke in between). */
    ask: z.number().int().positive(),
  }),
  "executor.progress": z.object({ try: z.number().int().positive(), progress }),
  /** Records of `collect` sinks, bounded; request, so that a slow driver slows the sink. */
  "executor.collected": z.object({
    try: z.number().int().positive(),
    sink: z.string(),
    /** Counts the batches of this executor for this sink from 1: the same number again is not added twice. */
    batch: z.number().int().positive(),
    records: z.array(z.unknown()),
  }),
  "executor.done": z.object({
    try: z.number().int().positive(),
    committables: z.record(z.string(), z.array(z.unknown())),
    progress,
  }),
  /** Its part of a checkpoint is durable, or (`snapshot` null) could not be made so. */
  "executor.checkpointed": z.object({
    try: z.number().int().positive(),
    id: checkpointId,
    snapshot: sliceSnapshot.nullable(),
    error: errorShape.nullable(),
  }),
  "executor.failed": z.object({ try: z.number().int().positive(), error: errorShape }),
  /** The slice of this try has stopped and left nothing open. */
  "executor.cancelled": z.object({ try: z.number().int().positive() }),
} as const;

/**
 * `readers`: how many subtasks read the source now; a rate limit is shared between them. `position`: where in the split to begin; absent: at its start. `more`: splits
 * are left that nobody was given.
 */
export const splitReply = z.object({
  split: z.unknown().nullable(),
  position: z.unknown().optional(),
  readers: z.number().int().nonnegative(),
  more: z.boolean(),
});

export const driverToExecutor = {
  "executor.registered": z.object({ driverDeadlineMs: z.number().int().positive(), heartbeatMs: z.number().int().positive() }),
  "executor.deploy": z.object({
    try: z.number().int().positive(),
    subtask: z.number().int().nonnegative(),
    parallelism: z.number().int().positive(),
    /** Data addresses of all executors by subtask. */
    peers: z.array(z.object({ processId: idText, dataAddress: z.string() })),
    /** Where the job keeps checkpoints; absent: it takes none. */
    storage: z.string().max(4096).optional(),
    /** The checkpoint from which the try goes on; absent: from the start. */
    restore: z.object({ id: checkpointId, manifest: stateHandle }).optional(),
  }),
  /**
   * begin: take this checkpoint; all before it are over, and what belongs to `completed` and before is committed or will be. abort: it and all before it
   * are over. May be repeated.
   */
  "executor.checkpoint": z.object({
    try: z.number().int().positive(),
    id: checkpointId,
    order: z.enum(["begin", "abort"]),
    /** Of this try; 0: none. */
    completed: z.number().int().nonnegative(),
  }),
  /** Another number of subtasks reads the source than the last split said, or its last split was given out. */
  "executor.readers": z.object({
    try: z.number().int().positive(),
    source: z.string(),
    readers: z.number().int().nonnegative(),
    more: z.boolean(),
  }),
  "executor.cancel": z.object({ try: z.number().int().positive() }),
  /** Nothing more to do: end. */
  "executor.finish": z.object({ reason: z.string() }),
} as const;
