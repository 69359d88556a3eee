/** The pauses between attempts to get a lock: slow while nothing happens, a short burst after a nudge. */
import { type Clock, sleep } from "../../env/clock.js";

const POLL_MS = 250;
/** After a nudge: a killed process needs some milliseconds until the kernel has freed its lock. Sums up to about half a second. */
const BURST_MS = [0, 1, 1, 2, 2, 3, 4, 5, 8, 12, 20, 30, 50, 80, 120, 160] as const;

export interface LockWait {
  /** The lock may be free: cuts the present pause short and begins the burst. */
  nudge(): void;
  /** Until the next attempt is due. Rejects with the signal's reason. */
  pause(): Promise<void>;
}

export function createLockWait(options: { readonly clock: Clock; readonly signal: AbortSignal }): LockWait {
  let step: number = BURST_MS.length;
  let nudged = false;
  let cut: AbortController | undefined;
  return {
    nudge() {
      step = 0;
      nudged = true;
      cut?.abort();
    },
    async pause() {
      options.signal.throwIfAborted();
      // A nudge that came while an attempt was under way counts for the pause that follows it.
      const pauseMs = BURST_MS[step] ?? POLL_MS;
      if (step < BURST_MS.length) step++;
      nudged = false;
      if (pauseMs === 0) return;
      cut = new AbortController();
      try {
        await sleep(options.clock, pauseMs, AbortSignal.any([options.signal, cut.signal]));
      } catch (thrown) {
        if (!nudged) throw thrown;
        options.signal.throwIfAborted();
      } finally {
        cut = undefined;
      }
    },
  };
}
