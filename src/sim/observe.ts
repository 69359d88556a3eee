/**
 * What checkers and coverage see of a run. Product code knows nothing of it: all of it is seen at the edges that the simulator owns (store, network,
 * launcher, log, clients, sinks).
 */
import type { AppliedCommit } from "../coordination/local-store.js";
import type { Transaction } from "../env/coordination-store.js";
import type { LogFields } from "../env/log.js";
import type { SliceOrder } from "../executor/core/executor-events.js";
import type { CheckpointOrder } from "../host/job/executor-host.js";
import type { ApplicationRecord, WorkerRecord } from "../wire/application.js";
import type { OperationInput, OperationOutput } from "../wire/operations.js";
import type { MasterState } from "../wire/views.js";
import type { PartsCommitSeen } from "./jobs/parts-world.js";
import type { SimProcess } from "./world.js";

export type RecordSeen =
  | { readonly kind: "application"; readonly id: string; readonly record: ApplicationRecord | null }
  | { readonly kind: "worker"; readonly id: string; readonly record: WorkerRecord | null };

/** One durable commit, in the order of the store. */
export interface CommitSeen extends AppliedCommit {
  readonly at: number;
  /** Who committed; null: nobody that the simulator knows. */
  readonly process: SimProcess | null;
  readonly records: readonly RecordSeen[];
}

export interface LogSeen {
  readonly at: number;
  readonly process: SimProcess;
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/** A process of an application. */
export interface LaunchedSeen {
  readonly processId: string;
  readonly applicationId: string;
  /** As its user has named it. */
  readonly applicationName: string;
  readonly attempt: number;
  readonly role: "driver" | "executor" | "program";
  readonly workerId: string;
  readonly incarnation: number;
  readonly machine: string;
  readonly cores: number;
  readonly memoryBytes: number;
  /** It must not run twice, and ends itself when no leader confirms its worker. */
  readonly isLeased: boolean;
  /** The worker process that launched it. */
  readonly launchedBy: SimProcess;
  readonly process: SimProcess;
  readonly startedAt: number;
}

export type EndedHow = "exit" | "killed" | "machine" | "lease";

export type ClientSeen =
  | { readonly kind: "submitting"; readonly key: string }
  | { readonly kind: "submitted"; readonly key: string; readonly id: string; readonly created: boolean }
  | { readonly kind: "cancelled"; readonly id: string; readonly state: string }
  /** `connection` changes when the client has another link or is another client. */
  | {
      readonly kind: "read";
      readonly id: string;
      readonly epoch: number;
      readonly version: number;
      readonly state: string;
      readonly attempt: number;
    };

export interface SinkCommitSeen {
  readonly at: number;
  readonly applicationId: string;
  /** `attempt.try` */
  readonly attempt: string;
  readonly committables: readonly unknown[];
  readonly process: SimProcess;
}

/** An executor begins its part of a try. */
export interface SliceStartSeen {
  readonly applicationId: string;
  /** `attempt.try` */
  readonly attempt: string;
  readonly order: SliceOrder;
  readonly process: SimProcess;
}

/** An executor was told of a checkpoint. */
export interface CheckpointOrderSeen {
  readonly applicationId: string;
  /** `attempt.try` */
  readonly attempt: string;
  readonly checkpoint: CheckpointOrder;
  readonly process: SimProcess;
}

export type OperatorInput = OperationInput<"drain"> | OperationInput<"gone"> | OperationInput<"removals">;

/** Everything optional: a checker names what it wants to see. Called in the middle of the event that made it. */
export interface Observer {
  /** A store that forgets began anew (recovery mode none). */
  storeReset?(process: SimProcess): void;
  committed?(commit: CommitSeen): void;
  /** A master asks its store for a commit; with the code of an error when it has ended badly, or `refused` by a guard. */
  commitBegun?(process: SimProcess, transaction: Transaction): void;
  commitEnded?(process: SimProcess, transaction: Transaction, error: string | null): void;
  masterState?(process: SimProcess, masterId: string, state: MasterState, epoch: number): void;
  logged?(entry: LogSeen): void;
  launched?(launched: LaunchedSeen): void;
  processEnded?(launched: LaunchedSeen, how: EndedHow): void;
  /** A worker goes on with what must not run twice, by what it was told or saw at that instant. */
  leaseConfirmed?(workerId: string, confirmedAt: number): void;
  frame?(from: SimProcess, to: SimProcess, kind: string, frame: Uint8Array): void;
  stopAsked?(launched: LaunchedSeen, askedBy: SimProcess, reason: string): void;
  client?(process: SimProcess, seen: ClientSeen): void;
  sinkCommitted?(commit: SinkCommitSeen): void;
  sinkCleaned?(applicationId: string, removedAttempts: readonly string[], process: SimProcess): void;
  /** Of jobs that take checkpoints. */
  stateRemoved?(applicationId: string, sha256: string, process: SimProcess): void;
  /** The storage lost its power, and so many blobs that were not synced. */
  stateLost?(count: number): void;
  partsCommitted?(seen: PartsCommitSeen): void;
  partRemoved?(applicationId: string, part: string, process: SimProcess): void;
  sliceStarted?(seen: SliceStartSeen): void;
  checkpointOrdered?(seen: CheckpointOrderSeen): void;
  /** What the leader says of its workers when all is over. */
  workersRead?(workers: OperationOutput<"workers">["workers"]): void;
  /** An operator's order was carried out. */
  operator?(name: "drain" | "gone" | "removals", input: OperatorInput): void;
  fault?(what: string, subject: string): void;
  faultEnded?(): void;
  /** After each event of the world. */
  stepped?(): void;
  /** The safety phase is over. Everything heals, but for what stays frozen. */
  calm?(frozen: readonly string[]): void;
  /** What was frozen heals. */
  thawed?(): void;
  /** The run is over, and everything was to be finished. */
  finished?(): void;
}

/** An invariant is broken. */
export class Violation extends Error {
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.name = "Violation";
    this.invariant = invariant;
  }
}
