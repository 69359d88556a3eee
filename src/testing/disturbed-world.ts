/** Runs a function with another time, other chance and another environment, to find out whether its result depends on them. */

const YEARS_MS = 3 * 365 * 86_400_000;

/** Synchronous only: everything is put back before it returns. */
export function withDisturbedWorld(run: () => void): void {
  const realNow = Date.now;
  const realRandom = Math.random;
  const RealDate = globalThis.Date;
  const shifted = () => realNow() + YEARS_MS;
  class ShiftedDate extends RealDate {
    constructor(...args: ConstructorParameters<typeof Date> | []) {
      if (args.length === 0) super(shifted());
      else super(...args);
    }
    static override now(): number {
      return shifted();
    }
  }
  Math.random = () => 1 - realRandom();
  globalThis.Date = ShiftedDate as DateConstructor;
  try {
    run();
  } finally {
    globalThis.Date = RealDate;
    Math.random = realRandom;
  }
}
