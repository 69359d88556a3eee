/**
 * Conversation executor <-> driver. The executor connects to its driver; the driver judges its life by this connection.
 *
 * Rules:
 *   1. `try` numbers the runs of the job within one driver attempt, from 1; messages of another try are stale and ignored.
 *   2. Executor i of the deployment runs subtask i of every vertex. Splits are pulled, so a fast executor takes more of them.
 *   3. An executor without its driver for `driverDeadlineMs` ends itself. A slice that takes checkpoints goes on meanwhile, for the next driver attempt.
 *   4. An executor obeys the driver of the highest attempt that has answered its registration, and no earlier one any more. The attempt of a driver is that of its process
 *      id, which its handshake proves, so every message carries it.
 *   5. A driver answers the registration of an executor that an earlier attempt had started when it knows what it does with it: until then nothing is asked of it.
 */
import { z } from "zod";
import { checkpointCounts, checkpointId, sliceSnapshot, sourceMark, stateHandle } from "./checkpoint.js";
import { errorShape } from "./envelope.js";
import { idText } from "./ids.js";
import { progress } from "./progress.js";

/** Splits of a source that an executor remembers, the newest: one that was given more since its last checkpoint can't be taken over. */
export const MAX_OFFERED_SPLITS = 10_000;

const deployOrder = z.object({
  try: z.number().int().positive(),
  /** Of the try, for what is staged; absent: of the executor's own driver attempt. */
  name: z.string().max(64).optional(),
  subtask: z.number().int().nonnegative(),
  parallelism: z.number().int().positive(),
  /** Data addresses of all executors by subtask. */
  peers: z.array(z.object({ processId: idText, dataAddress: z.string() })),
  /** Where the job keeps checkpoints; absent: it takes none. */
  storage: z.string().max(4096).optional(),
  /** The checkpoint from which the try goes on; absent: from the start. `counts`: of that checkpoint. */
  restore: z.object({ id: checkpointId, manifest: stateHandle, counts: checkpointCounts.optional() }).optional(),
});

/** A slice that goes on without its driver: all that the next one has to know to take its try over (job/takeover.ts). */
export const offeredSlice = z.object({
  /** Of the driver attempt that last answered this executor. */
  driver: z.number().int().positive(),
  order: deployOrder,
  isDone: z.boolean(),
  /** By source. `given`: splits that it was given, in order, behind the first `before` of them. */
  sources: z.record(
    z.string(),
    z.object({
      asks: z.number().int().nonnegative(),
      isEnded: z.boolean(),
      before: z.number().int().nonnegative(),
      given: z.array(z.unknown()).max(MAX_OFFERED_SPLITS),
    }),
  ),
  /** Checkpoints that may be the last complete one, and where its sources stood at each: the newest that it knows complete, and the newest it has taken. */
  marks: z.array(z.object({ id: checkpointId, sources: z.record(z.string(), sourceMark) })).max(2),
  /** Absent: nothing was counted yet. */
  progress: progress.optional(),
  /** The newest checkpoint of the try that it knows complete; 0: none. */
  confirmed: z.number().int().nonnegative(),
});
export type OfferedSlice = z.infer<typeof offeredSlice>;

export const executorToDriver = {
  "executor.register": z.object({
    processId: idText,
    pid: z.number().int().positive(),
    dataAddress: z.string().max(256),
    graphHash: z.string(),
    /** The newest try that it was ordered; absent: of an executor that does not tell. */
    try: z.number().int().nonnegative().optional(),
    /** To a driver that has not answered it yet; absent: there is nothing that could be taken over. */
    slice: offeredSlice.optional(),
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
  "executor.deploy": deployOrder,
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
