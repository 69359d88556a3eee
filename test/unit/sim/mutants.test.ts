/**
 * Planted bugs that show within a few seeds; `node dist/bin/sim.mjs --ci` searches for all of them. A checker that stays silent here has gone blind.
 */
import { describe, expect, test } from "vitest";
import { MUTANTS } from "../../../src/sim/mutants/all.js";
import { runSeed } from "../../../src/sim/scenario.js";
import { drain } from "./drain.js";

const SEEDS = 25;
/** Each with the invariants by which it may be noticed. */
const QUICKLY_FOUND: Readonly<Record<string, readonly string[]>> = {
  "acknowledges-first": ["I4"],
  "cancel-not-recorded": ["I4"],
  "decision-not-recorded": ["I7"],
  "attempt-not-recorded": ["I12"],
  "duplicates-by-key": ["I5"],
  "never-acknowledges": ["I10"],
  "loses-launches": ["I21"],
  "old-answers": ["I20"],
  "forgets-inventory": ["I10", "I12", "I21"],
  "over-commits": ["I11"],
  "no-removal-limit": ["I29"],
  "forgets-gone": ["I28"],
  "reports-once": ["I11", "I21"],
  "stops-politely-only": ["I9", "I21"],
  "commits-before-the-manifest": ["I15"],
  "pointer-before-sync": ["I13"],
  "removes-before-the-pointer": ["I10"],
  "barrier-overtakes": ["I14"],
  "position-ahead": ["I14"],
  "ids-begin-anew": ["I13"],
};

describe("planted bugs", () => {
  test("are at least ten, with names of their own", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(10);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });

  test.each(Object.keys(QUICKLY_FOUND))("%s is found", { timeout: 60_000 }, async (name) => {
    const mutant = MUTANTS.find((one) => one.name === name);
    expect(mutant).toBeDefined();
    if (mutant === undefined) return;
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const { violation } = await runSeed(seed, { drain, mutant });
      if (violation === null) continue;
      expect(QUICKLY_FOUND[name]).toContain(violation.invariant);
      return;
    }
    expect.fail(`not found within ${SEEDS} seeds`);
  });
});
