/**
 * Election, once, on the coordination interface (design.md 1.3, 1.4 and "Leadership").
 *
 * Leadership is having put the persistent `epoch` record by compare-and-set; everything else (candidates, the leader's ephemeral record,
 * sessions, watches) only says when it is worth trying. So taking over on a wrong suspicion costs a change of leader and nothing more.
 */
import type { RecordChange } from "../base/core.js";
import { type CodedError, hasCode } from "../base/errors.js";
import { type Clock, sleep } from "../env/clock.js";
import type { CoordinationStore, OpenSession, StoreLimits } from "../env/coordination-store.js";
import type { SeenMasters } from "../env/master-registry.js";
import { Candidacy } from "./candidacy.js";
import { FencedLeadership } from "./fenced-leadership.js";

/** One record of a commit. The key is relative to `records/`; a null value deletes. */
export type RecordWrite = RecordChange;

export interface LeadershipRecord {
  /** Relative to `records/`, like the keys of `commit`. */
  readonly key: string;
  readonly value: Uint8Array;
}

export interface Leadership {
  /** Starts at 1 and strictly grows over the life of the store; also the fencing token of messages between processes. */
  readonly epoch: number;
  /** What the store keeps as its cluster's id; undefined when nobody has named one yet. */
  readonly clusterId: string | undefined;
  /** What one `commit` may hold, with leadership's own operations already taken off. */
  readonly limits: CommitLimits;
  /** Pages of records in ascending order of key, read after the epoch was taken: every acknowledged write of earlier leaders is in. */
  readRecords(options: { readonly prefix: string; readonly signal: AbortSignal }): AsyncIterable<readonly LeadershipRecord[]>;
  /**
   * Applies all writes or none, fenced by the epoch inside the store's transaction; durable when it resolves. Concurrent calls are carried
   * out in order, one at a time. An unknown outcome is read back and settled here.
   *
   * Rejects with LIMIT_EXCEEDED and INVALID_ARGUMENT (nothing applied, leadership goes on); FENCED (another leader took over),
   * SESSION_ENDED, DISK_FAILED, OUTCOME_UNKNOWN, CLOSED (leadership has ended: the writes are not acknowledged, and the next leader reads
   * whether they were applied); the signal's reason (a commit that had begun goes on and may be applied).
   */
  commit(writes: readonly RecordWrite[], options: { readonly signal: AbortSignal }): Promise<void>;
  /** Resolves once with why: FENCED, SESSION_ENDED, DISK_FAILED, OUTCOME_UNKNOWN (the store does not answer), CLOSED (resigned). */
  readonly ended: Promise<CodedError>;
  /** False as soon as leadership has ended, or the session's local deadline has passed: then nothing may be sent or launched. */
  active(): boolean;
  /** Whether another session may take the epoch while this one lives: not where the store is a lock that one process holds. */
  readonly canBeTaken: boolean;
  /** Lets a commit that is under way finish (bounded), then gives leadership up at once, so that the next one need not wait for a deadline. */
  resign(): Promise<void>;
}

export interface CommitLimits {
  readonly maxWrites: number;
  /** Of a key as given to `commit`. */
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** Keys and values of one commit together. */
  readonly maxCommitBytes: number;
}

/** Hints, for people. Rejects when the store does not answer. */
export type ListMasters = (signal: AbortSignal) => Promise<SeenMasters>;

export interface CampaignOptions {
  /** What the others are told about this process (an address); never a secret. At most 512 bytes. */
  readonly candidate: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  /** Ends the campaign, not a leadership that came of it. */
  readonly signal: AbortSignal;
  readonly onWaiting?: NonNullable<OpenSession["onWaiting"]>;
  /** Called for each session with a way to see who else leads or stands in line; once that session is over the list rejects. */
  readonly onInLine?: (list: ListMasters) => void;
  /** The epoch will be at least this: for a store that forgets (recovery `none`) while workers remember. */
  readonly minimumEpoch?: number;
  /** Take the epoch even though the present leader's session lives. */
  readonly takeOver?: boolean;
  /** When it aborts, the campaign takes over as with `takeOver`, or tries the store's lock at once: "the leader looks dead to me". */
  readonly suspicion?: AbortSignal;
  /** A mark that all masters of the cluster have in common, and which does not give their secret away. Default: none. */
  readonly binding?: string;
  /** The id to give the store's cluster if it has none yet. */
  readonly clusterId?: string;
}

/** Of the session's length: its local deadline is at 2/3 of it, so the store has given it up before the doubt ends. */
const DOUBT_SHARE = 1 / 2;
/** Between two sessions of one campaign, so that a store which ends every session at once is not asked without a pause. */
const NEXT_SESSION_DELAY_MS = 100;

/**
 * Waits until this process leads. Rejects with the signal's reason, STORE_UNUSABLE, STORE_FORMAT, WRONG_CLUSTER or DISK_FAILED; a session that expires
 * while waiting is replaced by a new one.
 */
export async function campaign(store: CoordinationStore, options: CampaignOptions): Promise<Leadership> {
  const { signal, suspicion, clock } = options;
  const nudge = () => store.nudge();
  if (suspicion?.aborted === true) nudge();
  suspicion?.addEventListener("abort", nudge, { once: true });
  try {
    let attempt = options;
    for (;;) {
      const leadership = await campaignOnce(store, attempt);
      if (leadership !== undefined) return leadership;
      await sleep(clock, NEXT_SESSION_DELAY_MS, signal);
      attempt = withoutOldSuspicion(options);
    }
  } finally {
    suspicion?.removeEventListener("abort", nudge);
  }
}

/** Whoever was suspected may have been replaced while the session expired. */
function withoutOldSuspicion(options: CampaignOptions): CampaignOptions {
  const { suspicion, takeOver: _about, ...others } = options;
  return suspicion === undefined || suspicion.aborted ? others : { ...others, suspicion };
}

/** Undefined: the session ended before it led. */
async function campaignOnce(store: CoordinationStore, options: CampaignOptions): Promise<Leadership | undefined> {
  const { candidate, ttlMs, signal, onWaiting, clock } = options;
  const session = await store.openSession({ candidate, ttlMs, signal, ...(onWaiting === undefined ? {} : { onWaiting }) });
  const candidacy = new Candidacy(session, store.limits, options);
  options.onInLine?.((within) => candidacy.masters(within));
  try {
    const won = await candidacy.win();
    const limits = { limits: commitLimits(store.limits), storeLimits: store.limits };
    return new FencedLeadership({ session, clock, ...limits, ...won, doubtMs: ttlMs * DOUBT_SHARE });
  } catch (thrown) {
    await session.close().catch(() => {});
    if (signal.aborted || !hasCode(thrown, "SESSION_ENDED")) throw thrown;
    return undefined;
  } finally {
    candidacy.close();
  }
}

/** Operations and bytes that a fenced commit needs for itself: the guard on `epoch`, `commit/last`, the prefix of each key. */
const OWN_OPERATIONS = 2;
const OWN_BYTES = 256;
const PREFIX_BYTES = 8;

function commitLimits(limits: StoreLimits): CommitLimits {
  const maxWrites = limits.maxCommitOperations - OWN_OPERATIONS;
  return {
    maxWrites,
    maxKeyBytes: limits.maxKeyBytes - PREFIX_BYTES,
    maxValueBytes: limits.maxValueBytes,
    maxCommitBytes: limits.maxCommitBytes - OWN_BYTES - maxWrites * PREFIX_BYTES,
  };
}
