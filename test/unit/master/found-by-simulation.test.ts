/** Bugs that seeds of the simulator found in the master's core, each as a history of its own. */
import { expect, test } from "vitest";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

test("a job whose output is decided is started again to finish it although it allows itself no restart (seeds 1540, 1607)", () => {
  const master = new TestMaster();
  const worker = new TestWorker(master, "w1");
  const restart = { maxRestarts: 0, windowMs: 600_000, minBackoffMs: 10, maxBackoffMs: 10 };
  const id = master.submit("job", jobSpec(1, { restart }));
  worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  worker.launch();
  driver.commit(1, "decided");
  worker.end(`${id}.d1`, null, "SIGKILL");
  worker.stop();
  master.pass(1_000);
  expect(worker.launch()).toEqual([`${id}.d2`]);
});

test("without records an attempt that is told of first may be over: the next one waits for what others tell (seed 122)", () => {
  const before = new TestMaster({ mode: "none", epoch: 7 });
  const old = new TestWorker(before, "w1");
  const id = before.submit("program", programSpec({ supervise: true }));
  old.launch();
  const first = before.record(id);
  old.end(`${id}.d1`, 1);
  before.pass(1_000);
  old.launch();
  const second = before.record(id);
  expect(second.attempt).toBe(2);

  const master = new TestMaster({ mode: "none", epoch: 100 }, new Map(), before.now);
  const { resources } = { resources: first.spec.driver };
  const end = { exitCode: 1, signal: null, reason: null };
  const stale = new TestWorker(master, "w2", {
    inventory: [{ processId: `${id}.d1`, pid: 1, resources, end, application: first }],
  });
  master.pass(5_000);
  expect(stale.launch()).toEqual([]);
  const present = new TestWorker(master, "w3", {
    inventory: [{ processId: `${id}.d2`, pid: 1, resources, end: null, application: second }],
  });
  master.pass(60_000);
  expect(master.status(id)).toMatchObject({ state: "running", attempt: 2 });
  expect([...stale.launch(), ...present.launch(), ...present.stop()]).toEqual([]);
});

test("an executor that ends when the output is decided gets no successor, whoever tells of it first (crash point exclusive/cold)", () => {
  const master = new TestMaster();
  const worker = new TestWorker(master, "w1");
  const id = master.submit("job", jobSpec(1));
  worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  const [executor = ""] = worker.launch();
  driver.commit(1);
  worker.end(executor, 0);
  master.pass(100);
  expect(worker.launch()).toEqual([]);
});
