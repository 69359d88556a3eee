/**
 * The sessions of one key: times that are not further apart than a gap belong together, so a record may join two sessions into one.
 *
 * Invariants: sessions of a key neither overlap nor touch; they are in ascending order; each spans from its first time to its last plus the gap.
 */

export interface Session {
  start: number;
  end: number;
}

/** Which of the sessions a record belongs to; `count` of them, from index `first`, become one (0: it is a new one, to stand at `first`). */
export interface SessionSpan {
  readonly first: number;
  readonly count: number;
  /** What the session spans with the record in it. */
  readonly start: number;
  readonly end: number;
}

export function spanOf(sessions: readonly Session[], timeMs: number, gapMs: number): SessionSpan {
  let start = timeMs;
  let end = timeMs + gapMs;
  // Most records belong to the latest session, or after it.
  let after = sessions.length;
  for (let last = sessions[after - 1]; last !== undefined && last.start > end; last = sessions[after - 1]) after--;
  let first = after;
  for (let last = sessions[first - 1]; last !== undefined && last.end >= start; last = sessions[first - 1]) {
    start = Math.min(start, last.start);
    end = Math.max(end, last.end);
    first--;
  }
  return { first, count: after - first, start, end };
}
