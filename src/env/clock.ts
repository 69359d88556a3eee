/**
 * Time as a host sees it. Cores never read it; they get `now` as an argument and name the instant of their next wake-up.
 *
 * Contract: `now()` is monotonic milliseconds of this process (fractions allowed), comparable only within the process.
 * `wallNow()` is calendar time in milliseconds since 1970, for display and records only; it may jump.
 */
export interface Clock {
  now(): number;
  wallNow(): number;
  /** Calls `run` once, at or after the instant. A timer never keeps a closed program alive; cancelling twice is harmless. */
  at(instant: number, run: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** Resolves after `durationMs`, or rejects with the signal's reason as soon as it aborts. */
export function sleep(clock: Clock, durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      timer.cancel();
      reject(signal.reason);
    };
    const timer = clock.at(clock.now() + durationMs, () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
