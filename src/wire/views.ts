/** What users see: the shapes of `--json` (design.md 7.1). Stable: fields may be added, never removed or renamed. Times ISO 8601, sizes bytes, absent values null. */
import { z } from "zod";
import { APPLICATION_STATES } from "./application.js";
import { subtaskCheckpoint, writtenSavepoint } from "./checkpoint.js";
import { errorShape } from "./envelope.js";
import { progress } from "./progress.js";
import { removalsView } from "./registrar.js";

export const applicationView = z.object({
  id: z.string(),
  name: z.string(),
  kind: z.enum(["job", "process"]),
  state: z.enum(APPLICATION_STATES),
  reason: errorShape.nullable(),
  attempt: z.number(),
  restarts: z.number(),
  exitCode: z.number().nullable(),
  submittedAt: z.string(),
  startedAt: z.string().nullable(),
  endedAt: z.string().nullable(),
  driver: z.object({ worker: z.string().nullable(), pid: z.number().nullable(), state: z.string() }).nullable(),
  executors: z.array(
    z.object({ id: z.string(), worker: z.string().nullable(), pid: z.number().nullable(), state: z.string(), attempt: z.number() }),
  ),
  records: z.object({ in: z.number(), out: z.number() }).nullable(),
  checkpoint: z
    .object({
      id: z.number(),
      completedAt: z.string(),
      sizeBytes: z.number(),
      // Beyond design.md 7.1:
      durationMs: z.number(),
      /** Read and written by the job up to it. */
      records: z.object({ in: z.number(), out: z.number() }),
    })
    .nullable(),
  // Beyond design.md 7.1:
  result: z.unknown(),
  submissionKey: z.string(),
  progress: progress.nullable(),
  attempts: z.array(
    z.object({
      attempt: z.number(),
      worker: z.string().nullable(),
      endedAt: z.string(),
      reason: errorShape.nullable(),
      exitCode: z.number().nullable(),
    }),
  ),
});
export type ApplicationView = z.infer<typeof applicationView>;

export const checkpointsView = z.object({
  id: z.string(),
  state: z.enum(APPLICATION_STATES),
  /** Null: it takes none. */
  intervalMs: z.number().nullable(),
  retained: z.number(),
  storage: z.string().nullable(),
  /** Oldest first. */
  completed: z.array(
    z.object({
      id: z.number(),
      trigger: z.string(),
      completedAt: z.string(),
      sizeBytes: z.number(),
      durationMs: z.number(),
      alignmentMs: z.number().nullable(),
      records: z.object({ in: z.number(), out: z.number() }),
      /** Of a job with very many only those that took longest. */
      subtasks: z.array(subtaskCheckpoint),
    }),
  ),
  failed: z.array(
    z.object({ id: z.number(), trigger: z.string(), failedAt: z.string(), durationMs: z.number(), reason: z.string() }),
  ),
  /** Asked for and not settled. */
  requests: z.array(z.object({ key: z.string(), kind: z.enum(["checkpoint", "savepoint"]), requestedAt: z.string() })),
  answers: z.array(
    z.object({
      key: z.string(),
      answeredAt: z.string(),
      checkpoint: z.number().nullable(),
      savepoint: writtenSavepoint.nullable(),
      error: errorShape.nullable(),
    }),
  ),
  taking: progress.shape.checkpoint.unwrap().nullable(),
});
export type CheckpointsView = z.infer<typeof checkpointsView>;

export const applicationSummary = z.object({
  id: z.string(),
  name: z.string(),
  kind: z.enum(["job", "process"]),
  state: z.enum(APPLICATION_STATES),
  attempt: z.number(),
  restarts: z.number(),
  submittedAt: z.string(),
});

export const MASTER_STATES = ["STANDBY", "RECOVERING", "ALIVE"] as const;
export type MasterState = (typeof MASTER_STATES)[number];
export const masterView = z.object({
  id: z.string(),
  address: z.string(),
  pid: z.number(),
  state: z.enum(MASTER_STATES),
  /** Of the leader that it is or follows, or followed last; 0: of none yet. Null: it does not say. */
  epoch: z.number().nullable().default(null),
  /** Which build of Holdfast it runs, for people; null: it does not say. Nothing is decided by it. */
  build: z.string().nullable().default(null),
});
export type MasterView = z.infer<typeof masterView>;

/** A master that is known by its address, and did not answer the standby that was asked. What is not known of it is null. */
export const silentMasterView = z.object({
  address: z.string(),
  id: z.string().nullable(),
  pid: z.number().nullable(),
  epoch: z.number().nullable(),
});
export type SilentMasterView = z.infer<typeof silentMasterView>;

const leaderView = z.object({ id: z.string(), address: z.string(), pid: z.number() });

export const clusterView = z.object({
  clusterId: z.string(),
  epoch: z.number(),
  state: z.enum(MASTER_STATES),
  leader: leaderView.nullable(),
  /** Asked of a standby that hears no leader: since when, and who was the last. Null: the leader answers. */
  leaderless: z.object({ since: z.string(), last: leaderView.nullable() }).nullable().default(null),
  masters: z.array(masterView),
  silentMasters: z.array(silentMasterView).default([]),
  workers: z.object({ alive: z.number(), suspect: z.number(), lost: z.number(), draining: z.number(), gone: z.number() }),
  applications: z.object({ waiting: z.number(), running: z.number() }),
  recovery: z.object({ startedAt: z.string(), completedAt: z.string().nullable(), durationMs: z.number().nullable() }).nullable(),
  /** Null: asked of a standby that cannot reach the leader. */
  removals: removalsView.nullable().default(null),
  /** Records that could not be decoded, kept and shown. */
  quarantined: z.array(z.object({ key: z.string(), reason: z.string() })),
});
export type ClusterView = z.infer<typeof clusterView>;

export const WORKER_STATES = ["alive", "suspect", "lost", "draining", "gone"] as const;
export const workerView = z.object({
  id: z.string(),
  incarnation: z.number(),
  address: z.string(),
  pid: z.number(),
  state: z.enum(WORKER_STATES),
  cores: z.object({ total: z.number(), used: z.number() }),
  memoryBytes: z.object({ total: z.number(), used: z.number() }),
  lastHeardMs: z.number(),
  /** Processes that are counted on it. */
  processes: z.number().default(0),
  /** Past its deadline since then, and not lost only because removals wait. */
  overdueSince: z.string().nullable().default(null),
  /** While it drains: when what still runs there is stopped; `deadline` null: it may finish. */
  drain: z.object({ since: z.string(), deadline: z.string().nullable() }).nullable().default(null),
  /** Gone for good: its id is never taken again. */
  retired: z.boolean().default(false),
});
export type WorkerView = z.infer<typeof workerView>;

export const eventView = z.object({
  at: z.string(),
  epoch: z.number(),
  seq: z.number(),
  kind: z.string(),
  subject: z.string(),
  message: z.string(),
});
export type EventView = z.infer<typeof eventView>;
