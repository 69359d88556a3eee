/** A master dies at points of its recovery, and it comes to the same (I19). All points: `node dist/bin/sim.mjs --crash-points`. */
import { describe, expect, test } from "vitest";
import { runCrashes } from "../../../src/sim/crash/crash-run.js";
import { judge, secondCrashes, singleCrashes } from "../../../src/sim/crash/enumerate.js";
import { difference } from "../../../src/sim/crash/run-state.js";
import { SITUATIONS, situationName } from "../../../src/sim/crash/situations.js";
import { MUTANTS } from "../../../src/sim/mutants/all.js";
import { drain } from "./drain.js";

const situations = SITUATIONS.filter((situation) => situationName(situation) === "shared/crash");

/** Slow machines run a test's three runs in half a minute. */
const PATIENCE = { timeout: 120_000 };

describe("a master that dies on its way", () => {
  test("what it passes is counted, and the next one comes to the same, also when that one dies, too", PATIENCE, async () => {
    const [situation] = situations;
    if (situation === undefined) throw new Error("the situation is gone");
    const undisturbed = await runCrashes(situation, [], { drain });
    expect(undisturbed.violation).toBeNull();
    const cases = singleCrashes(undisturbed);
    for (const part of [/before commit/, /commit in flight/, /committed/, /applied commit/, /before frame/, /after timer/])
      expect(
        cases.some(({ label }) => part.test(label)),
        String(part),
      ).toBe(true);
    const one = cases[Math.floor(cases.length / 2)];
    if (one === undefined) throw new Error("there is no point");
    const first = await judge(situation, one, undisturbed, { drain });
    expect(first.problem, one.label).toBeNull();
    expect(first.run.died).toHaveLength(1);
    const seconds = secondCrashes(one, first.run);
    const second = seconds[Math.floor(seconds.length / 2)];
    if (second === undefined) throw new Error("there is no second point");
    const twice = await judge(situation, second, undisturbed, { drain });
    expect(twice.problem, second.label).toBeNull();
    expect(twice.run.died).toHaveLength(2);
  });

  test("a planted bug is found: recovery that takes what ran for something that waits", PATIENCE, async () => {
    const [situation] = situations;
    const mutant = MUTANTS.find(({ name }) => name === "recovers-as-waiting");
    if (situation === undefined || mutant === undefined) throw new Error("the situation or the planted bug is gone");
    const { violation } = await runCrashes(situation, [], { drain, mutant });
    expect(violation?.invariant).toBe("I12");
  });

  test(
    "a job's driver and executors pass points from a checkpoint to the next one, and the job comes to the same",
    PATIENCE,
    async () => {
      const situation = SITUATIONS.find((one) => situationName(one) === "job-completion/at-checkpoint");
      if (situation === undefined) throw new Error("the situation is gone");
      const undisturbed = await runCrashes(situation, [], { drain });
      expect(undisturbed.violation).toBeNull();
      const cases = singleCrashes(undisturbed);
      for (const part of [
        "before put state",
        "applied put state",
        "committed",
        "before commit sink",
        "applied commit sink",
        "before remove state",
      ]) {
        const one = cases.find(({ label }) => label.endsWith(part));
        if (one === undefined) throw new Error(`no process passes "${part}"`);
        const { run, problem } = await judge(situation, one, undisturbed, { drain });
        expect(problem, one.label).toBeNull();
        expect(run.died).toHaveLength(1);
      }
    },
  );

  test("a planted bug is found by the comparison alone: a second recovery that forgets a cancel", {
    timeout: 120_000,
  }, async () => {
    const [situation] = situations;
    const mutant = MUTANTS.find(({ name }) => name === "forgets-cancels-at-take-over");
    if (situation === undefined || mutant === undefined) throw new Error("the situation or the planted bug is gone");
    const run = await runCrashes(situation, [], { drain, mutant });
    const healthy = await runCrashes(situation, [], { drain });
    const facts = difference(healthy.settled ?? [], run.settled ?? []);
    expect(run.violation !== null || facts.length > 0).toBe(true);
  });
});

describe("the difference of two states", () => {
  test("names what is missing and what is added, with how often", () => {
    expect(difference(["a", "b", "b"], ["a", "c"])).toEqual(["missing: b (2 times)", "added: c"]);
    expect(difference(["a", "b"], ["b", "a"])).toEqual([]);
  });
});
