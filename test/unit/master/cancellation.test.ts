import { describe, expect, test } from "vitest";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

function runningJob(settings = {}) {
  const master = new TestMaster({ settings });
  const worker = new TestWorker(master, "w1", { cores: 8 });
  const id = master.submit("job", jobSpec(2));
  worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  worker.launch();
  return { master, worker, id, driver };
}

describe("cancel", () => {
  test("of what waits takes effect at once", () => {
    const master = new TestMaster();
    const id = master.submit("k", programSpec());
    expect(master.ask("cancel", { application: id })).toEqual({ id, state: "cancelled" });
    const worker = new TestWorker(master, "w1");
    master.pass(60_000);
    expect(worker.launch()).toEqual([]);
  });

  test("of a program stops it, and is over when it has ended; a supervised one is not restarted", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    worker.launch();
    expect(master.ask("cancel", { application: id }).state).toBe("running");
    expect(master.record(id).cancelRequested).toBe(true);
    expect(master.sent("worker.stop").map(({ body }) => body)).toEqual([
      { processId: `${id}.d1`, graceMs: 5_000, reason: "cancelled" },
    ]);
    expect(master.state(id)).toBe("running");
    worker.end(`${id}.d1`, 143);
    expect(master.status(id)).toMatchObject({ state: "cancelled", exitCode: 143 });
    master.pass(60_000);
    expect(worker.launch()).toEqual([]);
  });

  test("of what waits for its back-off takes effect at once", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    worker.launch();
    worker.end(`${id}.d1`, 1);
    expect(master.ask("cancel", { application: id }).state).toBe("cancelled");
    master.pass(60_000);
    expect(worker.launch()).toEqual([]);
  });

  test("of what has ended is harmless, and of what nobody knows an error", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    worker.end(`${id}.d1`, 0);
    expect(master.ask("cancel", { application: id }).state).toBe("finished");
    expect(master.try("cancel", { application: "app-1-77" }).error).toBe("NOT_FOUND");
  });

  test("of a job asks its driver first, and stops everything when that has answered", () => {
    const { master, worker, id, driver } = runningJob();
    master.ask("cancel", { application: id });
    expect(master.sent("driver.cancel")).toHaveLength(1);
    expect(worker.stop()).toEqual([]);
    expect(driver.finish("cancelled").error).toBeNull();
    expect(worker.stop()).toEqual([`${id}.d1.e1`, `${id}.d1.e2`]);
    expect(master.state(id)).toBe("running");
    worker.end(`${id}.d1`, 0);
    expect(master.state(id)).toBe("cancelled");
  });

  test("of a job whose driver does not answer signals everything within its grace", () => {
    const { master, worker, id } = runningJob();
    master.ask("cancel", { application: id });
    master.pass(2_000);
    expect(worker.stop()).toEqual([`${id}.d1`, `${id}.d1.e1`, `${id}.d1.e2`]);
    expect(master.state(id)).toBe("cancelled");
  });

  test("refuses a decision that comes after it, and comes too late after one", () => {
    const cancelledFirst = runningJob();
    cancelledFirst.master.ask("cancel", { application: cancelledFirst.id });
    expect(cancelledFirst.driver.commit(1).error).toBe("SUPERSEDED");
    const decidedFirst = runningJob();
    decidedFirst.driver.commit(1);
    expect(decidedFirst.master.ask("cancel", { application: decidedFirst.id }).state).toBe("running");
    decidedFirst.driver.finish("finished");
    expect(decidedFirst.master.state(decidedFirst.id)).toBe("finished");
  });

  test("goes on with the next leader", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    worker.launch();
    master.ask("cancel", { application: id });
    const next = master.failover();
    expect(next.state(id)).toBe("running");
    worker.register(next);
    expect(worker.stop()).toEqual([`${id}.d1`]);
    expect(next.state(id)).toBe("cancelled");
  });

  test("of a job goes on with the next leader, also on workers that return late", () => {
    const { master, worker, id } = runningJob();
    const late = new TestWorker(master, "w2");
    late.running.set(`${id}.d1.e9`, {
      ...(worker.running.get(`${id}.d1.e1`) as never as object),
      processId: `${id}.d1.e9`,
    } as never);
    master.ask("cancel", { application: id });
    const next = master.failover();
    worker.register(next);
    expect(worker.stop()).toEqual(expect.arrayContaining([`${id}.d1`, `${id}.d1.e1`, `${id}.d1.e2`]));
    expect(next.state(id)).toBe("running");
    late.register(next);
    expect(late.stop()).toEqual([`${id}.d1.e9`]);
    expect(next.state(id)).toBe("cancelled");
  });

  test("does not wait for ever for a worker that is lost", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    worker.disconnect();
    master.ask("cancel", { application: id });
    expect(master.state(id)).toBe("running");
    master.pass(10_000);
    expect(master.state(id)).toBe("cancelled");
  });

  test("reaches a worker that was away when it was asked for", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    worker.disconnect();
    master.ask("cancel", { application: id });
    master.pass(5_000);
    worker.register();
    expect(worker.stop()).toEqual([`${id}.d1`]);
    expect(master.state(id)).toBe("cancelled");
  });
});
