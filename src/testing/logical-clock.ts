/**
 * A clock for tests that run in one process: `now` grows by a fixed amount with each look at it, so that whatever the engine decides by time
 * (how many records a loop gets, when subtasks give way) is the same in every run. Timers really wait, and move `now` on when they fire.
 */
import type { Clock } from "../env/clock.js";

/** A look at the clock costs so much of its time: a chain gives way after some tens of batches. */
const TICK_MS = 0.05;

export function createLogicalClock(): Clock {
  let nowMs = 0;
  return {
    now: () => {
      nowMs += TICK_MS;
      return nowMs;
    },
    wallNow: () => nowMs,
    at: (instant, run) => {
      const timer = setTimeout(
        () => {
          nowMs = Math.max(nowMs, instant);
          run();
        },
        Math.max(0, instant - nowMs),
      );
      return { cancel: () => clearTimeout(timer) };
    },
  };
}
