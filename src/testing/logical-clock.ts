/**
 * A clock for tests that run in one process: `now` grows by a fixed amount with each look at it and with each turn of the event loop that a
 * timer waits for. So what the engine decides by time (how many records a loop gets, when subtasks give way, when part-filled batches
 * leave) is the same in every run. Never for what users wait for: a turn is not a millisecond.
 */
import type { Clock } from "../env/clock.js";

/** A look at the clock costs so much of its time: a chain gives way after some tens of batches. */
const LOOK_MS = 0.05;
const TURN_MS = 1;

interface Waiting {
  readonly instant: number;
  readonly run: () => void;
}

export function createLogicalClock(): Clock {
  let nowMs = 0;
  const waiting = new Set<Waiting>();
  let isTurning = false;
  const turn = () => {
    isTurning = false;
    nowMs += TURN_MS;
    const due = [...waiting].filter((timer) => timer.instant <= nowMs).sort((a, b) => a.instant - b.instant);
    for (const timer of due) if (waiting.delete(timer)) timer.run();
    schedule();
  };
  const schedule = () => {
    if (isTurning || waiting.size === 0) return;
    isTurning = true;
    setImmediate(turn);
  };
  return {
    now: () => {
      nowMs += LOOK_MS;
      return nowMs;
    },
    wallNow: () => nowMs,
    at: (instant, run) => {
      const timer = { instant, run };
      waiting.add(timer);
      schedule();
      return { cancel: () => void waiting.delete(timer) };
    },
  };
}
