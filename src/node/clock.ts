/** Real time. Timers never keep the process alive, never fire early, and may be farther away than `setTimeout` can count. */
import type { Clock, Timer } from "../env/clock.js";

/** Longer waits are made of several timers. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export function createNodeClock(): Clock {
  return {
    now: () => performance.now(),
    wallNow: () => Date.now(),
    at: startTimer,
  };
}

function startTimer(instant: number, run: () => void): Timer {
  let cancel: () => void;
  const arm = () => {
    const leftMs = instant - performance.now();
    if (leftMs <= 0) {
      const immediate = setImmediate(run);
      immediate.unref();
      cancel = () => clearImmediate(immediate);
      return;
    }
    // The event loop's own clock has whole milliseconds, so a timeout may come a fraction too early; it then waits once more.
    const timeout = setTimeout(() => (performance.now() >= instant ? run() : arm()), Math.min(Math.ceil(leftMs), MAX_TIMEOUT_MS));
    timeout.unref();
    cancel = () => clearTimeout(timeout);
  };
  arm();
  return { cancel: () => cancel() };
}
