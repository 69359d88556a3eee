/**
 * A leadership that was won: fenced commits in order, reading, and noticing the end.
 *
 * Invariants:
 *   1. Every transaction guards the `epoch` record at the version this leader put, and no other: the fence never moves with the store.
 *   2. Every transaction also puts `commit/last` with the next sequence, so that an unknown outcome is settled by reading one record.
 *   3. Past the session's local deadline it is in doubt: not `active`. Still so after `doubtMs`, when the store will have given the session up, it ends:
 *      a store that is silent must not leave a leader that nobody else can replace in the eyes of those who are connected to it.
 *   4. One commit at a time. When leadership ends, nothing that was waiting is sent, and it never begins again.
 */
import { CodedError, hasCode } from "../base/errors.js";
import { type Clock, sleep, type Timer } from "../env/clock.js";
import type { CoordinationSession, StoreLimits, Transaction, Watch, Write } from "../env/coordination-store.js";
import { decodeEpoch, decodeLastCommit, encodeLastCommit } from "./epoch-records.js";
import { EPOCH_KEY, LAST_COMMIT_KEY, RECORDS_PREFIX } from "./keys.js";
import type { CommitLimits, Leadership, LeadershipRecord, RecordWrite } from "./leadership.js";
import { createPatience, isPassing, type Patience } from "./patience.js";
import { untilAborted } from "./until-aborted.js";

export interface FencedLeadershipOptions {
  readonly session: CoordinationSession;
  readonly clock: Clock;
  readonly limits: CommitLimits;
  readonly storeLimits: StoreLimits;
  readonly epoch: number;
  readonly epochVersion: number;
  readonly clusterId: string | undefined;
  /** How long the session may be in doubt. */
  readonly doubtMs: number;
}

/** More commits than any host has waiting: it has one a turn. */
const MAX_WAITING_COMMITS = 1_024;
/** With pauses of 10 to 500 ms: about 8 s of a store that does not answer, then leadership ends. */
const MAX_ATTEMPTS = 20;
/** How long `resign` lets a commit finish. */
const RESIGN_GRACE_MS = 1_000;
const READ_PAGE_RECORDS = 500;

export class FencedLeadership implements Leadership {
  readonly epoch: number;
  readonly clusterId: string | undefined;
  readonly limits: CommitLimits;
  readonly ended: Promise<CodedError>;
  readonly canBeTaken: boolean;
  private readonly options: FencedLeadershipOptions;
  private readonly session: CoordinationSession;
  private readonly stop = new AbortController();
  private readonly patience: Patience;
  private readonly watch: Watch;
  private doubt: Timer | undefined;
  private end: CodedError | undefined;
  private resolveEnded: (reason: CodedError) => void = () => {};
  private sequence = 0;
  private waiting = 0;
  private lane: Promise<unknown> = Promise.resolve();
  private look: "none" | "running" | "again" = "none";

  constructor(options: FencedLeadershipOptions) {
    this.options = options;
    this.session = options.session;
    this.epoch = options.epoch;
    this.clusterId = options.clusterId;
    this.limits = options.limits;
    this.canBeTaken = options.session.deadline() !== Number.POSITIVE_INFINITY;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.patience = createPatience({ clock: options.clock, signal: this.stop.signal, maxAttempts: MAX_ATTEMPTS });
    this.watch = this.session.watch(EPOCH_KEY, () => void this.lookAtEpoch());
    void this.session.ended.then((reason) => this.finish(reason));
    this.watchDeadline();
    // The watch stands only now; somebody may have been seen to take the epoch since it was won.
    void this.lookAtEpoch();
  }

  active(): boolean {
    return this.end === undefined && this.options.clock.now() < this.session.deadline();
  }

  /** The session has committed the epoch, so it has seen every record that an earlier leader could put; nobody else puts any. */
  async *readRecords({
    prefix,
    signal,
  }: {
    readonly prefix: string;
    readonly signal: AbortSignal;
  }): AsyncGenerator<LeadershipRecord[]> {
    const limit = Math.min(READ_PAGE_RECORDS, this.options.storeLimits.maxPageRecords);
    const both = AbortSignal.any([signal, this.stop.signal]);
    let after: string | undefined;
    do {
      const request = { prefix: `${RECORDS_PREFIX}${prefix}`, limit, ...(after === undefined ? {} : { after }) };
      const page = await this.patience.keepTrying(() => this.session.list(request, { signal: both, seen: true }));
      if (page.records.length > 0) {
        yield page.records.map((record) => ({ key: record.key.slice(RECORDS_PREFIX.length), value: record.value }));
      }
      after = page.next;
    } while (after !== undefined);
  }

  async commit(writes: readonly RecordWrite[], { signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    if (this.end !== undefined) throw this.end;
    if (this.waiting >= MAX_WAITING_COMMITS) {
      throw new CodedError("LIMIT_EXCEEDED", `${MAX_WAITING_COMMITS} commits of this leader already wait`);
    }
    this.waiting++;
    const done = this.lane.then(() => {
      if (this.end !== undefined) throw this.end;
      signal.throwIfAborted();
      return this.commitNow(writes);
    });
    this.lane = done.then(
      () => void this.waiting--,
      () => void this.waiting--,
    );
    await untilAborted(done, signal);
  }

  async resign(): Promise<void> {
    if (this.end === undefined) {
      const grace = new AbortController();
      await Promise.race([this.lane, this.ended, sleep(this.options.clock, RESIGN_GRACE_MS, grace.signal).catch(() => {})]);
      grace.abort();
    }
    this.finish(new CodedError("CLOSED", `the leader of epoch ${this.epoch} resigned`));
    await this.session.close();
  }

  private watchDeadline(): void {
    const { clock, doubtMs } = this.options;
    const at = this.session.deadline() + doubtMs;
    if (at === Number.POSITIVE_INFINITY || this.end !== undefined) return;
    this.doubt = clock.at(at, () => {
      if (clock.now() < this.session.deadline() + doubtMs) return this.watchDeadline();
      const silence = "the store was not heard of until the session's deadline, and for some time after it";
      this.finish(new CodedError("SESSION_ENDED", silence));
    });
  }

  private async commitNow(writes: readonly RecordWrite[]): Promise<void> {
    if (writes.length === 0) return;
    const sequence = this.sequence + 1;
    const transaction = this.fenced(writes, sequence);
    for (let failures = 1; ; failures++) {
      try {
        const result = await this.session.commit(transaction, { signal: this.stop.signal });
        if (!result.ok) throw this.finish(this.fencedOff());
        break;
      } catch (thrown) {
        if (hasCode(thrown, "LIMIT_EXCEEDED") || hasCode(thrown, "INVALID_ARGUMENT")) throw thrown;
        if (!isPassing(thrown)) throw this.finish(CodedError.from(thrown));
        if (hasCode(thrown, "OUTCOME_UNKNOWN") && (await this.wasApplied(sequence))) break;
        if (failures >= MAX_ATTEMPTS) throw this.finish(CodedError.from(thrown));
      }
      await this.patience.pause(failures);
    }
    this.sequence = sequence;
  }

  private fenced(writes: readonly RecordWrite[], sequence: number): Transaction {
    const records = writes.map(({ key, value }): Write => {
      return value === null ? { delete: `${RECORDS_PREFIX}${key}` } : { put: `${RECORDS_PREFIX}${key}`, value };
    });
    return {
      guards: [{ key: EPOCH_KEY, version: this.options.epochVersion }],
      writes: [...records, { put: LAST_COMMIT_KEY, value: encodeLastCommit({ epoch: this.epoch, sequence }) }],
    };
  }

  /** Reads an unknown outcome back. Ends leadership when another leader has been there. */
  private async wasApplied(sequence: number): Promise<boolean> {
    try {
      const record = await this.patience.keepTrying(() => this.session.get(LAST_COMMIT_KEY, { signal: this.stop.signal }));
      const last = record === undefined ? undefined : decodeLastCommit(record);
      if (last?.epoch !== this.epoch) throw this.fencedOff();
      return last.sequence === sequence;
    } catch (thrown) {
      throw this.finish(CodedError.from(thrown));
    }
  }

  /** Once for any number of watch events: a leader that has nothing to commit learns here that it is deposed. */
  private async lookAtEpoch(): Promise<void> {
    if (this.look !== "none") {
      this.look = "again";
      return;
    }
    do {
      this.look = "running";
      try {
        const record = await this.patience.keepTrying(() => this.session.get(EPOCH_KEY, { signal: this.stop.signal, seen: true }));
        if (record?.version !== this.options.epochVersion)
          this.finish(this.fencedOff(record === undefined ? undefined : decodeEpoch(record).epoch));
      } catch (thrown) {
        if (!isPassing(thrown)) this.finish(CodedError.from(thrown));
      }
    } while (this.wantsAnotherLook());
    this.look = "none";
  }

  private wantsAnotherLook(): boolean {
    return this.look === "again" && this.end === undefined;
  }

  private fencedOff(by?: number): CodedError {
    const successor = by === undefined ? "another leader" : `the leader of epoch ${by}`;
    return new CodedError("FENCED", `${successor} has taken over from epoch ${this.epoch}`, { details: { epoch: this.epoch } });
  }

  /** Ends leadership for the first reason and returns that one. */
  private finish(reason: CodedError): CodedError {
    if (this.end !== undefined) return this.end;
    this.end = reason;
    this.watch.close();
    this.doubt?.cancel();
    this.stop.abort(reason);
    this.resolveEnded(reason);
    // Frees the candidate's place; a store that cannot be reached lets the session expire.
    void this.session.close().catch(() => {});
    return reason;
  }
}
