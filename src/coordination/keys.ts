/**
 * Every key that Holdfast keeps in a coordination store. One store (one directory, one prefix) holds one cluster.
 *
 *   cluster                     persistent  who this store belongs to: { v, id }. Written once, by the first leader.
 *   epoch                       persistent  the fence. { v, epoch, session, candidate, binding }: who took the epoch last. Put only by taking an
 *                                           epoch and never deleted, so its version only grows: every write of a leader is guarded by it.
 *   commit/last                 persistent  { v, epoch, sequence } of the last fenced commit: read back to learn an unknown outcome.
 *   candidates/ORDINAL-SESSION  ephemeral   one a process that leads or stands by: { v, session, candidate }, in order of arrival.
 *   leader/EPOCH                ephemeral   there while the session of that epoch's leader lives: { v, epoch, candidate }. A hint only.
 *   records/...                 persistent  everything else: the records of `Leadership.commit` and `Leadership.readRecords`.
 */
export const CLUSTER_KEY = "cluster";
export const EPOCH_KEY = "epoch";
export const LAST_COMMIT_KEY = "commit/last";
export const CANDIDATES_PREFIX = "candidates/";
export const LEADER_PREFIX = "leader/";
export const RECORDS_PREFIX = "records/";

const ORDINAL_DIGITS = 12;

/** Sorts by arrival; the session's id makes it unique, and breaks the tie of two that arrive at once. */
export function candidateKey(ordinal: number, sessionId: string): string {
  return `${CANDIDATES_PREFIX}${digits(ordinal)}-${sessionId}`;
}

/** The ordinal in a candidate's key, or 0 where somebody else wrote something there. */
export function ordinalOf(key: string): number {
  const ordinal = Number(key.slice(CANDIDATES_PREFIX.length, CANDIDATES_PREFIX.length + ORDINAL_DIGITS));
  return Number.isSafeInteger(ordinal) && ordinal > 0 ? ordinal : 0;
}

export function leaderKey(epoch: number): string {
  return `${LEADER_PREFIX}${digits(epoch)}`;
}

function digits(count: number): string {
  return String(count).padStart(ORDINAL_DIGITS, "0");
}
