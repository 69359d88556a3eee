/**
 * A master's holding back from the election: for a planned hand-over it lets others go first, for a bounded time.
 *
 * Invariant: whoever waits in line when the hold begins is taken out of it at once (`campaign`), and is let in again at its end, however it ends.
 */
import { CodedError } from "../../base/errors.js";
import type { Clock, Timer } from "../../env/clock.js";

export interface HoldBack {
  /** Anew, or longer than before. */
  begin(durationMs: number): void;
  /** The reason is gone: somebody leads. */
  end(): void;
  /** Resolves when nothing is held back. Rejects with the signal's reason. */
  wait(signal: AbortSignal): Promise<void>;
  /** Aborts when a hold begins: ends a campaign that is under way. */
  campaign(): AbortSignal;
}

export function createHoldBack(clock: Clock): HoldBack {
  let timer: Timer | null = null;
  let campaign = new AbortController();
  const waiting = new Set<() => void>();
  const end = () => {
    timer?.cancel();
    timer = null;
    for (const go of waiting) go();
    waiting.clear();
  };
  return {
    begin(durationMs) {
      timer?.cancel();
      timer = clock.at(clock.now() + durationMs, end);
      campaign.abort(new CodedError("ABORTED", "a hand-over to another master is under way"));
    },
    end,
    wait: (signal) =>
      new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason);
        if (timer === null) return resolve();
        const onAbort = () => {
          waiting.delete(go);
          reject(signal.reason);
        };
        const go = () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        };
        waiting.add(go);
        signal.addEventListener("abort", onAbort, { once: true });
      }),
    campaign() {
      if (campaign.signal.aborted && timer === null) campaign = new AbortController();
      return campaign.signal;
    },
  };
}
