/**
 * Conversation driver <-> master (the driver of a job; it has a connection of its own, by which the master judges it).
 *
 * Rules:
 *   1. Everything a driver says carries its application and attempt by the registration of its connection; a superseded attempt gets
 *      `driver.superseded` and ends itself.
 *   2. `wanted` is desired state: repeating it is harmless, the last one counts.
 *   3. `commit`, `checkpoint` and `finished` are requests: their reply comes after the record is durable.
 */
import { z } from "zod";
import { applicationRecord, commitManifest } from "./application.js";
import { checkpointId, completedCheckpoint } from "./checkpoint.js";
import { errorShape } from "./envelope.js";
import { idText } from "./ids.js";
import { progress } from "./progress.js";

export const EXECUTOR_STATES = ["waiting", "placed", "running", "ended", "lost"] as const;
export type ExecutorState = (typeof EXECUTOR_STATES)[number];

export const executorView = z.object({
  processId: idText,
  workerId: idText.nullable(),
  pid: z.number().int().nullable(),
  state: z.enum(EXECUTOR_STATES),
  reason: z.string().nullable(),
  /** Its worker drains: the driver changes over to others as soon as there are enough of them. */
  draining: z.boolean().optional(),
});
export type ExecutorView = z.infer<typeof executorView>;

export const driverToMaster = {
  /** Request. Answer: `driver.registered` body, or an error SUPERSEDED. */
  "driver.register": z.object({
    applicationId: idText,
    attempt: z.number().int().positive(),
    pid: z.number().int().positive(),
    /** Where its executors connect to. */
    address: z.string().max(256),
    highestEpoch: z.number().int().nonnegative(),
    /** As the driver knows it: recovery mode `none` rebuilds from it. */
    application: applicationRecord,
    wanted: z.number().int().nonnegative(),
    /** Executors connected to the driver right now. */
    executors: z.array(idText),
    /** Executors that a master has ordered, on these workers, and that are not connected (yet). Absent: of a driver that does not tell. */
    expected: z.array(z.object({ processId: idText, workerId: idText })).optional(),
    /** Executors the driver gave up or that ended: never hand them out again. */
    released: z.array(idText),
  }),
  /** How many executors it wants in all, and which it gives back. */
  "driver.executors": z.object({ wanted: z.number().int().nonnegative(), released: z.array(idText) }),
  "driver.progress": progress,
  /** Request. The decision to make the output visible; answer when durable, SUPERSEDED when another attempt is current. */
  "driver.commit": commitManifest,
  /**
   * Request. A checkpoint is complete once this is answered (`completed` null: ids are reserved only); SUPERSEDED when another attempt is current. Ids
   * below `nextId` may be used by this attempt, and by no later one.
   */
  "driver.checkpoint": z.object({
    attempt: z.number().int().positive(),
    nextId: checkpointId,
    completed: completedCheckpoint.nullable(),
  }),
  /** Request. The driver ends after the answer. `failed` with `restart: true` asks to be started again by the restart policy. */
  "driver.finished": z.object({
    outcome: z.enum(["finished", "failed", "cancelled"]),
    result: z.unknown(),
    reason: errorShape.nullable(),
    restart: z.boolean(),
  }),
} as const;

export const driverRegistered = z.object({
  clusterId: z.string(),
  heartbeatMs: z.number().int().positive(),
  deadlineMs: z.number().int().positive(),
  application: applicationRecord,
});

export const masterToDriver = {
  /** State of its executors, after each change; `lost` also when their worker was declared lost. */
  "driver.executors": z.object({ executors: z.array(executorView) }),
  "driver.cancel": z.object({ reason: z.string() }),
  "driver.superseded": z.object({ reason: z.string() }),
} as const;
