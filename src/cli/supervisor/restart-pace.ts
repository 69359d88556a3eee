/**
 * How long the parent of a master waits before it starts the next one, and how patient it is with it. Pure.
 *
 * The first restart does not wait for long: a cluster with a single master stands still meanwhile. But it waits: on a machine where a standby
 * takes over, a process that starts at once would take the processor away from it.
 */

export const FIRST_PAUSE_MS = 100;
export const LONGEST_PAUSE_MS = 10_000;
/** A master that lived this long was a working one: what was before it is forgotten. */
export const STABLE_MS = 30_000;
/** Patience grows with each hang up to this factor: a master that has more to do in one go than the limit allows must come through. */
export const MAX_PATIENCE = 16;

export interface RestartPace {
  /** After an unexpected end: the pause before the next start. */
  ended(end: { readonly livedMs: number; readonly hung: boolean }): number;
  /** What the limit of silence is multiplied with. */
  patience(): number;
}

export function createRestartPace(): RestartPace {
  let failures = 0;
  let patience = 1;
  return {
    ended({ livedMs, hung }) {
      if (livedMs >= STABLE_MS) {
        failures = 0;
        patience = 1;
      }
      failures += 1;
      if (hung) patience = Math.min(MAX_PATIENCE, patience * 2);
      return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 20));
    },
    patience: () => patience,
  };
}
