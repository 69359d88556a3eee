/**
 * Sessions, watches and group commit over a RecordTable: the part that the memory and the LevelDB backend share.
 *
 * Boundary: one process, any number of sessions; where bytes become durable is the Journal's business.
 * Invariants:
 *   1. The journal gets the changes in the order they were applied, one write at a time; what comes meanwhile goes together.
 *   2. Nobody sees what is not durable: commits, reads and watches wait for the write that holds what they saw.
 *   3. A failed write is never retried. It ends every session with its error, and the table is not used again.
 */
import { CodedError } from "../base/errors.js";
import type {
  CallOptions,
  CommitResult,
  CoordinationSession,
  OpenSession,
  Page,
  StoredRecord,
  StoreLimits,
  Transaction,
  Watch,
  WatchEvent,
} from "../env/coordination-store.js";
import { checkKey, checkPageLimit, checkTransaction, utf8Length } from "./limits.js";
import type { Applied, Change, RecordTable } from "./record-table.js";
import { untilAborted } from "./until-aborted.js";

export interface Journal {
  /** Durable when it resolves. `revision` is the table's after these changes. */
  write(changes: readonly Change[], revision: number): Promise<void>;
}

export interface LocalStoreOptions {
  readonly limits: StoreLimits;
  readonly table: RecordTable;
  readonly journal: Journal;
  /** Together with a counter it makes session ids that no earlier owner of the same records has used. */
  readonly sessionIdPrefix: string;
  readonly onApplied?: (applied: AppliedCommit) => void;
  /** Called when a session has ended and none is left. */
  readonly onIdle?: () => void;
}

/** For checkers: one entry of the store's linear history. */
export interface AppliedCommit {
  readonly revision: number;
  readonly sessionId: string;
  readonly transaction: Transaction;
}

/** Commits that wait for the journal; more are refused, since nobody should have that many in flight. */
const MAX_QUEUED_COMMITS = 8_192;
const MAX_SESSIONS = 1_024;
export const MAX_CANDIDATE_BYTES = 512;

/** Changes that go to the journal together, and the promise of their callers. */
interface Batch {
  readonly changes: Change[];
  commits: number;
  readonly durable: Promise<void>;
  readonly settle: (error: CodedError | undefined) => void;
}

export class LocalStore {
  private readonly options: LocalStoreOptions;
  private readonly sessions = new Map<string, LocalSession>();
  private writing: Batch | undefined;
  private collecting: Batch | undefined;
  private failure: CodedError | undefined;
  private sessionCount = 0;

  constructor(options: LocalStoreOptions) {
    this.options = options;
  }

  get limits(): StoreLimits {
    return this.options.limits;
  }

  get table(): RecordTable {
    return this.options.table;
  }

  openSession(options: OpenSession): CoordinationSession {
    checkCandidate(options.candidate);
    if (this.failure !== undefined) throw this.failure;
    if (this.sessions.size >= MAX_SESSIONS) throw new CodedError("LIMIT_EXCEEDED", `the store has ${MAX_SESSIONS} open sessions`);
    const session = new LocalSession(this, `${this.options.sessionIdPrefix}${++this.sessionCount}`);
    this.sessions.set(session.id, session);
    return session;
  }

  async commit(sessionId: string, transaction: Transaction): Promise<CommitResult> {
    checkTransaction(transaction, this.limits);
    if ((this.collecting?.commits ?? 0) >= MAX_QUEUED_COMMITS) {
      throw new CodedError("LIMIT_EXCEEDED", `${MAX_QUEUED_COMMITS} commits already wait for the store`);
    }
    const applied: Applied = this.table.apply(transaction, sessionId);
    if (applied.result.ok) {
      this.options.onApplied?.({ revision: applied.result.revision, sessionId, transaction });
      await this.write(applied.changes);
    } else {
      await this.durable();
    }
    return applied.result;
  }

  /** Resolves when everything applied until now is durable. */
  async durable(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await (this.collecting ?? this.writing)?.durable;
  }

  /** Ends the session and tells the others that its ephemeral records are gone. */
  async endSession(session: LocalSession, reason: CodedError): Promise<void> {
    if (!this.sessions.delete(session.id)) return;
    session.finish(reason);
    const changes = this.table.endSession(session.id);
    try {
      if (changes.length > 0 && this.failure === undefined) await this.write(changes);
    } catch {
      // The failed write has ended every session already, each with the reason.
    }
    if (this.sessions.size === 0) this.options.onIdle?.();
  }

  get sessionsOpen(): number {
    return this.sessions.size;
  }

  async close(): Promise<void> {
    const reason = new CodedError("CLOSED", "the coordination store was closed");
    await Promise.all([...this.sessions.values()].map((session) => this.endSession(session, reason)));
    this.failure ??= reason;
  }

  private write(changes: readonly Change[]): Promise<void> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    this.collecting ??= newBatch();
    this.collecting.changes.push(...changes);
    this.collecting.commits++;
    const { durable } = this.collecting;
    if (this.writing === undefined) void this.writeOut();
    return durable;
  }

  private async writeOut(): Promise<void> {
    while (this.collecting !== undefined && this.failure === undefined) {
      const batch: Batch = this.collecting;
      this.writing = batch;
      this.collecting = undefined;
      try {
        await this.options.journal.write(batch.changes, this.table.revision);
      } catch (thrown) {
        this.fail(CodedError.from(thrown, "DISK_FAILED"));
        return;
      }
      for (const session of this.sessions.values()) session.notify(batch.changes);
      this.writing = undefined;
      batch.settle(undefined);
    }
  }

  private fail(error: CodedError): void {
    this.failure = error;
    const batches = [this.writing, this.collecting];
    this.writing = undefined;
    this.collecting = undefined;
    for (const batch of batches) batch?.settle(error);
    const sessions = [...this.sessions.values()];
    this.sessions.clear();
    for (const session of sessions) session.finish(error);
    this.options.onIdle?.();
  }
}

export class LocalSession implements CoordinationSession {
  readonly id: string;
  readonly ended: Promise<CodedError>;
  private readonly store: LocalStore;
  private readonly watches = new Set<{ readonly prefix: string; readonly listener: (event: WatchEvent) => void }>();
  private end: CodedError | undefined;
  private resolveEnded: (reason: CodedError) => void = () => {};

  constructor(store: LocalStore, id: string) {
    this.store = store;
    this.id = id;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
  }

  /** It lives in the process that owns the records, so nothing but this process can end it. */
  deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  async get(key: string, { signal }: CallOptions): Promise<StoredRecord | undefined> {
    this.throwIfOver(signal);
    checkKey(key, this.store.limits);
    const record = this.store.table.get(key);
    await untilAborted(this.store.durable(), signal);
    return record;
  }

  async list(
    request: { readonly prefix: string; readonly after?: string; readonly limit: number },
    { signal }: CallOptions,
  ): Promise<Page> {
    this.throwIfOver(signal);
    checkPageLimit(request.limit, this.store.limits);
    const page = this.store.table.list(request.prefix, request.after, request.limit);
    await untilAborted(this.store.durable(), signal);
    return page;
  }

  async commit(transaction: Transaction, { signal }: CallOptions): Promise<CommitResult> {
    this.throwIfOver(signal);
    return untilAborted(this.store.commit(this.id, transaction), signal);
  }

  watch(prefix: string, listener: (event: WatchEvent) => void): Watch {
    const watch = { prefix, listener };
    if (this.end === undefined) this.watches.add(watch);
    return { close: () => void this.watches.delete(watch) };
  }

  close(): Promise<void> {
    return this.store.endSession(this, new CodedError("CLOSED", "the session was closed"));
  }

  /** Called by the store only: what changed is durable. */
  notify(changes: readonly Change[]): void {
    for (const watch of this.watches) {
      for (const { key } of changes) {
        if (!key.startsWith(watch.prefix)) continue;
        queueMicrotask(() => {
          if (this.watches.has(watch)) watch.listener({ kind: "changed", key });
        });
      }
    }
  }

  /** Called by the store only. */
  finish(reason: CodedError): void {
    if (this.end !== undefined) return;
    this.end = reason;
    this.watches.clear();
    this.resolveEnded(reason);
  }

  private throwIfOver(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.end === undefined) return;
    if (this.end.code === "CLOSED") throw this.end;
    throw new CodedError("SESSION_ENDED", `the session has ended: ${this.end.message}`, { cause: this.end });
  }
}

export function checkCandidate(candidate: string): void {
  if (utf8Length(candidate) > MAX_CANDIDATE_BYTES) {
    throw new CodedError("INVALID_ARGUMENT", `a candidate's note has at most ${MAX_CANDIDATE_BYTES} bytes`);
  }
}

function newBatch(): Batch {
  let settle: Batch["settle"] = () => {};
  const durable = new Promise<void>((resolve, reject) => {
    settle = (error) => (error === undefined ? resolve() : reject(error));
  });
  // A failed write also ends the sessions; a batch that nobody waits for any more must not count as an unhandled rejection.
  durable.catch(() => {});
  return { changes: [], commits: 0, durable, settle };
}
