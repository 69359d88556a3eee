import { describe, expect, test } from "vitest";
import { MUTANTS } from "../../../src/sim/mutants/all.js";
import { runSeed } from "../../../src/sim/scenario.js";
import { type PlannedFault, parseSchedule, type Schedule, scheduleLines } from "../../../src/sim/schedule.js";
import { shrink } from "../../../src/sim/shrink.js";
import { drain } from "./drain.js";

const fault = (draw: number): PlannedFault => ({ at: draw * 10.5, kind: "kill-leader", draw });
const schedule = (draws: readonly number[], submissions: readonly string[]): Schedule => ({
  seed: 3,
  mutant: null,
  faults: draws.map(fault),
  submissions,
});
const draws = (one: Schedule | undefined): readonly number[] => one?.faults.map(({ draw }) => draw) ?? [];

describe("shrinking", () => {
  test("keeps exactly what it takes to fail", async () => {
    const all = Array.from({ length: 40 }, (_, index) => index + 1);
    const shrunk = await shrink(
      schedule(all, ["a", "b", "c", "d"]),
      async (one) => (draws(one).includes(7) && draws(one).includes(31) && one.submissions.includes("c") ? "I4" : null),
      400,
    );
    expect(draws(shrunk?.schedule)).toEqual([7, 31]);
    expect(shrunk?.schedule.submissions).toEqual(["c"]);
  });

  test("does not take another failure for the same one", async () => {
    const shrunk = await shrink(
      schedule([1, 2, 3], ["a"]),
      async (one) => (draws(one).length === 3 ? "I4" : draws(one).length > 0 ? "I21" : null),
      100,
    );
    expect(draws(shrunk?.schedule)).toEqual([1, 2, 3]);
    expect(shrunk?.invariant).toBe("I4");
  });

  test("stops after so many runs, with something that fails", async () => {
    let runs = 0;
    const attempt = async (one: Schedule) => {
      runs += 1;
      return draws(one).includes(5) ? "I4" : null;
    };
    const shrunk = await shrink(schedule([1, 2, 3, 4, 5, 6, 7, 8], ["a", "b"]), attempt, 4);
    expect(runs).toBeLessThanOrEqual(4);
    expect(draws(shrunk?.schedule)).toContain(5);
  });

  test("of what does not fail is nothing", async () => {
    expect(await shrink(schedule([1], ["a"]), async () => null, 10)).toBeNull();
  });

  test("a planted bug comes down to a few lines that are played again and fail again", { timeout: 120_000 }, async () => {
    const mutant = MUTANTS.find(({ name }) => name === "acknowledges-first");
    if (mutant === undefined) throw new Error("the planted bug is gone");
    for (let seed = 1; seed <= 25; seed += 1) {
      const { plan, violation } = await runSeed(seed, { drain, mutant });
      if (violation === null) continue;
      const attempt = async (one: Schedule) => (await runSeed(seed, { drain, mutant, schedule: one })).violation?.invariant ?? null;
      const shrunk = await shrink({ seed, mutant: mutant.name, ...plan }, attempt, 60);
      const lines = scheduleLines(shrunk?.schedule ?? schedule([], []), () => "what it hit");
      expect(lines.length).toBeLessThanOrEqual(20);
      const again = parseSchedule(lines.join("\n"));
      expect(again).toEqual(shrunk?.schedule);
      expect((await runSeed(again.seed, { drain, mutant, schedule: again })).violation?.invariant).toBe(violation.invariant);
      return;
    }
    expect.fail("no seed found the planted bug");
  });
});

describe("a schedule", () => {
  test("is read as it was written", () => {
    const written = schedule([1, 2], ["c0-1", "c1-0"]);
    expect(parseSchedule(scheduleLines(written, () => "master-1").join("\n"))).toEqual(written);
  });

  test.each([
    ["flood 1 2", /line 2 .*flood/],
    ["fault 1 earthquake 2", /line 2 .*earthquake/],
    ["fault soon kill-leader 2", /line 2/],
  ])("with a line that is none is refused, and the line named (%s)", (line, message) => {
    expect(() => parseSchedule(`seed 1\n${line}`)).toThrow(message);
  });

  test("that is the seed's own gives the seed's run", async () => {
    const drawn = await runSeed(4, { drain });
    const planned = await runSeed(4, { drain, schedule: drawn.plan });
    expect(planned.traceHash).toBe(drawn.traceHash);
  });
});
