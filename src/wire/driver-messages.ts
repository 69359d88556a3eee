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
import { applicationRecord, commitManifest, failureNotes } from "./application.js";
import {
  checkpointAnswer,
  checkpointId,
  checkpointRequest,
  completedCheckpoint,
  failedCheckpoint,
  MAX_CHECKPOINT_ANSWERS,
} from "./checkpoint.js";
import { errorShape, type MessageTable } from "./envelope.js";
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
  /** The try of an earlier driver attempt goes on under this one, on the executors that run it. For people: lost with its master. */
  "driver.took-over": z.object({ try: z.string().max(64), executors: z.number().int().positive() }),
  "driver.progress": progress,
  /** What its restart strategies have counted; the last one counts. Lost with a master only if the driver is lost with it: it is told again at a registration. */
  "driver.failures": failureNotes,
  /** A try goes on from a checkpoint: counters go back, and whoever watches is told. `recordsBack` null: an earlier driver had read them. */
  "driver.restored": z.object({
    try: z.string().max(64),
    checkpoint: checkpointId,
    recordsIn: z.number().nonnegative(),
    recordsBack: z.number().nonnegative().nullable(),
    /** The only slice that does; absent: all do. */
    slice: z.number().int().nonnegative().optional(),
  }),
  /** A checkpoint was given up. For people only: lost with its master. */
  "driver.checkpoint-failed": failedCheckpoint,
  /** What became of requests; told again at a registration when the record still has them. */
  "driver.checkpoint-answers": z.object({ answers: z.array(checkpointAnswer).max(MAX_CHECKPOINT_ANSWERS) }),
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
  /**
   * Request. The driver ends after the answer. `failed` with `restart: true` asks to be started again by the restart policy; `parked`: only a person can say
   * what the job goes on from.
   */
  "driver.finished": z.object({
    outcome: z.enum(["finished", "failed", "cancelled", "parked"]),
    result: z.unknown(),
    reason: errorShape.nullable(),
    restart: z.boolean(),
    /** Something that its sinks staged is left, and it could not remove it in its time. Absent: nothing that it knows of. */
    leftovers: z.boolean().optional(),
  }),
} as const;

const isRequest = (kind: string): boolean => REQUESTS.has(kind);
const REQUESTS: ReadonlySet<string> = new Set(["driver.register", "driver.commit", "driver.checkpoint", "driver.finished"]);
const all = Object.entries(driverToMaster);
/** Of these nothing is answered; all others are requests. */
export const driverNotices: MessageTable = Object.fromEntries(all.filter(([kind]) => !isRequest(kind)));
export const driverRequests: MessageTable = Object.fromEntries(all.filter(([kind]) => isRequest(kind)));

export const driverRegistered = z.object({
  clusterId: z.string(),
  heartbeatMs: z.number().int().positive(),
  deadlineMs: z.number().int().positive(),
  application: applicationRecord,
  /** Executors of earlier attempts that still run. Whoever is registered takes them or gives them back. Absent: none. */
  former: z.array(idText).optional(),
});

export const masterToDriver = {
  /** State of its executors, after each change; `lost` also when their worker was declared lost. */
  "driver.executors": z.object({ executors: z.array(executorView) }),
  "driver.cancel": z.object({ reason: z.string() }),
  /** All that are open; with the registration they come in the record. */
  "driver.checkpoint-requests": z.object({ requests: z.array(checkpointRequest) }),
  "driver.superseded": z.object({ reason: z.string() }),
} as const;
