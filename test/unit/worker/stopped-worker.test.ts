/** Found by the simulator (seed 301): what waits for a stopped worker may be out of date when it goes on. */
import { describe, expect, test } from "vitest";
import { WorkerBench } from "./worker-bench.js";

const DEADLINE_MS = 10_000;

describe("a worker that was stopped", () => {
  test("for longer than its lease takes no order that waited meanwhile, and registers again", () => {
    const worker = new WorkerBench();
    worker.register();
    worker.now += DEADLINE_MS;
    expect(worker.launch("app-1-1.d2")).toEqual([
      { kind: "close-link", linkId: 1, reason: "this worker was stopped for too long" },
    ]);
    expect(worker.core.isLive("app-1-1.d2")).toBe(false);
    expect(worker.register().map(({ kind }) => kind)).toEqual(["worker.register"]);
    expect(worker.launch("app-1-1.d3")).toMatchObject([{ kind: "launch", order: { processId: "app-1-1.d3" } }]);
  });

  test("also when its own timer is the first to run", () => {
    const worker = new WorkerBench();
    worker.register();
    worker.now += DEADLINE_MS;
    worker.step({ kind: "wake-up" });
    expect(worker.launch("app-1-1.d2")).toEqual([]);
  });

  test("for a moment goes on as if nothing had been", () => {
    const worker = new WorkerBench();
    worker.register();
    worker.now += 5_000;
    expect(worker.launchLasting("app-1-1.d2")).toMatchObject([{ kind: "launch" }]);
  });
});
