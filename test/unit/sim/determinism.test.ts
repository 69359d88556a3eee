import { describe, expect, test } from "vitest";
import { runSeed } from "../../../src/sim/scenario.js";
import { drain } from "./drain.js";

const SEEDS = [2, 3, 4, 5];

describe("a seed", () => {
  test.each(SEEDS)("gives the same run again (seed %i)", async (seed) => {
    const first = await runSeed(seed, { drain });
    const again = await runSeed(seed, { drain });
    expect(first.violation).toBeNull();
    expect(again.traceHash).toBe(first.traceHash);
    expect(again.events).toBe(first.events);
    expect(again.virtualMs).toBe(first.virtualMs);
    expect(again.faults).toEqual(first.faults);
  });

  test("is another run than the next one", async () => {
    const hashes = new Set<string>();
    for (const seed of SEEDS) hashes.add((await runSeed(seed, { drain })).traceHash);
    expect(hashes.size).toBe(SEEDS.length);
  });
});
