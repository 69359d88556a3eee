/**
 * Heartbeats are the link's own (host/link.ts): a link that is silent too long ends, and cores see only that.
 *
 * Conversation worker <-> master. The worker connects, registers with its whole inventory, and keeps one connection.
 *
 * Rules:
 *   1. One message carries registration and inventory; the master reconciles and never stops anything before it is committed.
 *   2. Reports are kept by the worker (durable: they are derived from what lies beside the logs) until `worker.acknowledge`.
 *   3. Orders name a process id, so that a repeated order is harmless: launching what runs, or stopping what has ended, is a no-op. But an executor that runs
 *      is told where its driver is by now (`driverAddress`, of the attempt in `application`).
 *   4. A worker that is stopped in order says so first (`leaving`), ends its processes, and says when nothing of it is left (`left`): it is `gone`
 *      at once instead of lost after the deadline. Its next process registers as the next incarnation.
 *   5. A lost incarnation may not come back: it gets `incarnation-over`, stops all its processes and registers as the next one. A worker whose
 *      operator said that it is gone gets `gone`, stops them and ends.
 */
import { z } from "zod";
import { applicationRecord, resources } from "./application.js";
import { idText } from "./ids.js";

export const MAX_INVENTORY = 20_000;
export const MAX_MASTERS_TOLD = 32;

export const processEnd = z.object({
  exitCode: z.number().int().nullable(),
  signal: z.string().nullable(),
  reason: z.string().nullable(),
});

export const launchRole = z.enum(["driver", "executor", "program"]);
/** In the facts of a master, 1: it keeps records of applications, so that nobody has to tell it of them. */
export const KEEPS_RECORDS = "keepsRecords";

export const processReport = z.object({
  processId: idText,
  pid: z.number().int().nonnegative(),
  resources,
  /** Null while it runs. */
  end: processEnd.nullable(),
  /** Absent: the worker is of an earlier release, and tells the application. */
  role: launchRole.optional(),
  /**
   * The application's record as of the launch: with recovery mode `none` a restarted master rebuilds from it. Null: the master keeps records
   * (KEEPS_RECORDS), and has no use for it; with many executors it would be nearly all of the message.
   */
  application: applicationRecord.nullable(),
});
export type ProcessReport = z.infer<typeof processReport>;

export const workerToMaster = {
  "worker.register": z.object({
    workerId: idText,
    incarnation: z.number().int().positive(),
    /** Where its own listener is reached (logs). */
    address: z.string().max(256),
    pid: z.number().int().positive(),
    resources,
    highestEpoch: z.number().int().nonnegative(),
    inventory: z.array(processReport).max(MAX_INVENTORY),
  }),
  /** A process started, failed to start, or ended. Acknowledged by process id when durable. */
  "worker.report": z.object({
    processId: idText,
    pid: z.number().int().nonnegative(),
    end: processEnd.nullable(),
    launchFailed: z.string().nullable(),
  }),
  /** It is being stopped by its operator, and its processes with it: what is supervised moves elsewhere. Said again after each registration. */
  "worker.leaving": z.object({}),
  /** Asks for a fresh lease of what must not run twice (partition-lease.ts); may be lost, the next one is a second later. */
  "worker.renew": z.object({ sequence: z.number().int().positive() }),
  /** The last word of this incarnation: nothing of it runs, all its ends were acknowledged. The master ends the link when that is durable. */
  "worker.left": z.object({}),
} as const;

/** Everything of the launch; a driver and an executor get their own part of it by a private file. */
export const launchOrder = z.object({
  processId: idText,
  role: launchRole,
  resources,
  application: applicationRecord,
  /** For executors: where their driver listens. Null when the driver is not known yet: the executor's worker gets it later. */
  driverAddress: z.string().max(256).nullable(),
  /** Key of the application's own connections (hex), derived from the cluster secret. Never the secret. */
  applicationKey: z.string().regex(/^[0-9a-f]{64}$/),
});
export type LaunchOrder = z.infer<typeof launchOrder>;

export const masterToWorker = {
  "worker.registered": z.object({
    clusterId: z.string(),
    /** Silence of the worker after which the master declares it lost. */
    deadlineMs: z.number().int().positive(),
    /** How old the leader's confirmation of this worker may be before what must not run twice is stopped. */
    leaseMs: z.number().int().positive(),
    heartbeatMs: z.number().int().positive(),
  }),
  "worker.refused": z.object({ reason: z.enum(["incarnation-over", "gone", "recovering"]), message: z.string() }),
  /** The leader has heard the renewal of this number. `masters`: addresses of all masters that it knows. */
  "worker.renewed": z.object({
    sequence: z.number().int().positive(),
    masters: z.array(z.string().max(256)).max(MAX_MASTERS_TOLD),
  }),
  "worker.launch": launchOrder,
  "worker.stop": z.object({ processId: idText, graceMs: z.number().int().nonnegative(), reason: z.string() }),
  /** The ends of these processes are durable: the worker may forget them. */
  "worker.acknowledge": z.object({ processIds: z.array(idText).max(MAX_INVENTORY) }),
} as const;
