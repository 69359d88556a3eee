/** What the driver core is told (events), what it wants done (effects), and what it was started with (config). Data only. */
import type { ErrorShape } from "../base/errors.js";
import type { FailoverRegions } from "../dataflow/failover-regions.js";
import type { ApplicationRecord, CommitManifest } from "../wire/application.js";
import type {
  CheckpointManifest,
  CheckpointRequest,
  CompletedCheckpoint,
  SavepointReference,
  StagedBySink,
  StateHandle,
  WrittenSavepoint,
} from "../wire/checkpoint.js";
import type { driverToMaster, ExecutorView } from "../wire/driver-messages.js";
import type { BodyOf } from "../wire/envelope.js";
import type { driverToExecutor, executorToDriver } from "../wire/executor-messages.js";
import type { RestartRules } from "./restart-strategy.js";
import type { EnumeratedSource } from "./splits.js";

export interface DriverConfig {
  /** As of the start; the core follows what masters say of it later. */
  readonly application: ApplicationRecord;
  /** Of this driver; the record may already know of a later one. */
  readonly attempt: number;
  readonly pid: number;
  /** Where executors connect to. */
  readonly address: string;
  readonly graphHash: string;
  /** Why the job can't run in this process at all (its bundle is broken, its graph is another one); null: it can. */
  readonly broken: ErrorShape | null;
  /** Of a master that whoever started this process has seen; 0: none. */
  readonly highestEpoch: number;
  readonly restart: RestartRules;
  /** slice: one that fails restarts without the others (dataflow/failover-regions.ts). */
  readonly failover: FailoverRegions["restarts"];
  /** By `collect` sink: the most records of all subtasks together. Absent: bounded by their size only. */
  readonly collectLimits?: ReadonlyMap<string, number>;
  /** By sink, of a job with checkpoints: when its output becomes visible. Those that are not named: at the end. */
  readonly appears?: ReadonlyMap<string, "at-checkpoint" | "at-end">;
  readonly limits: DriverLimits;
}

export interface DriverLimits {
  /** An executor without its driver for so long ends itself. */
  readonly driverDeadlineMs: number;
  readonly heartbeatMs: number;
  /** An executor whose connection broke may come back within this ... */
  readonly reconnectMs: number;
  /** ... or within this while its process is known to live: user code may keep its event loop busy for long. */
  readonly unresponsiveMs: number;
  /** An executor that has not stopped its slice by then is given up. */
  readonly cancelMs: number;
  readonly cleanUpMs: number;
  /** So long a job that is to end waits for the word how its lost executor ended. */
  readonly reasonMs: number;
  /** So long after its registration a driver waits for all executors of the attempt before to offer what they run. */
  readonly takeoverMs: number;
  readonly progressMs: number;
  /** Wait before a request that the master could not answer is sent again. */
  readonly retryMs: number;
  /** Repeats of the sinks' commit, each after `retryMs` times its number, before the driver asks to be started again. */
  readonly commitRepeats: number;
  /** Executors that ended one after the other before any of them connected; then the job fails. */
  readonly maxStartFailures: number;
}

export const DRIVER_LIMITS: DriverLimits = {
  driverDeadlineMs: 10_000,
  heartbeatMs: 1_000,
  reconnectMs: 3_000,
  unresponsiveMs: 600_000,
  cancelMs: 10_000,
  cleanUpMs: 5_000,
  reasonMs: 2_000,
  takeoverMs: 3_000,
  progressMs: 500,
  retryMs: 250,
  commitRepeats: 5,
  maxStartFailures: 5,
};

type FromExecutor<K extends keyof typeof executorToDriver> = BodyOf<typeof executorToDriver, K>;

/** `link` names the connection that it came by (Link.id). `epoch` is the leader's. */
export type DriverEvent =
  | { readonly kind: "started" }
  | { readonly kind: "wake-up" }
  /** cancel: the user's wish (client mode). quit: this process shall go, the application may go on elsewhere. */
  | { readonly kind: "stop"; readonly mode: "cancel" | "quit"; readonly reason: string }
  /** User code (of a source or sink) threw in this process where nobody could catch it: the process can't be trusted any more. */
  | { readonly kind: "crashed"; readonly error: ErrorShape }
  | { readonly kind: "master.found"; readonly link: number; readonly epoch: number }
  /** `former`: executors of earlier attempts that still run. */
  | {
      readonly kind: "master.registered";
      readonly link: number;
      readonly epoch: number;
      readonly application: ApplicationRecord;
      readonly former?: readonly string[];
    }
  | { readonly kind: "master.lost"; readonly link: number }
  | { readonly kind: "master.executors"; readonly epoch: number; readonly executors: readonly ExecutorView[] }
  | { readonly kind: "master.cancel"; readonly epoch: number; readonly reason: string }
  /** `finalState`: how the application has ended, when that is why. */
  | { readonly kind: "master.checkpoint-requests"; readonly epoch: number; readonly requests: readonly CheckpointRequest[] }
  | { readonly kind: "master.superseded"; readonly epoch: number; readonly reason: string; readonly finalState: string | null }
  /** `number`: of the request that it answers; an earlier one may have been sent twice. */
  | {
      readonly kind: "request.answered";
      readonly request: MasterRequest;
      readonly number: number;
      readonly error: ErrorShape | null;
    }
  | ({ readonly kind: "executor.registered"; readonly link: number } & FromExecutor<"executor.register">)
  | { readonly kind: "executor.unlinked"; readonly link: number }
  /** The machine of an executor without connection takes connections for it: its process lives. */
  | { readonly kind: "executor.reachable"; readonly processId: string }
  /** Nobody listens at the executor's data address any more: the process is gone. */
  | { readonly kind: "executor.unreachable"; readonly processId: string }
  | ({ readonly kind: "executor.split"; readonly link: number; readonly requestId: number } & FromExecutor<"executor.split">)
  | ({
      readonly kind: "executor.collected";
      readonly link: number;
      readonly requestId: number;
    } & FromExecutor<"executor.collected">)
  | ({ readonly kind: "executor.progress"; readonly link: number } & FromExecutor<"executor.progress">)
  | ({ readonly kind: "executor.done"; readonly link: number } & FromExecutor<"executor.done">)
  | ({ readonly kind: "executor.checkpointed"; readonly link: number } & FromExecutor<"executor.checkpointed">)
  | ({ readonly kind: "executor.failed"; readonly link: number } & FromExecutor<"executor.failed">)
  | ({ readonly kind: "executor.cancelled"; readonly link: number } & FromExecutor<"executor.cancelled">)
  | {
      readonly kind: "prepared";
      readonly try: number;
      /** For a try that runs already. */
      readonly runs?: boolean;
      readonly sources: readonly EnumeratedSource[];
      /** Of the checkpoint that was asked for; what it makes visible is visible. */
      readonly restored?: Pick<CheckpointManifest, "carried" | "counts" | "commit" | "attempt">;
    }
  | { readonly kind: "prepare.failed"; readonly try: number; readonly runs?: boolean; readonly error: ErrorShape }
  | { readonly kind: "manifest.stored"; readonly id: number; readonly manifest: StateHandle }
  | { readonly kind: "manifest.failed"; readonly id: number; readonly error: ErrorShape }
  | { readonly kind: "checkpoint.committed"; readonly id: number }
  | { readonly kind: "checkpoint.commit-failed"; readonly id: number; readonly error: ErrorShape }
  | { readonly kind: "savepoint.written"; readonly id: number; readonly savepoint: WrittenSavepoint }
  | { readonly kind: "savepoint.failed"; readonly id: number; readonly error: ErrorShape }
  | {
      readonly kind: "savepoint.restored";
      readonly id: number;
      readonly manifest: CheckpointManifest;
      readonly handle: StateHandle;
    }
  | { readonly kind: "savepoint.restore-failed"; readonly id: number; readonly error: ErrorShape }
  | { readonly kind: "sinks.committed" }
  | { readonly kind: "sinks.commit-failed"; readonly error: ErrorShape }
  | { readonly kind: "cleaned" /** Of some sink it could not be removed. Absent: no. */; readonly leftovers?: boolean };

export type EventOf<K extends DriverEvent["kind"]> = Extract<DriverEvent, { kind: K }>;

export type MasterRequest = "driver.commit" | "driver.checkpoint" | "driver.finished";

type MasterNotice =
  | "driver.executors"
  | "driver.progress"
  | "driver.failures"
  | "driver.restored"
  | "driver.took-over"
  | "driver.checkpoint-failed"
  | "driver.checkpoint-answers";

type ToExecutor = {
  [K in keyof typeof driverToExecutor]: { readonly message: K; readonly body: BodyOf<typeof driverToExecutor, K> };
}[keyof typeof driverToExecutor];
type ToMaster = {
  [K in MasterNotice]: { readonly message: K; readonly body: BodyOf<typeof driverToMaster, K> };
}[MasterNotice];
export type RequestToMaster = {
  [K in MasterRequest]: { readonly message: K; readonly body: BodyOf<typeof driverToMaster, K> };
}[MasterRequest];

export type DriverEffect =
  /** A request on the link; its answer comes as `master.registered` or `master.superseded`, everything else as `master.lost`. */
  | { readonly kind: "register"; readonly link: number; readonly body: BodyOf<typeof driverToMaster, "driver.register"> }
  | ({ readonly kind: "tell-master" } & ToMaster)
  | ({ readonly kind: "request"; readonly number: number } & RequestToMaster)
  /** The master's epoch is lower than one seen before: leave it, look for the leader. */
  | { readonly kind: "leave-master"; readonly link: number; readonly reason: string }
  | ({ readonly kind: "tell-executor"; readonly link: number } & ToExecutor)
  | { readonly kind: "reply"; readonly link: number; readonly requestId: number; readonly body: unknown }
  | { readonly kind: "refuse"; readonly link: number; readonly requestId: number; readonly error: ErrorShape }
  /** Is anybody still listening there? Ask until refused (`executor.unreachable`), until it has connected again, or for `forMs`. */
  | { readonly kind: "probe"; readonly processId: string; readonly address: string; readonly forMs: number }
  /** Remove the leftovers of earlier tries and driver attempts, enumerate the sources, begin the sinks for this try. */
  | {
      readonly kind: "prepare";
      readonly try: number;
      readonly attempt: string;
      /** Of a job with checkpoints: it has to be reachable. */
      readonly storage?: string;
      /** The checkpoint to go on from: what it is to make visible is committed first, and its sources are read on instead of enumerated. */
      readonly restore?: CompletedCheckpoint;
      /** The try runs already: nothing is removed, no sink begins. */
      readonly runs?: boolean;
      /** Tries whose staged output is still needed. */
      readonly keep: readonly string[];
    }
  /** `checkpoint`: it holds what is to be committed, too. */
  | {
      readonly kind: "commit-sinks";
      readonly manifest: CommitManifest;
      readonly attempt: string;
      readonly checkpoint?: StoredCheckpoint;
    }
  /** Make it durable; `manifest.stored` or `manifest.failed` follows. */
  | { readonly kind: "store-manifest"; readonly storage: string; readonly manifest: CheckpointManifest }
  /** What a completed checkpoint makes visible; `checkpoint.committed` or `checkpoint.commit-failed` follows. */
  | {
      readonly kind: "commit-checkpoint";
      readonly id: number;
      readonly sinks: StagedBySink;
      readonly attempt: string;
      readonly again: boolean;
    }
  /** Copy all that a completed checkpoint refers to; `savepoint.written` or `savepoint.failed` follows. `directory` null: beside the state. */
  | {
      readonly kind: "write-savepoint";
      readonly storage: string;
      readonly pointer: CompletedCheckpoint;
      readonly directory: string | null;
    }
  /** Make the first checkpoint of the job of a savepoint; `savepoint.restored` or `savepoint.restore-failed` follows. */
  | {
      readonly kind: "restore-savepoint";
      readonly id: number;
      readonly attempt: string;
      readonly storage: string;
      readonly from: SavepointReference;
    }
  /** No record names them any more: remove their blobs. */
  | {
      readonly kind: "drop-checkpoints";
      readonly storage: string;
      readonly dropped: readonly CompletedCheckpoint[];
      readonly kept: readonly CompletedCheckpoint[];
    }
  /** Remove what is older than all of these and referred to by none of them: left by drivers that died, and by checkpoints that were given up. */
  | { readonly kind: "sweep-checkpoints"; readonly storage: string; readonly live: readonly CompletedCheckpoint[] }
  /** The application's end is recorded: remove everything that was staged, and its state unless it is to be retained. */
  | { readonly kind: "forget-checkpoints"; readonly storage: string; readonly retain: boolean }
  /** Remove what the tries of this driver attempt, and of earlier ones, left behind and was never committed; but of those that are kept. */
  | { readonly kind: "clean-up"; readonly keep: readonly string[] }
  | { readonly kind: "log"; readonly level: "info" | "warn" | "error"; readonly message: string; readonly fields: LogFacts }
  /** The last effect. Connections are to be flushed before the process exits. */
  | { readonly kind: "end"; readonly ending: Ending };

export interface StoredCheckpoint {
  readonly storage: string;
  readonly pointer: CompletedCheckpoint;
}

export type LogFacts = Readonly<Record<string, string | number | boolean | null>>;

export interface Ending {
  readonly outcome: "finished" | "failed" | "cancelled" | "parked" | "quit" | "superseded";
  readonly reason: ErrorShape | null;
  readonly result: unknown;
  /** Ask the master to start another driver attempt. */
  readonly restart: boolean;
}

/** How sinks and user code know one try of an application. */
export const attemptName = (attempt: number, tryNumber: number): string => `${attempt}.${tryNumber}`;

/** Whether the named try belongs to this driver attempt or an earlier one. A name of another form is nobody's. */
export function isUpTo(attempt: number, name: string): boolean {
  const match = /^([0-9]+)\.[0-9]+$/.exec(name);
  return match !== null && Number(match[1]) <= attempt;
}
