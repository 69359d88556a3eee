/** Time and chance as the client sees them, so that tests can move them by hand. Boundary: the defaults here are the only real ones. */

export interface ZooKeeperClock {
  /** Monotonic milliseconds of this process. */
  now(): number;
  /** Calls `run` once, at or after the instant, and never before sockets that are ready were read once. */
  at(instant: number, run: () => void): { cancel(): void };
}

export interface ZooKeeperRandom {
  /** Uniform in [0, 1). */
  fraction(): number;
}

/** `setTimeout` cannot count farther. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Its timers keep the process alive, as an open connection does: a client lives until it is closed. */
export const systemClock: ZooKeeperClock = {
  now: () => performance.now(),
  at: (instant, run) => {
    let cancel: () => void;
    const arm = (): void => {
      const leftMs = instant - performance.now();
      if (leftMs <= 0) {
        const immediate = setImmediate(run);
        cancel = () => clearImmediate(immediate);
        return;
      }
      const timeout = setTimeout(arm, Math.min(Math.ceil(leftMs), MAX_TIMEOUT_MS));
      cancel = () => clearTimeout(timeout);
    };
    arm();
    return { cancel: () => cancel() };
  },
};

export const systemRandom: ZooKeeperRandom = { fraction: () => Math.random() };
