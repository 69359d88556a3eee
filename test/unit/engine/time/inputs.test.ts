/** The time of a chain with several channels, as checkpoints see it. */
import { expect, test } from "vitest";
import { sinks, sources } from "../../../../src/api/index.js";
import { InputGate } from "../../../../src/executor/run/input-gate.js";
import type { ChannelId } from "../../../../src/executor/run/network.js";
import { ChainDriver, runInputs } from "../../../../src/executor/run/subtask.js";
import { leastWatermarks } from "../../../../src/job/least-watermarks.js";
import { createLogicalClock } from "../../../../src/testing/logical-clock.js";
import { chainOf } from "./hand-fed.js";

const channel = (fromSubtask: number): ChannelId => ({ edge: "e", fromSubtask, toSubtask: 0 });

test("what the end of a channel makes due comes before the barrier that it completes, so all subtasks tell one time", async () => {
  const clock = createLogicalClock();
  const chain = await chainOf(
    (job) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .distinct("op", (n) => n)
        .to("out", sinks.collect()),
    clock,
    {},
  );
  const channels = [channel(0), channel(1)];
  const gate = new InputGate({ channels, maxBatchesPerChannel: 8, onTaken: () => undefined });
  const told: unknown[] = [];
  gate.push(0, { ms: 5, idle: false });
  gate.push(1, { ms: 20, idle: false });
  gate.push(1, 7);
  await runInputs(new ChainDriver(chain, clock), [{ input: 0, gate, channels }], {
    barrier: async () => {
      told.push(["barrier", chain.time.watermarkMs]);
      gate.push(0, null);
    },
    ended: async () => {
      told.push(["ended", chain.time.watermarkMs]);
      if (told.length > 2) return;
      // The barrier's channel goes on, to its end.
      gate.release(channels);
      gate.push(1, null);
    },
    isAligning: () => false,
    refuse: () => undefined,
  });
  expect(told).toEqual([
    ["barrier", 5],
    ["ended", 20],
    ["ended", 20],
  ]);
});

test("a job goes on from the least time of its subtasks, and from none where one knew nothing", () => {
  const told = [{ watermarks: { a: 5, b: 7, c: 1 } }, { watermarks: { a: 3, b: null } }, {}, { watermarks: { b: 9 } }];
  expect(leastWatermarks(told)).toEqual({ a: 3, b: null, c: 1 });
});
