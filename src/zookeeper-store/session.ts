/**
 * A session of the coordination store on ZooKeeper: a mirror that follows the log, and the lane that carries its calls out.
 *
 * Invariant: it ends for good with its ZooKeeper session, by `close`, or when the store behind it cannot be trusted any more.
 */
import { CodedError, hasCode } from "../base/errors.js";
import { checkKey, checkPageLimit, checkTransaction, keyOf, utf8Length } from "../coordination/limits.js";
import { untilAborted } from "../coordination/until-aborted.js";
import type { Clock, Timer } from "../env/clock.js";
import type {
  CallOptions,
  CommitResult,
  CoordinationSession,
  Page,
  ReadOptions,
  StoredRecord,
  StoreLimits,
  Transaction,
  Watch,
  WatchEvent,
} from "../env/coordination-store.js";
import type { Log } from "../env/log.js";
import { type Committer, commitGroup, type WaitingCommit } from "./commits.js";
import type { Ensemble } from "./ensemble.js";
import { Lane } from "./lane.js";
import type { Layout } from "./layout.js";
import { merge } from "./merge.js";
import { isDue, isOverdue } from "./merge-plan.js";
import type { Mirror } from "./mirror.js";
import { readAll, refresh } from "./reading.js";
import { Watchers } from "./watchers.js";

export interface SessionOptions {
  readonly ensemble: Ensemble;
  readonly layout: Layout;
  readonly limits: StoreLimits;
  readonly clock: Clock;
  readonly log?: Log | undefined;
  readonly maxStoreBytes?: number | undefined;
  readonly mergeEntries: number;
  nonce(): string;
  /** Called once, when it has ended. */
  onEnded(session: ZooKeeperSession): void;
}

/** After a merge that could not be done, it is tried again when this part of what makes one due has been added. */
const MERGE_AGAIN_AFTER = 1 / 4;

/**
 * What a session hears during a commit of its own, or so soon after it, is most likely that commit: it looks a little later, and not after each, so that
 * what it commits and reads next does not wait for the look.
 */
const QUIET_MS = 25;

export class ZooKeeperSession implements CoordinationSession {
  readonly id: string;
  readonly ended: Promise<CodedError>;
  private readonly options: SessionOptions;
  private readonly lane: Lane;
  private readonly watchers = new Watchers();
  private readonly stop = new AbortController();
  private mirror: Mirror;
  private merging: Promise<void> | undefined;
  private mergeFrom = 0;
  private isCommitting = false;
  private committedAt = Number.NEGATIVE_INFINITY;
  private quiet: Timer | undefined;
  private end: CodedError | undefined;
  private resolveEnded: (reason: CodedError) => void = () => {};

  constructor(options: SessionOptions, mirror: Mirror) {
    this.options = options;
    this.mirror = mirror;
    this.id = options.ensemble.sessionId;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.lane = new Lane({
      commit: (group, sent) => this.commitGroup(group, sent),
      refresh: () => this.refresh(),
      mirror: () => this.mirror,
      afterCommit: () => this.mergeWhenDue(),
    });
    void options.ensemble.ended.then((reason) => this.finish(reason));
    void this.lane.run().then((reason) => this.finish(reason));
  }

  /** The index up to which it has seen the log. */
  get index(): number {
    return this.mirror.index;
  }

  /** Something may have changed. */
  wake(): void {
    if (this.end !== undefined) return;
    const { clock } = this.options;
    const at = (this.isCommitting ? clock.now() : this.committedAt) + QUIET_MS;
    const look = () => {
      this.quiet = undefined;
      this.lane.wake();
    };
    if (clock.now() >= at) look();
    else this.quiet ??= clock.at(at, look);
  }

  deadline(): number {
    return this.options.ensemble.deadline();
  }

  async get(key: string, { signal, seen }: ReadOptions): Promise<StoredRecord | undefined> {
    this.throwIfOver(signal);
    checkKey(key, this.options.limits);
    return this.read(({ table }) => table.get(key), signal, seen);
  }

  async list(
    request: { readonly prefix: string; readonly after?: string; readonly limit: number },
    { signal, seen }: ReadOptions,
  ): Promise<Page> {
    this.throwIfOver(signal);
    const { prefix, after, limit } = request;
    checkPageLimit(limit, this.options.limits);
    return this.read(({ table }) => table.list(prefix, after, limit), signal, seen);
  }

  async commit(transaction: Transaction, { signal }: CallOptions): Promise<CommitResult> {
    this.throwIfOver(signal);
    checkTransaction(transaction, this.options.limits);
    return this.call(this.lane.commit(copyOf(transaction), transactionBytes(transaction), signal), signal);
  }

  watch(prefix: string, listener: (event: WatchEvent) => void): Watch {
    return this.end === undefined ? this.watchers.add(prefix, listener) : { close() {} };
  }

  async close(): Promise<void> {
    this.finish(new CodedError("CLOSED", "the session was closed"));
    await this.options.ensemble.close();
    await this.merging;
  }

  /** What was seen is read between two turns, when nothing in the mirror is only tried. */
  private read<T>(run: (mirror: Mirror) => T, signal: AbortSignal, seen: boolean | undefined): Promise<T> {
    return this.call(seen === true ? this.lane.atRest(run) : this.lane.read(run), signal);
  }

  private call<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
    return untilAborted(promise, signal).catch((thrown) => {
      // What a call learns of the end, and what `ended` says, are told apart by the contract.
      if (thrown === this.end) this.throwIfOver(signal);
      throw thrown;
    });
  }

  private committer(): Committer {
    const { ensemble, layout, nonce, maxStoreBytes } = this.options;
    return {
      ensemble,
      layout,
      signal: this.stop.signal,
      mirror: () => this.mirror,
      refresh: () => this.refresh(),
      nonce,
      onChanged: (keys) => {
        for (const key of keys) this.watchers.changed(key);
      },
      ...(maxStoreBytes === undefined ? {} : { maxStoreBytes }),
    };
  }

  /** As often as the connection breaks. */
  private async refresh(): Promise<void> {
    const { ensemble } = this.options;
    const changed = new Set<string>();
    for (;;) {
      await ensemble.connected(this.stop.signal);
      try {
        const state = await refresh(this.options, this.mirror, (key) => changed.add(key));
        if (state === "reload") {
          this.mirror = await readAll(this.options);
          this.watchers.lost();
        }
        break;
      } catch (thrown) {
        if (!hasCode(thrown, "CONNECTION_LOST")) throw thrown;
      }
    }
    for (const key of changed) this.watchers.changed(key);
  }

  /** A log at its limit is merged first. */
  private async commitGroup(group: readonly WaitingCommit[], sent: () => void): Promise<void> {
    if (isOverdue(this.mirror.tail)) await this.lane.pause(this.startMerge());
    if (isOverdue(this.mirror.tail)) {
      for (const commit of group) commit.settle(logFull());
      return;
    }
    this.isCommitting = true;
    await commitGroup(this.committer(), group, sent);
    this.isCommitting = false;
    this.committedAt = this.options.clock.now();
  }

  private mergeWhenDue(): void {
    if (isDue(this.mirror.tail, this.options.mergeEntries) && this.mirror.index >= this.mergeFrom) void this.startMerge();
  }

  private startMerge(): Promise<void> {
    this.merging ??= this.mergeNow().finally(() => {
      this.merging = undefined;
    });
    return this.merging;
  }

  private async mergeNow(): Promise<void> {
    const { ensemble, layout, nonce, log, mergeEntries } = this.options;
    this.mergeFrom = this.mirror.index + mergeEntries * MERGE_AGAIN_AFTER;
    try {
      await merge({ ensemble, layout, nonce, atRest: (run) => this.lane.atRest(run) });
    } catch (thrown) {
      if (this.end !== undefined) return;
      const error = CodedError.from(thrown);
      const passing = error.code === "CONNECTION_LOST" || error.code === "OUTCOME_UNKNOWN";
      log?.[passing ? "debug" : "warn"](`the log in ZooKeeper could not be merged into pages: ${error.message}`, {
        code: error.code,
      });
    }
  }

  private finish(reason: CodedError): void {
    if (this.end !== undefined) return;
    this.end = reason.code === "CLOSED" || reason.code === "SESSION_ENDED" ? reason : sessionEnded(reason);
    this.watchers.clear();
    this.quiet?.cancel();
    this.stop.abort(this.end);
    this.lane.finish(this.end);
    this.resolveEnded(this.end);
    this.options.onEnded(this);
    // What could not be trusted is not used again; its ephemeral records go.
    void this.options.ensemble.close().catch(() => {});
  }

  private throwIfOver(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.end === undefined) return;
    throw this.end.code === "CLOSED" ? this.end : sessionEnded(this.end);
  }
}

function sessionEnded(reason: CodedError): CodedError {
  const hint = reason.hint === null ? {} : { hint: reason.hint };
  return new CodedError("SESSION_ENDED", `the session has ended: ${reason.message}`, { cause: reason, ...hint });
}

function logFull(): CodedError {
  return new CodedError(
    "LIMIT_EXCEEDED",
    "the log in ZooKeeper has grown to its limit, because it could not be merged into pages",
    {
      hint: "The log of this master says what went wrong with the last merge.",
    },
  );
}

/** The caller may change its arrays as soon as the call has returned. */
function copyOf(transaction: Transaction): Transaction {
  return {
    guards: [...transaction.guards],
    writes: transaction.writes.map((write) => ("put" in write ? { ...write, value: new Uint8Array(write.value) } : write)),
  };
}

function transactionBytes({ guards, writes }: Transaction): number {
  const guardBytes = guards.reduce((sum, guard) => sum + utf8Length(guard.key), 0);
  return writes.reduce((sum, write) => sum + utf8Length(keyOf(write)) + ("put" in write ? write.value.length : 0), guardBytes);
}
