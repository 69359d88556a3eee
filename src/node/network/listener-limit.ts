/**
 * How many listeners one signal may have before Node warns of a leak. Many waits hang on the one signal of a program (each with a named bound of its
 * own), so Node's ten would put a warning into logs where all is well.
 *
 * Boundary: for programs only; a library leaves the default of its user's process alone.
 */
import { setMaxListeners } from "node:events";

const MAX_LISTENERS = 100_000;

export function allowManyWaits(): void {
  setMaxListeners(MAX_LISTENERS);
}
