/** The fence of a try: a number for other systems that only grows within an application. */
import { assert } from "../base/assert.js";

/** Tries of one driver attempt, at most; attempts are the master's and fenced by its epoch, tries are counted by the driver. */
const TRIES = 2 ** 32;

/**
 * Of a try's name, `<driver attempt>.<try>`. Attempts of drivers only grow over all masters, and tries within an attempt do; so does this number. Names of
 * another form (tests) have none: 0.
 */
export function fenceOf(attempt: string): number {
  const match = /^([0-9]+)\.([0-9]+)$/.exec(attempt);
  if (match === null) return 0;
  const fence = Number(match[1]) * TRIES + Number(match[2]);
  assert(Number(match[2]) < TRIES && Number.isSafeInteger(fence), `the try ${attempt} has a fence`);
  return fence;
}

/** The try whose fence this is. */
export const attemptOf = (fence: number): string => `${Math.floor(fence / TRIES)}.${fence % TRIES}`;

/** The largest fence of that try's driver attempt. */
export const lastFenceOf = (fence: number): number => (Math.floor(fence / TRIES) + 1) * TRIES - 1;
