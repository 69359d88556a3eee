/**
 * The coordination store: sessions, versioned records, guarded transactions, watches, paged reads. Memory, LevelDB, and later
 * ZooKeeper and etcd implement it; `src/conformance/coordination-store.ts` is its executable definition.
 *
 * Contract:
 *   1. A record has a key, bytes and a version. A created record has version 0 (a real version, never "any"); every put adds 1.
 *      A record that is deleted and created again starts at 0 again: so never fence on a record that may be deleted.
 *   2. `commit` applies all its writes or none, and only when every guard holds at that moment. It is durable when it resolves.
 *      `{ ok: false }` means that nothing was applied. OUTCOME_UNKNOWN means that it may or may not have been: read back. A read
 *      that the same session starts after the rejection shows which; the commit is never applied later than that. (A store that
 *      cannot promise this ends the session instead.)
 *   3. Commits of one session apply in the order they were called. A session reads its own committed writes. Of its reads, too, a later call never
 *      sees an older state than an earlier one, also when they are called together (and a store may then carry them out as one). A `seen` read
 *      follows those that were answered before it was called.
 *   4. An ephemeral record disappears when the session that created it ends, and then only. Session end: `close`, or expiry judged
 *      by the store. A session never comes back under another identity silently: after `ended` every call rejects SESSION_ENDED
 *      (CLOSED when the session or store was closed by this side). A record stays ephemeral or persistent as it was created,
 *      whoever puts it later; `ephemeral` of a put counts only where the put creates the record.
 *   5. A watch may miss intermediate states, never the last one; after a disturbance it reports `lost` and the watcher reads again.
 *      A change is reported after it is readable. Listeners are never called from within a call of this interface.
 *   6. Limits are stated; going past one rejects with LIMIT_EXCEEDED and applies nothing. A page may hold fewer records than asked
 *      for (stores bound its bytes too): only `next` says that there are more.
 *   7. Other rejections of a call: INVALID_ARGUMENT (a malformed key, a key written twice in a commit) and CONNECTION_LOST (certainly
 *      not applied, the session may still live: try again), both with nothing applied; DISK_FAILED (a commit may or may not have
 *      been applied, and the session has ended: a failed sync is never retried); the signal's reason (a commit that had
 *      begun may still be applied).
 */
import type { CodedError } from "../base/errors.js";

export interface StoreLimits {
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** Guards and writes of one commit together. */
  readonly maxCommitOperations: number;
  readonly maxCommitBytes: number;
  readonly maxPageRecords: number;
}

export interface StoredRecord {
  /** 1 to `maxKeyBytes` bytes of UTF-8: well-formed text without control characters. */
  readonly key: string;
  readonly value: Uint8Array;
  readonly version: number;
}

/** Holds when the record has exactly this version, or does not exist. */
export type Guard = { readonly key: string; readonly version: number } | { readonly key: string; readonly absent: true };

export type Write =
  | { readonly put: string; readonly value: Uint8Array; readonly ephemeral?: boolean }
  | { readonly delete: string };

export interface Transaction {
  readonly guards: readonly Guard[];
  /** Each key at most once, or INVALID_ARGUMENT. Deleting an absent record is allowed and does nothing. */
  readonly writes: readonly Write[];
}

export type CommitResult =
  /** `versions`: of each record put. `revision`: position in the store's order, grows with every commit. */
  | { readonly ok: true; readonly revision: number; readonly versions: ReadonlyMap<string, number> }
  | { readonly ok: false; readonly failedGuard: Guard };

export interface Page {
  readonly records: readonly StoredRecord[];
  /** The key to continue after, or undefined at the end. Keys are in ascending order of their UTF-8 bytes. */
  readonly next: string | undefined;
}

export type WatchEvent = { readonly kind: "changed"; readonly key: string } | { readonly kind: "lost" };

export interface Watch {
  close(): void;
}

export interface CallOptions {
  readonly signal: AbortSignal;
}

export interface ReadOptions extends CallOptions {
  /**
   * What this session has seen is enough, and the store need not be asked: its own commits that have been answered, and every change that one of its
   * watches has reported. Others may have committed more since. Default: everything acknowledged before the call, by whomever.
   */
  readonly seen?: boolean;
}

export interface CoordinationSession {
  readonly id: string;
  /** Resolves once, with SESSION_ENDED (expired), DISK_FAILED (a write failed) or CLOSED. */
  readonly ended: Promise<CodedError>;
  /** The local instant (env clock) until which this session is certainly alive; Infinity where the store is a lock of this machine. */
  deadline(): number;
  get(key: string, options: ReadOptions): Promise<StoredRecord | undefined>;
  list(request: { readonly prefix: string; readonly after?: string; readonly limit: number }, options: ReadOptions): Promise<Page>;
  commit(transaction: Transaction, options: CallOptions): Promise<CommitResult>;
  watch(prefix: string, listener: (event: WatchEvent) => void): Watch;
  /** Ends the session and removes its ephemeral records. */
  close(): Promise<void>;
}

export interface Waiting {
  readonly owner: string | undefined;
  readonly reason: string;
  /** Nothing was heard of the store so far: it may yet refuse this process for good. */
  readonly isUnreached?: boolean;
}

export interface OpenSession {
  readonly ttlMs: number;
  readonly signal: AbortSignal;
  /** What others are told about this candidate while they wait (an address); never a secret. At most 512 bytes. */
  readonly candidate: string;
  /** Called when the store makes this process wait (another process owns it), and whenever what it waits for changes. */
  readonly onWaiting?: (waiting: Waiting) => void;
}

/** Long enough that a leader that was stopped for this time notices it (LEADER_AWAY_MS of the master), clocks that go wrong by a tenth included. */
export const OWNER_STOPPED_MS = 1_000;

export interface CoordinationStore {
  readonly limits: StoreLimits;
  /**
   * May wait for ever where only one process can own the store (LevelDB). Rejects with STORE_UNUSABLE, STORE_FORMAT, CLOSED,
   * INVALID_ARGUMENT (the candidate's note is too long), LIMIT_EXCEEDED (too many sessions), the signal's reason.
   */
  openSession(options: OpenSession): Promise<CoordinationSession>;
  /** A hint that the owner may be gone: a waiting `openSession` tries at once. Never needed for correctness. */
  nudge(): void;
  /**
   * Of a store that one process owns, asked by one that waits for it: the owner's `candidate`, when that process has not run for OWNER_STOPPED_MS as of
   * now (somebody stopped it): it does not lead at this moment, and when it goes on it notices that it was away. Null: it may run. Absent: cannot be told.
   */
  stoppedOwner?(): string | null;
  close(): Promise<void>;
}
