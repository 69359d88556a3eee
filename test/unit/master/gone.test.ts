/** A worker that its operator says will never come back. */
import { describe, expect, test } from "vitest";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const supervised = programSpec({ supervise: true });

describe("a worker that is gone", () => {
  test("has what it ran started elsewhere at once, without a deadline", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("p", supervised);
    one.launch();
    const two = new TestWorker(master, "w2");
    one.disconnect();
    expect(master.ask("gone", { worker: "w1" })).toEqual({ id: "w1", state: "gone" });
    expect(two.launch()).toEqual([`${id}.d2`]);
    expect(master.record(id).restartedAt).toEqual([]);
  });

  test("may never register again, whatever its incarnation and whoever leads", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    one.disconnect();
    master.ask("gone", { worker: "w1" });
    for (const leader of [master, master.failover()]) {
      for (const incarnation of [1, 2, 7]) {
        one.incarnation = incarnation;
        one.register(leader);
        expect(leader.sent("worker.refused")).toMatchObject([{ body: { reason: "gone" } }]);
      }
      expect(leader.ask("workers", { states: ["gone"] }).workers).toMatchObject([{ id: "w1", retired: true }]);
    }
  });

  test("is told to shut down when it is connected, and what may not run twice waits until it has to have ended", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("p", supervised);
    const job = master.submit("j", jobSpec(1));
    one.launch();
    new TestDriver(master, master.record(job), 1);
    const two = new TestWorker(master, "w2");
    master.ask("gone", { worker: "w1" });
    expect(master.sent("worker.refused")).toMatchObject([{ linkId: one.linkId, body: { reason: "gone" } }]);
    expect(two.launch()).toEqual([`${job}.d2`]);
    master.pass(12_999);
    expect(two.launch()).toEqual([]);
    master.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("is so for good although it was lost, or has left, before; saying it twice changes nothing", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    one.disconnect();
    master.pass(10_000);
    expect(master.ask("gone", { worker: "w1" }).state).toBe("gone");
    const record = master.store.get("workers/w1");
    expect(master.ask("gone", { worker: "w1" }).state).toBe("gone");
    expect(master.store.get("workers/w1")).toBe(record);
    const two = new TestWorker(master, "w2");
    master.send(two.linkId, "worker.left", {});
    two.incarnation = 2;
    two.register();
    expect(master.sent("worker.refused")).toEqual([]);
  });

  test("that nobody knows is an error", () => {
    expect(new TestMaster().try("gone", { worker: "w9" }).error).toBe("NOT_FOUND");
  });
});
