/**
 * How fast a master may go for the epoch again: so that two masters that suspect each other, or one that wins and loses again and again, do not
 * exchange the epoch in a storm. Pure.
 *
 *   1. Who lost an epoch because something of its own failed (its disk, its session, a defect) stands in line again after a growing pause.
 *   2. Who was deposed by another while it lived stands in line at once: behind a living leader that does no harm. But somebody suspected it
 *      wrongly, or the network lies to somebody; so what *it* sees of others is worth less for a while: its next suspicion of a leader
 *      waits for a growing pause. The end of the leader's session needs no suspicion and is never waited with. Every exchange in a storm has a
 *      deposed master that lives, so each exchange makes the next one later; a leader that really died leaves none, and costs no pause.
 *   3. Pauses are bounded and jittered, and a calm time makes everything forgotten. What an operator asked for is not counted.
 */

const FIRST_PAUSE_MS = 100;
export const LONGEST_RETRY_MS = 10_000;
export const LONGEST_SUSPICION_MS = 60_000;
/** A leadership that lasted this long was a working one. */
export const STABLE_LEADERSHIP_MS = 30_000;

export type LeadershipEnd = "planned" | "deposed" | "failed";

export interface ElectionPace {
  /** A leadership is over, or (`lastedMs` 0) could not be had at all. The pause before this master stands in line again. */
  ended(end: LeadershipEnd, lastedMs: number, now: number): number;
  /** The pause before a suspicion of the leader is acted upon. */
  suspicionPauseMs(now: number): number;
}

export function createElectionPace(fraction: () => number): ElectionPace {
  let failures = 0;
  let depositions = 0;
  let calmAt = Number.NEGATIVE_INFINITY;

  const pauseMs = (count: number, longestMs: number): number => {
    if (count === 0) return 0;
    return Math.min(longestMs, FIRST_PAUSE_MS * 2 ** Math.min(count - 1, 20)) * (0.5 + fraction() / 2);
  };
  const forget = (now: number) => {
    if (now >= calmAt) depositions = 0;
  };

  return {
    ended(end, lastedMs, now) {
      const stable = lastedMs >= STABLE_LEADERSHIP_MS;
      if (end === "planned" || stable) failures = 0;
      if (end === "deposed") {
        forget(now);
        depositions = stable ? 1 : depositions + 1;
        // As long as two rivals may wait for each other at the present pace, and a calm time after it.
        const longestPauseMs = Math.min(LONGEST_SUSPICION_MS, FIRST_PAUSE_MS * 2 ** Math.min(depositions, 20));
        calmAt = now + STABLE_LEADERSHIP_MS + 4 * longestPauseMs;
      }
      if (end !== "failed" || stable) return 0;
      failures += 1;
      return pauseMs(failures, LONGEST_RETRY_MS);
    },
    suspicionPauseMs(now) {
      forget(now);
      return pauseMs(depositions, LONGEST_SUSPICION_MS);
    },
  };
}
