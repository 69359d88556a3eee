import { describe, expect, test } from "vitest";
import { World } from "../../../src/sim/world.js";
import { drain } from "./drain.js";

describe("the simulated world", () => {
  test("events run in the order of their instants, and in the order of their making within one", async () => {
    const world = new World(1, drain);
    const seen: string[] = [];
    for (const [at, name] of [
      [20, "c"],
      [10, "a"],
      [10, "b"],
    ] as const)
      world.schedule(at, "event", () => seen.push(`${name}@${world.now()}`));
    await world.runUntil(100);
    expect(seen).toEqual(["a@10", "b@10", "c@20"]);
    expect(world.now()).toBe(100);
  });

  test("promises settle before the next event", async () => {
    const world = new World(1, drain);
    const seen: string[] = [];
    world.schedule(
      1,
      "event",
      () =>
        void Promise.resolve()
          .then(() => Promise.resolve())
          .then(() => seen.push("microtask")),
    );
    world.schedule(1, "event", () => void seen.push("next event"));
    await world.runUntil(2);
    expect(seen).toEqual(["microtask", "next event"]);
  });

  test("a stopped process gets what came meanwhile when it goes on, in order", async () => {
    const world = new World(1, drain);
    const process = world.spawn("p", "m");
    const seen: string[] = [];
    for (const at of [10, 20, 30]) process.clock.at(at, () => seen.push(`${at}@${world.now()}`));
    world.schedule(5, "stop", () => process.pause());
    world.schedule(25, "continue", () => process.resume());
    await world.runUntil(100);
    expect(seen).toEqual(["10@25", "20@25", "30@30"]);
  });

  test("nothing of a dead process runs", async () => {
    const world = new World(1, drain);
    const process = world.spawn("p", "m");
    const seen: string[] = [];
    process.onDeath(() => seen.push("death"));
    process.clock.at(10, () => seen.push("timer"));
    world.schedule(5, "kill", () => process.kill());
    await world.runUntil(100);
    expect(seen).toEqual(["death"]);
  });

  test("an error in an event ends the run", async () => {
    const world = new World(1, drain);
    world.schedule(5, "event", () => {
      throw new Error("broken");
    });
    await expect(world.runUntil(100)).rejects.toThrow("broken");
  });
});
