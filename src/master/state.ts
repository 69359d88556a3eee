/**
 * The master's state: nouns, and the few functions through which every change of it goes.
 *
 * Invariants:
 *   1. Records change only through `changeApplication` and `changeWorker`, which mark them; the core writes what is marked at the end of
 *      the step, so every effect of the step follows a durable record.
 *   2. What runs on a worker is counted from the moment it is placed until its end is reported or its worker is lost (I11).
 */

import { assert } from "../base/assert.js";
import type { Now, Turn } from "../base/core.js";
import type { ErrorShape } from "../base/errors.js";
import { Capacity } from "../scheduler/capacity.js";
import type { ApplicationRecord, ApplicationState, Resources, WorkerRecord } from "../wire/application.js";
import type { ExecutorState } from "../wire/driver-messages.js";
import type { Role } from "../wire/envelope.js";
import type { Progress } from "../wire/progress.js";
import type { RemovalsRecord, RemovalsView } from "../wire/registrar.js";
import type { MasterView, MasterState as Phase } from "../wire/views.js";
import { Deadlines } from "./deadlines.js";
import type { LogFields, LogLevel, MasterEffect } from "./effects.js";
import type { EventHistory } from "./event-history.js";
import type { Quarantine } from "./quarantine.js";
import type { MasterSettings } from "./settings.js";

/**
 * The states of an application and where each may go; the last three are final for ever (I8).
 *
 *   submitted ---> waiting ---> running <---> restarting
 *       \-------------------------^ |            |
 *                                    v            v
 *               finished | failed | cancelled  (from anywhere before)
 */
const NEXT: Readonly<Record<ApplicationState, readonly ApplicationState[]>> = {
  submitted: ["waiting", "running", "failed", "cancelled"],
  waiting: ["running", "failed", "cancelled"],
  running: ["restarting", "parked", "finished", "failed", "cancelled"],
  restarting: ["running", "failed", "cancelled"],
  parked: ["waiting", "failed", "cancelled"],
  finished: [],
  failed: [],
  cancelled: [],
};

export interface Step {
  readonly now: Now;
  readonly turn: Turn<MasterEffect>;
}

/** How the driver (or program) of the current attempt is doing, as far as this leader knows. */
export interface DriverRun {
  readonly attempt: number;
  readonly processId: string;
  /** Null in client mode. */
  readonly workerId: string | null;
  linkId: number | null;
  /** Set once: it has been seen to run, by its worker or by its own registration. */
  seen: boolean;
  pid: number | null;
  address: string | null;
  /** When it counts as dead unless it registers; null while its link is open, and for programs. */
  deadlineAt: number | null;
  /** It answered a cancel, or its end is recorded. */
  finished: boolean;
  /** It has said the end itself, and removes what its sinks staged. */
  reported: boolean;
  /** It is being moved off a draining worker: its end is not a failure. */
  moving: boolean;
}

export interface Executor {
  readonly processId: string;
  workerId: string | null;
  pid: number | null;
  state: ExecutorState;
  reason: string | null;
}

export interface Application {
  readonly id: string;
  record: ApplicationRecord;
  driver: DriverRun | null;
  /** Of the current attempt, and of earlier ones those that it may take over. */
  executors: Map<string, Executor>;
  /** Executors that the driver asked for; null: not known since this leader was elected. */
  wanted: number | null;
  executorsMinted: number;
  /** Executors of this attempt that the driver gave back: a late report of one is answered with a stop. */
  released: Set<string>;
  progress: Progress | null;
  /** Worker of each process, of any attempt, that may be alive. */
  processes: Map<string, string>;
  /** The worker on which the last attempt ended badly: the next one goes elsewhere if it can. */
  avoid: string | null;
  /** Instant before which it is not placed. */
  readyAt: number;
  /** Instant before which no further attempt is started: of one that was rebuilt, whose newest attempt may not have been told of yet. */
  restartsFrom: number;
  queued: boolean;
  /** Version of the cluster's capacity for which it was found to fit or not (`possible`). */
  judgedAt: number;
  possible: boolean;
  /** When a cancelled driver that was asked politely gets a signal. */
  cancelAt: number | null;
  version: number;
  viewDueAt: number | null;
  viewSentAt: number;
  waiters: Waiter[];
  /** How far its forgetting has come; null: it is not to be forgotten. */
  forgetting: "waits" | "removes" | null;
}

export type ProcessRole = "driver" | "program" | "executor";

export interface PlacedProcess {
  readonly processId: string;
  readonly applicationId: string;
  readonly attempt: number;
  readonly role: ProcessRole;
  readonly resources: Resources;
  /** reserved: no order was sent. ordered: sent, nothing heard. expected: in the record of an earlier leader. running: reported. */
  phase: "reserved" | "ordered" | "expected" | "running";
  stopping: string | null;
}

export interface Worker {
  readonly id: string;
  record: WorkerRecord;
  /** Null: not connected (suspect). */
  linkId: number | null;
  pid: number;
  /** Whether it has told this leader what it runs. */
  attached: boolean;
  /** It has obeyed this leader, so it obeys no earlier one any more. */
  attachedOnce: boolean;
  /** It is being stopped: takes nothing more. Not recorded: its next registration is without it. */
  leaving: boolean;
  /** It drains, and its users have been told that nothing is left on it. */
  drained: boolean;
  /** When what is left on it is looked at next. */
  drainLookAt: number | null;
  heardAt: number;
  deadlineAt: number | null;
  processes: Map<string, PlacedProcess>;
}

export interface LinkState {
  readonly id: number;
  readonly role: Role;
  readonly peerId: string;
  readonly scope: string;
  workerId: string | null;
  /** Set when a driver has registered on it. */
  driver: { readonly applicationId: string; readonly attempt: number } | null;
  waiters: Set<Waiter>;
}

/** A long poll. */
export interface Waiter {
  readonly linkId: number;
  readonly requestId: number;
  readonly what:
    | { readonly kind: "status"; readonly applicationId: string }
    | { readonly kind: "events"; readonly after: { readonly epoch: number; readonly seq: number } | null; readonly limit: number };
  over: boolean;
}

export type DeadlineKind =
  | { readonly kind: "worker"; readonly id: string }
  | { readonly kind: "driver"; readonly id: string; readonly attempt: number }
  | { readonly kind: "ready"; readonly id: string }
  | { readonly kind: "cancel"; readonly id: string }
  | { readonly kind: "view"; readonly id: string }
  | { readonly kind: "clean-up"; readonly id: string; readonly processId: string }
  | { readonly kind: "forget"; readonly id: string }
  /** A driver whose end is recorded, and which should end by itself. */
  | { readonly kind: "linger"; readonly processId: string; readonly workerId: string }
  | { readonly kind: "waiter"; readonly waiter: Waiter }
  | { readonly kind: "recovery" }
  /** A limit of removals may no longer hold. */
  | { readonly kind: "removals" }
  /** A step so often that an absence of this leader shows (away.ts). */
  | { readonly kind: "pulse" }
  | { readonly kind: "drain"; readonly id: string }
  /** Of lost workers. */
  | { readonly kind: "sweep" }
  /** Events have waited long enough for a write. */
  | { readonly kind: "events" }
  | { readonly kind: "pass" };

export interface Recovery {
  readonly startedAt: number;
  readonly startedWall: number;
  completedWall: number | null;
  durationMs: number | null;
  readonly workers: Set<string>;
  readonly drivers: Set<string>;
  readonly applications: number;
  readonly recordedWorkers: number;
}

/** Workers past their deadline that wait to be declared lost (removals.ts). */
export interface Removals {
  held: boolean;
  /** With the wall time at which each began to wait, in that order. */
  readonly waiting: Map<string, number>;
  /** Those that the operator lets go whatever the limits say. */
  readonly allowed: Set<string>;
  /** Instants of the removals of the last minute. */
  readonly recent: number[];
  /** Those of them that have not come back. */
  readonly away: Map<string, number>;
  alert: { readonly since: number; readonly reason: NonNullable<RemovalsView["reason"]>; readonly lookAt: number | null } | null;
}

export type RecoveryMode = "none" | "store";

export interface Identity {
  readonly epoch: number;
  readonly masterId: string;
  readonly clusterId: string;
  readonly address: string;
  readonly pid: number;
  readonly build: string | null;
}

export interface MasterState {
  readonly self: Identity;
  readonly mode: RecoveryMode;
  readonly settings: MasterSettings;
  readonly contentHash: (canonicalSpec: string) => string;
  phase: Phase;
  recovery: Recovery;
  standbys: readonly MasterView[];
  readonly quarantine: Quarantine;
  readonly applications: Map<string, Application>;
  readonly byKey: Map<string, string>;
  readonly workers: Map<string, Worker>;
  readonly links: Map<number, LinkState>;
  /** Lost and gone workers, the one that went down first at the front. */
  readonly lost: Map<string, true>;
  /** Workers without a link that are neither lost nor gone. */
  readonly unlinked: Set<string>;
  readonly removals: Removals;
  /** Finished applications, the one that ended first at the front. */
  readonly finished: Map<string, true>;
  /** Applications by the bundle that they name (bundles.ts). */
  readonly byBundle: Map<string, Set<Application>>;
  /** Ids by the names of applications that were forgotten on somebody's wish. */
  readonly forgotten: Map<string, string>;
  /** Of this step: those that may need their bundle no longer. */
  readonly released: Set<Application>;
  readonly deadlines: Deadlines<DeadlineKind>;
  /** Instant of the last step, and of the end of this leader's last absence (away.ts). */
  steppedAt: number;
  judgedFrom: number;
  /** What workers that can take processes now have left. */
  readonly capacity: Capacity;
  /** Grows when a worker joins, leaves or changes: then verdicts about what can ever be placed are void. */
  capacityVersion: number;
  /** Applications that wait for workers, in the order of submission. */
  readonly queue: Application[];
  passWanted: boolean;
  passDueAt: number | null;
  passedAt: number;
  blocked: boolean;
  /** Applications that no worker could hold, in the last pass. */
  impossible: number;
  nextApplication: number;
  nextOrder: number;
  versions: number;
  readonly events: {
    readonly history: EventHistory;
    nextSeq: number;
    readonly waiters: Set<Waiter>;
    fresh: boolean;
    /** What waits for a write is to be written by itself. */
    isDue: boolean;
  };
  waiting: number;
  readonly marked: {
    readonly applications: Set<Application>;
    readonly workers: Set<Worker>;
    removals: RemovalsRecord | null;
    readonly deleted: Set<string>;
    readonly touched: Set<Application>;
    readonly views: Set<Application>;
  };
  /** Work cut off by MAX_STEP_CHANGES, continued in the next step. */
  backlog: Backlog[];
}

export type Backlog =
  | {
      readonly kind: "driver-worker-lost";
      readonly applicationId: string;
      readonly attempt: number;
      readonly workerId: string;
      /** Instant until which it may still run there: what must not run twice starts elsewhere only then. */
      readonly mayRunUntil: number;
    }
  | {
      readonly kind: "move-off";
      readonly applicationId: string;
      readonly attempt: number;
      readonly workerId: string;
      /** Also what is not supervised: the deadline of the drain has passed. */
      readonly isForced: boolean;
    }
  | { readonly kind: "cancel"; readonly applicationId: string };

export function changeApplication(state: MasterState, app: Application, change: Partial<ApplicationRecord>): void {
  const from = app.record.state;
  const to = change.state ?? from;
  assert(to === from || NEXT[from].includes(to), `${app.id} may not go from ${from} to ${to}`);
  app.record = { ...app.record, ...change };
  state.marked.applications.add(app);
  touch(state, app);
}

/** Its view has changed: those who wait for that are answered at the end of the step. */
export function touch(state: MasterState, app: Application): void {
  state.versions += 1;
  app.version = state.versions;
  if (app.waiters.length > 0) state.marked.touched.add(app);
}

export function changeWorker(state: MasterState, worker: Worker, change: Partial<WorkerRecord>): void {
  worker.record = { ...worker.record, ...change };
  state.marked.workers.add(worker);
}

export function log(state: MasterState, step: Step, level: LogLevel, message: string, fields: LogFields = {}): void {
  step.turn.effects.push({ kind: "log", level, message, fields: { epoch: state.self.epoch, ...fields } });
}

export function replyError(step: Step, linkId: number, requestId: number | null, error: ErrorShape): void {
  if (requestId !== null) step.turn.effects.push({ kind: "reply-error", linkId, requestId, error });
}

export function shape(code: ErrorShape["code"], message: string, hint: string | null = null): ErrorShape {
  return { code, message, hint };
}

export function newApplication(record: ApplicationRecord): Application {
  return {
    id: record.id,
    record,
    driver: null,
    executors: new Map(),
    wanted: null,
    executorsMinted: 0,
    released: new Set(),
    progress: null,
    processes: new Map(),
    avoid: null,
    readyAt: 0,
    restartsFrom: 0,
    queued: false,
    judgedAt: -1,
    possible: true,
    cancelAt: null,
    version: 0,
    viewDueAt: null,
    viewSentAt: Number.NEGATIVE_INFINITY,
    waiters: [],
    forgetting: null,
  };
}

export function createState(options: {
  readonly self: Identity;
  readonly mode: RecoveryMode;
  readonly settings: MasterSettings;
  readonly contentHash: (canonicalSpec: string) => string;
  readonly quarantine: Quarantine;
  readonly history: EventHistory;
}): MasterState {
  const { history, ...given } = options;
  return {
    ...given,
    phase: "RECOVERING",
    recovery: {
      startedAt: 0,
      startedWall: 0,
      completedWall: null,
      durationMs: null,
      workers: new Set(),
      drivers: new Set(),
      applications: 0,
      recordedWorkers: 0,
    },
    standbys: [],
    applications: new Map(),
    byKey: new Map(),
    workers: new Map(),
    links: new Map(),
    lost: new Map(),
    unlinked: new Set(),
    removals: { held: false, waiting: new Map(), allowed: new Set(), recent: [], away: new Map(), alert: null },
    finished: new Map(),
    byBundle: new Map(),
    forgotten: new Map(),
    released: new Set(),
    deadlines: new Deadlines(),
    steppedAt: Number.POSITIVE_INFINITY,
    judgedFrom: Number.NEGATIVE_INFINITY,
    capacity: new Capacity(),
    capacityVersion: 0,
    queue: [],
    passWanted: false,
    passDueAt: null,
    passedAt: Number.NEGATIVE_INFINITY,
    blocked: false,
    impossible: 0,
    nextApplication: 1,
    nextOrder: 1,
    versions: 0,
    events: { history, nextSeq: 1, waiters: new Set(), fresh: false, isDue: false },
    waiting: 0,
    marked: {
      applications: new Set(),
      workers: new Set(),
      removals: null,
      deleted: new Set(),
      touched: new Set(),
      views: new Set(),
    },
    backlog: [],
  };
}
