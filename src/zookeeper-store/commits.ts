/**
 * One group of commits, carried to a certain outcome.
 *
 * The log decides: entry number i is written together with a compare-and-set of the head from i-1 to i, so one author has it for good.
 * After a lost answer the entry is read: with this group's nonce it was applied; with another, it never will be; where there is none
 * yet, the same request is sent again, and at most one of its copies can be carried out.
 */
import { CodedError, hasCode } from "../base/errors.js";
import type { CommitResult, Transaction } from "../env/coordination-store.js";
import { decodeEntry, decodeHead } from "./codec.js";
import type { Ensemble } from "./ensemble.js";
import type { Layout } from "./layout.js";
import type { Mirror } from "./mirror.js";
import { vanished } from "./reading.js";
import { damaged } from "./sealed.js";
import { type StagedGroup, Staging } from "./staging.js";

export interface Committer {
  readonly ensemble: Ensemble;
  readonly layout: Layout;
  /** Of the session's end. */
  readonly signal: AbortSignal;
  mirror(): Mirror;
  /** Brings the mirror up to date, or replaces it. */
  refresh(): Promise<void>;
  nonce(): string;
  onChanged(keys: Iterable<string>): void;
  readonly maxStoreBytes?: number;
}

export interface WaitingCommit {
  readonly transaction: Transaction;
  /** Nothing of it may be sent any more. */
  given(): boolean;
  settle(outcome: CommitResult | CodedError): void;
}

/** Rejects when the session cannot go on; what is not settled then is of unknown outcome if `sent()` was called for it. */
export async function commitGroup(committer: Committer, group: readonly WaitingCommit[], sent: () => void): Promise<void> {
  let fresh = false;
  for (;;) {
    const commits = group.filter((commit) => !commit.given());
    if (commits.length === 0) return;
    const staging = newStaging(committer);
    const verdicts = commits.map((commit) => ({ commit, outcome: staging.add(commit.transaction) }));
    // A refusal counts only from what was read after the call.
    if (!fresh && verdicts.some(({ outcome }) => isRefusal(outcome))) {
      staging.undo();
      await committer.refresh();
      fresh = true;
      continue;
    }
    if (staging.empty) return settle(verdicts);
    const staged = groupOf(staging);
    if (staged instanceof CodedError) {
      staging.undo();
      return settle(commits.map((commit) => ({ commit, outcome: staged })));
    }
    const mirror = committer.mirror();
    const refusedAt = await send(committer, staged, sent);
    if (refusedAt === undefined) {
      mirror.keepEntry(staged.entry, staged.entryBytes);
      mirror.headVersion = (mirror.headVersion + 1) | 0;
      settle(verdicts);
      committer.onChanged(staging.changedKeys);
      return;
    }
    staging.undo();
    // Should somebody have changed an ephemeral record by hand, the log does not tell: then it is read again.
    mirror.touched.add(refusedAt.slice(refusedAt.lastIndexOf("/") + 1));
    await committer.refresh();
    fresh = true;
  }
}

function newStaging({ mirror, layout, ensemble, nonce, maxStoreBytes }: Committer): Staging {
  const limit = maxStoreBytes === undefined ? {} : { maxStoreBytes };
  return new Staging({ mirror: mirror(), layout, sessionId: ensemble.sessionId, nonce: nonce(), ...limit });
}

const isRefusal = (outcome: CommitResult | CodedError): boolean => outcome instanceof CodedError || !outcome.ok;

function groupOf(staging: Staging): StagedGroup | CodedError {
  try {
    return staging.group();
  } catch (thrown) {
    if (hasCode(thrown, "LIMIT_EXCEEDED")) return CodedError.from(thrown);
    throw thrown;
  }
}

function settle(verdicts: readonly { readonly commit: WaitingCommit; readonly outcome: CommitResult | CodedError }[]): void {
  for (const { commit, outcome } of verdicts) commit.settle(outcome);
}

/**
 * Undefined: it was applied, and nobody else has its index. Otherwise the path at which it was refused. Rejects when it can't be known any
 * more: the session ends.
 */
async function send(committer: Committer, { entry, operations }: StagedGroup, sent: () => void): Promise<string | undefined> {
  const { ensemble, layout, signal } = committer;
  const verdict = (author: string | undefined, path: string) => (author === entry.nonce ? undefined : path);
  let unknown = false;
  for (;;) {
    await ensemble.connected(signal);
    try {
      if (unknown) {
        const author = await authorOf(committer, entry.index);
        if (author !== undefined) return verdict(author, layout.head);
      }
      sent();
      const result = await ensemble.multi(operations);
      if (result.ok) return undefined;
      if (result.at <= 1) throwIfNoStore(layout, entry.index, result.reason);
      const path = operations[result.at]?.path ?? layout.head;
      // An earlier copy of it may be what moved the head.
      return unknown ? verdict(await authorOf(committer, entry.index), path) : path;
    } catch (thrown) {
      if (hasCode(thrown, "OUTCOME_UNKNOWN")) unknown = true;
      else if (!hasCode(thrown, "CONNECTION_LOST")) throw thrown;
    }
  }
}

/** The head and the log belong together; what else than a head that moved refuses them is no store any more. */
function throwIfNoStore(layout: Layout, index: number, reason: string): void {
  if (reason === "missing") throw vanished(layout);
  if (reason === "exists") throw damaged(layout.entry(index), "the log has an entry that its head does not know");
}

/** The nonce of an entry; undefined: the log does not reach so far yet. */
async function authorOf({ ensemble, layout }: Committer, index: number): Promise<string | undefined> {
  const path = layout.entry(index);
  // The head first: an entry that is missing after the head went past it was merged, not written in between.
  const [, head, entry] = await Promise.all([ensemble.sync(layout.head), ensemble.get(layout.head), ensemble.get(path)]);
  if (head === undefined) throw vanished(layout);
  if (entry !== undefined) return decodeEntry(entry.data, path).nonce;
  if (decodeHead(head.data, layout.head).index < index) return undefined;
  throw new CodedError("SESSION_ENDED", "the log was merged past a commit before its outcome could be read back");
}
