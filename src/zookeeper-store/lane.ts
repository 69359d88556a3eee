/**
 * Calls of one session, one after another in the order they came: neighbouring commits go together, and so do neighbouring reads.
 *
 * Boundary: queueing, giving up, and the end. What a turn does is given in.
 * Invariants:
 *   1. One turn at a time, so that the mirror is at rest between turns.
 *   2. A read is answered from what was refreshed after it was called; a commit that was given up before its turn is never sent.
 */
import { CodedError } from "../base/errors.js";
import { createBell } from "../coordination/bell.js";
import type { CommitResult, Transaction } from "../env/coordination-store.js";
import type { WaitingCommit } from "./commits.js";
import { MAX_GROUP_TRANSACTIONS, MAX_REQUEST_BYTES, MAX_WAITING_CALLS } from "./limits.js";
import type { Mirror } from "./mirror.js";

export interface Turns {
  /** Rejects when the session cannot go on. `sent` is called before anything of it leaves. */
  commit(group: readonly WaitingCommit[], sent: () => void): Promise<void>;
  /** Brings the mirror up to date. */
  refresh(): Promise<void>;
  mirror(): Mirror;
  /** After a turn in which something was committed. */
  afterCommit(): void;
}

interface Commit extends WaitingCommit {
  readonly kind: "commit";
  readonly sizeBytes: number;
  sent: boolean;
  fail(reason: CodedError): void;
}

interface Read {
  readonly kind: "read";
  run(mirror: Mirror): void;
  fail(reason: CodedError): void;
}

/** So that even a full group stays below the limit of a request: paths, lengths, versions. */
const TRANSACTION_OVERHEAD_BYTES = 64;
const OPERATION_OVERHEAD_BYTES = 400;

export class Lane {
  private readonly turns: Turns;
  private readonly bell = createBell();
  private readonly stop = new AbortController();
  private calls: (Commit | Read)[] = [];
  private underWay: readonly (Commit | Read)[] = [];
  private rests: { run(mirror: Mirror): void; fail(reason: CodedError): void }[] = [];
  private busy = false;
  private stale = false;
  private end: CodedError | undefined;

  constructor(turns: Turns) {
    this.turns = turns;
  }

  commit(transaction: Transaction, sizeBytes: number, signal: AbortSignal): Promise<CommitResult> {
    const operations = transaction.guards.length + transaction.writes.length;
    return new Promise((resolve, reject) => {
      const call: Commit = {
        kind: "commit",
        transaction,
        sizeBytes: sizeBytes + TRANSACTION_OVERHEAD_BYTES + operations * OPERATION_OVERHEAD_BYTES,
        sent: false,
        given: () => signal.aborted && !call.sent,
        settle: (outcome) => (outcome instanceof CodedError ? reject(outcome) : resolve(outcome)),
        fail: reject,
      };
      this.push(call);
    });
  }

  read<T>(run: (mirror: Mirror) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.push({
        kind: "read",
        run: (mirror) => settleWith(() => run(mirror), resolve, reject),
        fail: reject,
      });
    });
  }

  /** Runs between two turns: at once, or after the one that is under way. */
  atRest<T>(run: (mirror: Mirror) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.end !== undefined) return reject(this.end);
      if (this.rests.length >= MAX_WAITING_CALLS) return reject(tooMany());
      this.rests.push({ run: (mirror) => settleWith(() => run(mirror), resolve, reject), fail: reject });
      this.runRests();
    });
  }

  /** A turn that waits for what itself waits for a rest. The mirror is at rest meanwhile. */
  async pause(until: Promise<void>): Promise<void> {
    this.busy = false;
    this.runRests();
    await until;
    this.busy = true;
  }

  /** Something changed at the ensemble. */
  wake(): void {
    this.stale = true;
    this.bell.ring();
  }

  /** Carries out calls until the session ends; the answer is why a turn failed. */
  async run(): Promise<CodedError> {
    try {
      for (;;) {
        await this.bell.wait(this.stop.signal);
        while (this.end === undefined && (this.calls.length > 0 || this.stale)) await this.turn();
        this.stop.signal.throwIfAborted();
      }
    } catch (thrown) {
      return CodedError.from(thrown);
    }
  }

  /** Every waiting call fails: with `reason`, or as unknown where something was sent. */
  finish(reason: CodedError): void {
    if (this.end !== undefined) return;
    this.end = reason;
    const calls = [...this.underWay, ...this.calls];
    for (const rest of this.rests.splice(0)) rest.fail(reason);
    this.calls = [];
    for (const call of calls) call.fail(call.kind === "commit" && call.sent ? unknownOutcome(reason) : reason);
    this.stop.abort(reason);
  }

  private push(call: Commit | Read): void {
    if (this.end !== undefined) call.fail(this.end);
    else if (this.calls.length >= MAX_WAITING_CALLS) call.fail(tooMany());
    else {
      this.calls.push(call);
      this.bell.ring();
    }
  }

  private async turn(): Promise<void> {
    this.busy = true;
    await this.takeTurn();
    this.busy = false;
    this.runRests();
  }

  private runRests(): void {
    if (this.busy) return;
    for (const rest of this.rests.splice(0)) rest.run(this.turns.mirror());
  }

  private async takeTurn(): Promise<void> {
    const commits = this.takeCommits();
    if (commits.length > 0) {
      this.underWay = commits;
      await this.turns.commit(commits, () => {
        for (const commit of commits) commit.sent = true;
      });
      this.underWay = [];
      return this.turns.afterCommit();
    }
    const reads = this.takeReads();
    this.underWay = reads;
    this.stale = false;
    await this.turns.refresh();
    this.underWay = [];
    for (const read of reads) read.run(this.turns.mirror());
  }

  private takeCommits(): readonly Commit[] {
    const commits: Commit[] = [];
    let bytes = 0;
    for (const call of this.calls) {
      if (call.kind !== "commit" || commits.length === MAX_GROUP_TRANSACTIONS) break;
      bytes += call.sizeBytes;
      if (commits.length > 0 && bytes > MAX_REQUEST_BYTES) break;
      commits.push(call);
    }
    this.calls.splice(0, commits.length);
    return commits;
  }

  private takeReads(): readonly Read[] {
    const reads: Read[] = [];
    for (const call of this.calls) {
      if (call.kind !== "read") break;
      reads.push(call);
    }
    this.calls.splice(0, reads.length);
    return reads;
  }
}

function settleWith<T>(run: () => T, resolve: (value: T) => void, reject: (reason: unknown) => void): void {
  try {
    resolve(run());
  } catch (thrown) {
    reject(thrown);
  }
}

function unknownOutcome(reason: CodedError): CodedError {
  return new CodedError("OUTCOME_UNKNOWN", `the session ended before the outcome of a commit was known: ${reason.message}`, {
    cause: reason,
  });
}

const tooMany = (): CodedError => new CodedError("LIMIT_EXCEEDED", `${MAX_WAITING_CALLS} calls already wait for the store`);
