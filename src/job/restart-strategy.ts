/**
 * Restart strategies: whether and when a failed try of a job is followed by another one.
 *
 * Boundary: pure arithmetic on instants; the driver core asks once for each failed try. Which strategy serves which kind of failure is
 * decided by `restartRules` below; what kind a failure is, by failures.ts. What was counted outlives a driver: failure-notes.ts.
 *
 * Invariants:
 *   1. `none` never restarts. A strategy with `attempts` n restarts at most n times in a row; a row ends after `resetAfterMs` without a failure.
 *      `failure-rate` never grants more than `failures` restarts within any span of `intervalMs`.
 *   2. Delays are finite, never negative, never above `maxMs`, and but for jitter those of a row of an exponential strategy never shrink.
 */

export type RestartStrategy =
  | { readonly kind: "none" }
  /** Never forgets: `attempts` counts over the whole life of the job. */
  | { readonly kind: "fixed-delay"; readonly attempts: number; readonly delayMs: number }
  | {
      readonly kind: "exponential";
      readonly initialMs: number;
      readonly maxMs: number;
      readonly multiplier: number;
      /** A failure that comes this long after the one before starts a new row, with the initial delay. */
      readonly resetAfterMs: number;
      /** Restarts in a row; null: no limit. */
      readonly attempts: number | null;
      /** Up to this share of a delay is left out, so that jobs which failed together do not all come back together. 0 to 1. */
      readonly jitter: number;
    }
  /** Gives up when more than `failures` of the tries fail within the span. */
  | { readonly kind: "failure-rate"; readonly failures: number; readonly intervalMs: number; readonly delayMs: number };

/** What the strategy has to remember. */
export interface RestartHistory {
  /** Restarts granted in the present row. */
  readonly row: number;
  readonly lastFailureAt: number | null;
  /** Of a strategy that looks at a span: the failures in it, oldest first. */
  readonly recent: readonly number[];
}

export const NO_FAILURES: RestartHistory = { row: 0, lastFailureAt: null, recent: [] };

export interface RestartDecision {
  /** Null: do not restart. */
  readonly delayMs: number | null;
  readonly history: RestartHistory;
}

/** `chance`: 0 (included) to 1, different for different jobs and tries. */
export function decideRestart(strategy: RestartStrategy, history: RestartHistory, now: number, chance = 0): RestartDecision {
  if (strategy.kind === "failure-rate") return decideByRate(strategy, history, now);
  const row = beginsNewRow(strategy, history, now) ? 0 : history.row;
  const limit = strategy.kind === "none" ? 0 : strategy.attempts;
  if (limit !== null && row >= limit) return { delayMs: null, history: { row, lastFailureAt: now, recent: [] } };
  return { delayMs: delayOf(strategy, row, chance), history: { row: row + 1, lastFailureAt: now, recent: [] } };
}

function decideByRate(
  { failures, intervalMs, delayMs }: Extract<RestartStrategy, { readonly kind: "failure-rate" }>,
  history: RestartHistory,
  now: number,
): RestartDecision {
  const recent = [...history.recent.filter((at) => at > now - intervalMs), now].slice(-(failures + 1));
  const next: RestartHistory = { row: recent.length, lastFailureAt: now, recent };
  return { delayMs: recent.length > failures ? null : delayMs, history: next };
}

function beginsNewRow(strategy: RestartStrategy, history: RestartHistory, now: number): boolean {
  return strategy.kind === "exponential" && history.lastFailureAt !== null && now - history.lastFailureAt >= strategy.resetAfterMs;
}

function delayOf(strategy: Exclude<RestartStrategy, { readonly kind: "failure-rate" }>, row: number, chance: number): number {
  if (strategy.kind === "none") return 0;
  if (strategy.kind === "fixed-delay") return strategy.delayMs;
  // The power may overflow to Infinity in a long row; the minimum brings it back.
  const delayMs = Math.min(strategy.maxMs, strategy.initialMs * strategy.multiplier ** row);
  return Math.round(delayMs * (1 - strategy.jitter * chance));
}

/** One strategy for each kind of failure that may be followed by another try. */
export interface RestartRules {
  /** Something that ran the job went away: an executor, its machine, a connection. The job itself did nothing wrong. */
  readonly lost: RestartStrategy;
  /** The job's own code, input or output failed. Most of these fail again, so a few tries are all that help. */
  readonly user: RestartStrategy;
}

/** A failure every minute or less often, for ever, is survived; the delay runs while the replacement is being placed, so it starts small. */
export const LOST_STRATEGY: RestartStrategy = {
  kind: "exponential",
  initialMs: 50,
  maxMs: 10_000,
  multiplier: 2,
  resetAfterMs: 60_000,
  attempts: null,
  jitter: 0.2,
};

/** Three tries in all. */
export const USER_STRATEGY: RestartStrategy = {
  kind: "exponential",
  initialMs: 500,
  maxMs: 10_000,
  multiplier: 2,
  resetAfterMs: 600_000,
  attempts: 2,
  jitter: 0.2,
};

/** A strategy that the job names holds for every kind of failure; else each kind has its own default. */
export function restartRules(named: RestartStrategy | null): RestartRules {
  return named === null ? { lost: LOST_STRATEGY, user: USER_STRATEGY } : { lost: named, user: named };
}
