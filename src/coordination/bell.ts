/** A latch for one waiter: a ring that comes while nobody waits ends the next wait at once. */
export interface Bell {
  ring(): void;
  /** Resolves on the next ring, or at once when it rang since the last wait. Rejects with the signal's reason. */
  wait(signal: AbortSignal): Promise<void>;
}

export function createBell(): Bell {
  let rang = false;
  let wake: (() => void) | undefined;
  return {
    ring() {
      rang = true;
      wake?.();
    },
    wait(signal) {
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          wake = undefined;
          reject(signal.reason);
        };
        const done = () => {
          signal.removeEventListener("abort", onAbort);
          wake = undefined;
          rang = false;
          resolve();
        };
        if (signal.aborted) return onAbort();
        if (rang) return done();
        wake = done;
        signal.addEventListener("abort", onAbort, { once: true });
      });
    },
  };
}
