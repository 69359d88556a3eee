/** What an operator may set of a master, and the bounds that a master keeps. */
import type { Placement } from "../scheduler/capacity.js";
import type { RemovalLimit } from "../wire/registrar.js";

export interface MasterSettings {
  /** Silence of a worker after which it is lost. */
  readonly workerDeadlineMs: number;
  /** Silence of a job's driver after which it is replaced. */
  readonly driverDeadlineMs: number;
  /** From the launch order to the driver's registration. */
  readonly driverStartMs: number;
  readonly heartbeatMs: number;
  /** After a worker was lost: time for what must not run twice to end there before it is started elsewhere (wire/partition-lease.ts). */
  readonly programFenceMs: number;
  /** So long after the election of a new leader the one before may still confirm leases of workers (it does not know yet that it was deposed). */
  readonly deposedWithinMs: number;
  /** Between the polite signal and the kill. */
  readonly stopGraceMs: number;
  /** After this RECOVERING ends, whoever is missing. */
  readonly recoveryDeadlineMs: number;
  readonly placement: Placement;
  /** Finished applications that are kept; the oldest are deleted. */
  readonly maxFinished: number;
  /** How many workers may be declared lost; beyond it removals wait for the operator. */
  readonly removalLimit: RemovalLimit;
  /** Lost and gone workers whose records are kept (so that they are refused); the ones that went down first are forgotten. */
  readonly maxLostWorkers: number;
  /** They are forgotten after this time, too. */
  readonly lostWorkerAgeMs: number;
  /** Applications that have not ended; further submissions are refused. */
  readonly maxActive: number;
  readonly maxEvents: number;
  /** Long polls (status, events) open at once; further ones are answered at once. */
  readonly maxWaiters: number;
  /** Size of one record: of every store's value limit. */
  readonly maxRecordBytes: number;
  /** Directory of the blob store, as all processes of the cluster are to reach it; null: jobs can't take checkpoints. */
  readonly storage: string | null;
}

export const DEFAULT_MASTER_SETTINGS: MasterSettings = {
  workerDeadlineMs: 10_000,
  driverDeadlineMs: 10_000,
  driverStartMs: 60_000,
  heartbeatMs: 1_000,
  programFenceMs: 3_000,
  deposedWithinMs: 0,
  stopGraceMs: 5_000,
  recoveryDeadlineMs: 15_000,
  placement: "spread",
  maxFinished: 1_000,
  removalLimit: { perMinute: 10, share: 0.5 },
  maxLostWorkers: 10_000,
  lostWorkerAgeMs: 14 * 24 * 3_600_000,
  maxActive: 100_000,
  maxEvents: 10_000,
  maxWaiters: 1_000,
  maxRecordBytes: 900_000,
  storage: null,
};

/** Lost workers are looked through this often. */
export const LOST_WORKER_SWEEP_MS = 15 * 60_000;
/** What a draining worker still runs is looked at this often: whether there is room for it elsewhere by now. */
export const DRAIN_LOOK_MS = 1_000;
/** Durable changes that one step may make, so that a turn (which is cut between steps) fits one transaction of every store. */
export const MAX_STEP_CHANGES = 16;
/** In a cluster of more workers than SMALL_CLUSTER, passes that cost time in proportion to their number are at least this far apart. */
export const PASS_INTERVAL_MS = 5;
export const SMALL_CLUSTER = 128;
/** Passes that found this many applications which no worker can hold are PASS_INTERVAL_MS apart; twice as many, twice as far. */
export const MANY_IMPOSSIBLE = 250;
/** Processes that are started, one after the other, to remove what the sinks of an application staged; then it is for a person. */
export const MAX_CLEAN_UPS = 5;
/** Before the second of them; doubles with each. */
export const CLEAN_UP_PAUSE_MS = 1_000;
/** Of one of them. */
export const CLEAN_UP_TIMEOUT_MS = 60_000;
/** Applications beyond the history that wait for their clean-up; with more the oldest are forgotten without it. */
export const MAX_UNCLEAN_KEPT = 1_000;
/** After the state of an application that is to be forgotten could not be removed. */
export const FORGET_AGAIN_MS = 5_000;
/** Names of applications forgotten by this leader on somebody's wish, which may be repeated. */
export const MAX_FORGOTTEN_KNOWN = 1_000;
/** Blocked applications behind which back-fill is still looked for. */
export const MAX_BLOCKED = 32;
/** Views of its executors go to a driver at most this often. */
export const DRIVER_VIEW_INTERVAL_MS = 20;
/** Its driver hears so late that executors, which it is connected to anyway, were told of by their workers again. */
export const ADOPTED_VIEW_MS = 1_000;
/** Executors of an attempt that ended and are still shown; older ones are forgotten. */
export const MAX_ENDED_EXECUTORS = 256;
/** A cancelled job's driver has this share of the grace to end in order, before it gets a signal. */
export const CANCEL_BY_MESSAGE_SHARE = 0.4;
