/** The clock and the log of the launcher's tests; apart from launcher-support.ts, because the child processes of tests need them without vitest. */
import type { Clock } from "../../../src/env/clock.js";
import type { Log } from "../../../src/env/log.js";

export const realClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  at: (instant, run) => {
    const timer = setTimeout(run, Math.max(0, instant - performance.now()));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
