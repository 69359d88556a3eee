/**
 * Whether a master that does not prove its life hangs. Pure: instants come in, the judgement goes out.
 *
 * Only time in which the master could have spoken counts against it:
 *   1. The parent counts its own ticks, never the clock alone. When the parent was not scheduled or the machine slept, its next tick comes
 *      late; a late tick counts little, and one that is very late begins anew: what the master said meanwhile waits unread in the pipe.
 *   2. Time in which the master was ready to run and got no processor is taken off, within MAX_SILENCE_MS: a machine that is overloaded is no
 *      hung master. (A busy loop has the processor, a stopped or blocked process does not want it: both count in full.)
 */

/** How often the parent looks. */
export const TICK_MS = 100;
/** What one tick may count: its own length and as much delay. */
const MAX_COUNTED_MS = 2 * TICK_MS;
/** A tick that is this late says that the parent itself stood still. */
const STOOD_STILL_MS = 5 * TICK_MS;
/** Silence that no shortage of processors excuses any more. */
export const MAX_SILENCE_MS = 10_000;

export interface Silence {
  heard(now: number): void;
  /** `starvedMs`: of the time since the last tick, what the master spent ready to run without a processor. True: it hangs. */
  tick(now: number, starvedMs: number): boolean;
  /** How long it has been silent, as far as that counts. */
  silentMs(): number;
}

export function createSilence(limitMs: number, now: number): Silence {
  let from = now;
  let silentMs = 0;
  let excusedMs = 0;
  return {
    heard(at) {
      from = at;
      silentMs = 0;
      excusedMs = 0;
    },
    tick(at, starvedMs) {
      const gapMs = at - from;
      from = at;
      if (gapMs > STOOD_STILL_MS) {
        silentMs = 0;
        excusedMs = 0;
        return false;
      }
      const countedMs = Math.min(gapMs, MAX_COUNTED_MS);
      silentMs += countedMs;
      excusedMs += Math.min(countedMs, Math.max(0, starvedMs));
      return silentMs >= MAX_SILENCE_MS || silentMs - excusedMs >= limitMs;
    },
    silentMs: () => silentMs,
  };
}
