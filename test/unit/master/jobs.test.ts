import { describe, expect, test } from "vitest";
import { jobSpec, MIB, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

function running(parallelism = 2, change = {}) {
  const master = new TestMaster();
  const workers = [new TestWorker(master, "w1"), new TestWorker(master, "w2")];
  const id = master.submit("job", jobSpec(parallelism, change));
  for (const worker of workers) worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  for (const worker of workers) worker.launch();
  return { master, workers, id, driver, w1: workers[0] as TestWorker, w2: workers[1] as TestWorker };
}

const viewsOf = (master: TestMaster, driver: TestDriver) =>
  master.sent("driver.executors").filter(({ linkId }) => linkId === driver.linkId).length;

/** The worker that runs the process. */
const host = (workers: readonly TestWorker[], processId: string): TestWorker => {
  const worker = workers.find((candidate) => candidate.running.has(processId));
  if (worker === undefined) throw new Error(`nobody runs ${processId}`);
  return worker;
};

describe("a job", () => {
  test("gets its driver, its executors, decides its output, finishes, and leaves nothing", () => {
    const { master, workers, id, driver } = running();
    expect(driver.registered.error).toBeNull();
    expect(driver.registered.body).toMatchObject({ clusterId: "test", application: { id, attempt: 1, state: "running" } });
    master.pass(20);
    expect(driver.view()).toMatchObject([{ state: "running" }, { state: "running" }]);
    expect(master.status(id).executors).toHaveLength(2);
    expect(driver.commit(1).error).toBeNull();
    expect(master.record(id).commit).toMatchObject({ attempt: 1 });
    expect(driver.commit(1).error).toBeNull();
    expect(driver.finish("finished", { result: [1, 2] }).error).toBeNull();
    expect(master.status(id)).toMatchObject({ state: "finished", exitCode: 0, result: [1, 2] });
    for (const worker of workers) worker.stop();
    host(workers, `${id}.d1`).end(`${id}.d1`, 0);
    expect(workers.flatMap((worker) => [...worker.running.keys()])).toEqual([]);
    expect(master.ask("workers", {}).workers.map(({ cores }) => cores.used)).toEqual([0, 0]);
  });

  test("is admitted only with room for its driver and all its executors, which is held for them", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1", { cores: 3 });
    const first = master.submit("first", jobSpec(2));
    const second = master.submit("second", jobSpec(2));
    expect(worker.launch()).toEqual([`${first}.d1`]);
    expect(master.status(second).state).toBe("waiting");
    expect(master.ask("workers", {}).workers[0]?.cores.used).toBe(3);
    const driver = new TestDriver(master, master.record(first), 1);
    expect(worker.launch()).toEqual([`${first}.d1.e1`, `${first}.d1.e2`]);
    driver.finish("finished");
    worker.stop();
    expect(worker.launch()).toEqual([]);
    worker.end(`${first}.d1`, 0);
    expect(worker.launch()).toEqual([`${second}.d1`]);
  });

  test("that re-attaches is told once of executors whose workers come back one after the other", () => {
    const { master, workers, id } = running(4);
    const next = master.failover();
    const executors = workers.flatMap((worker) => [...worker.running.keys()]).filter((name) => name.includes(".e"));
    const driver = new TestDriver(next, next.record(id), 1, { executors });
    expect(viewsOf(next, driver)).toBe(1);
    for (const worker of workers) {
      worker.register(next);
      next.pass(200);
    }
    expect(viewsOf(next, driver)).toBe(0);
    next.pass(1_000);
    expect(driver.view().map(({ workerId }) => workerId)).not.toContain(null);
    expect(viewsOf(next, driver)).toBe(1);
    next.pass(5_000);
    expect(viewsOf(next, driver)).toBe(0);
  });

  test("hears at once of an executor that ends while others come back", () => {
    const { master, workers, id, w1 } = running(4);
    const next = master.failover();
    for (const worker of workers) worker.register(next);
    const driver = new TestDriver(next, next.record(id), 1, {
      executors: [...w1.running.keys()].filter((name) => name.includes(".e")),
    });
    next.pass(100);
    viewsOf(next, driver);
    w1.disconnect();
    w1.register(next);
    const [executor = ""] = [...w1.running.keys()].filter((name) => name.includes(".e"));
    w1.end(executor, 1);
    expect(driver.view().find(({ processId }) => processId === executor)).toMatchObject({ state: "ended" });
    next.pass(5_000);
    expect(driver.view()).toHaveLength(5);
  });

  test("runs on under workers of an earlier release, which tell its record instead of its processes' roles", () => {
    const { master, workers, id } = running(2);
    const next = master.failover();
    for (const worker of workers) {
      const old = worker.inventory().map(({ role: _, ...report }) => ({ ...report, application: master.record(id) }));
      worker.register(next, old);
    }
    expect(next.stops()).toEqual([]);
    expect(next.launches()).toEqual([]);
    expect(next.record(id)).toMatchObject({ state: "running", attempt: 1 });
    expect(next.status(id).executors.map(({ state }) => state)).toEqual(["running", "running"]);
  });

  test("is told at most the whole of the cluster", () => {
    const master = new TestMaster();
    new TestWorker(master, "w1", { cores: 4 });
    const id = master.submit("wide", jobSpec(4));
    expect(master.status(id).reason).toMatchObject({ code: "UNPLACEABLE" });
    expect(master.status(id).reason?.message).toContain("1 core and 100 MiB for its driver and 4 times 1 core and 100 MiB");
  });

  test("gets another executor for one that ended; the ended one stays in sight of those who want its logs", () => {
    const { master, workers, id, driver } = running();
    host(workers, `${id}.d1.e1`).end(`${id}.d1.e1`, null, "SIGKILL");
    const launched = workers.flatMap((worker) => worker.launch());
    expect(launched).toEqual([`${id}.d1.e3`]);
    master.pass(20);
    expect(driver.view()).toMatchObject([
      { processId: `${id}.d1.e1`, state: "ended" },
      { state: "running" },
      { processId: `${id}.d1.e3`, state: "running" },
    ]);
    driver.executors(2, [`${id}.d1.e1`]);
    master.pass(20);
    expect(driver.view()).toMatchObject([{ processId: `${id}.d1.e1`, state: "ended" }, { state: "running" }, { state: "running" }]);
    const { processes } = master.ask("logs.locate", { application: id });
    expect(processes.map(({ processId }) => processId)).toEqual([`${id}.d1`, ...[1, 2, 3].map((n) => `${id}.d1.e${n}`)]);
  });

  test("hears how an executor ended also when it had given it back by then", () => {
    const { master, workers, id, driver } = running();
    driver.executors(2, [`${id}.d1.e1`]);
    master.pass(20);
    host(workers, `${id}.d1.e1`).end(`${id}.d1.e1`, 134, null, "out of memory");
    master.pass(20);
    expect(driver.view()[0]).toMatchObject({ processId: `${id}.d1.e1`, state: "ended", reason: "out of memory" });
  });

  test("gets another executor for one that it gave up, which is stopped", () => {
    const { master, workers, id, driver } = running();
    driver.executors(2, [`${id}.d1.e2`]);
    expect(workers.flatMap((worker) => worker.stop())).toEqual([`${id}.d1.e2`]);
    expect(workers.flatMap((worker) => worker.launch())).toEqual([`${id}.d1.e3`]);
    expect(master.state(id)).toBe("running");
  });

  test("whose driver wants no more executors gets none for those that end", () => {
    const { workers, id, driver } = running();
    driver.executors(0);
    host(workers, `${id}.d1.e1`).end(`${id}.d1.e1`, 0);
    expect(workers.flatMap((worker) => worker.launch())).toEqual([]);
  });

  test("that fails for good keeps its reason", () => {
    const { master, id, driver } = running();
    driver.finish("failed");
    expect(master.status(id)).toMatchObject({ state: "failed", exitCode: 1, reason: { code: "OPERATOR_FAILED" } });
  });

  test("shows the progress that its driver tells", () => {
    const { master, id, driver } = running();
    const before = master.ask("status", { application: id, after: null, waitMs: 0 }).version;
    const progress = {
      recordsIn: 5,
      recordsOut: 3,
      badRecords: 0,
      totalRecords: 10,
      operators: [],
      firstBadRecords: [],
      jobRestarts: 0,
      lastRestartReason: null,
      phase: "running",
    };
    master.send(driver.linkId, "driver.progress", progress);
    const after = master.ask("status", { application: id, after: before, waitMs: 1000 });
    expect(after.application).toMatchObject({ records: { in: 5, out: 3 }, progress });
    expect(after.version).not.toBe(before);
  });
});

describe("a driver", () => {
  test("that dies is restarted at once by the restart policy when its worker reports it", () => {
    const { master, workers, id, driver } = running();
    master.close(driver.linkId);
    host(workers, `${id}.d1`).end(`${id}.d1`, null, "SIGKILL");
    expect(master.state(id)).toBe("restarting");
    master.pass(500);
    expect(workers.flatMap((worker) => worker.stop())).toEqual(expect.arrayContaining([`${id}.d1.e1`, `${id}.d1.e2`]));
    expect(workers.flatMap((worker) => worker.launch())).toEqual([`${id}.d2`]);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 2, restarts: 1 });
  });

  test("whose connection breaks has its deadline to come back", () => {
    const { master, id, driver } = running();
    master.close(driver.linkId);
    master.pass(9_000);
    const again = new TestDriver(master, master.record(id), 1, { executors: [`${id}.d1.e1`, `${id}.d1.e2`] });
    expect(again.registered.error).toBeNull();
    master.pass(60_000);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1 });
  });

  test("silent past its deadline is replaced, and its attempt is fenced for ever", () => {
    const { master, workers, id, driver } = running();
    master.close(driver.linkId);
    master.pass(10_000);
    expect(master.state(id)).toBe("restarting");
    expect(workers.flatMap((worker) => worker.stop())).toContain(`${id}.d1`);
    master.pass(500);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 2 });
    expect(new TestDriver(master, master.record(id), 1).registered.error).toBe("SUPERSEDED");
    expect(master.record(id).commit).toBeNull();
  });

  test("that never registers is replaced", () => {
    const master = new TestMaster({ settings: { driverStartMs: 5_000 } });
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    master.pass(5_500);
    expect(master.record(id).attempt).toBe(2);
  });

  test("may speak for its own application only", () => {
    const { master, id } = running();
    const other = master.link("driver", "x", "application/app-7-99");
    const answer = master.request(other, "driver.register", {
      applicationId: id,
      attempt: 1,
      pid: 1,
      address: "a:1",
      highestEpoch: 0,
      application: master.record(id),
      wanted: 2,
      executors: [],
      released: [],
    });
    expect(answer.error).toBe("FORBIDDEN");
    expect(master.request(other, "list", {}).error).toBe("FORBIDDEN");
  });

  test("that dies after its decision is followed by one that only finishes it, supervised or not", () => {
    const { master, workers, id, driver } = running(2, { supervise: false });
    driver.commit(1, "decided");
    master.close(driver.linkId);
    host(workers, `${id}.d1`).end(`${id}.d1`, null, "SIGKILL");
    for (const worker of workers) worker.stop();
    master.pass(500);
    expect(workers.flatMap((worker) => worker.launch())).toEqual([`${id}.d2`]);
    const next = new TestDriver(master, master.record(id), 2, { wanted: 0 });
    expect(next.registered.body).toMatchObject({ application: { commit: { attempt: 1, result: "decided" } } });
    expect(workers.flatMap((worker) => worker.launch())).toEqual([]);
    expect(next.commit(2).error).toBe("CONFLICT");
    next.finish("finished", { result: "decided" });
    expect(master.status(id)).toMatchObject({ state: "finished", result: "decided" });
  });

  test("that asks to be started again is, until the limit", () => {
    const { master, workers, id, driver } = running(1, {
      restart: { maxRestarts: 1, windowMs: 60_000, minBackoffMs: 10, maxBackoffMs: 10 },
    });
    driver.finish("failed", { restart: true });
    master.pass(10);
    expect(workers.flatMap((worker) => worker.launch())).toEqual([`${id}.d2`]);
    new TestDriver(master, master.record(id), 2).finish("failed", { restart: true });
    expect(master.status(id)).toMatchObject({ state: "failed", reason: { code: "RESTARTS_EXHAUSTED" } });
  });

  test("whose answer was lost gets the same answer again", () => {
    const { driver } = running();
    expect(driver.finish("finished").error).toBeNull();
    expect(driver.finish("finished").error).toBeNull();
  });

  test("cannot decide for another attempt, nor more than fits", () => {
    const { driver } = running();
    expect(driver.commit(2).error).toBe("INVALID_ARGUMENT");
    expect(driver.commit(1, "x".repeat(300_000)).error).toBe("LIMIT_EXCEEDED");
  });
});

describe("a driver in client mode", () => {
  const spec = jobSpec(2, { deployMode: "client", supervise: false });

  test("is never launched, registers by itself, and gets executors", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", spec);
    expect(worker.launch()).toEqual([]);
    const driver = new TestDriver(master, master.record(id), 1);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1, driver: { worker: null, pid: 500 } });
    expect(worker.launch()).toEqual([`${id}.d1.e1`, `${id}.d1.e2`]);
    driver.finish("finished");
    expect(master.state(id)).toBe("finished");
  });

  test("whose client is gone past the deadline has failed, and its executors are stopped", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", spec);
    const driver = new TestDriver(master, master.record(id), 1);
    worker.launch();
    master.close(driver.linkId);
    master.pass(10_000);
    expect(master.status(id)).toMatchObject({ state: "failed" });
    expect(master.status(id).reason?.message).toContain("the client that ran the driver");
    expect(worker.stop()).toHaveLength(2);
  });

  test("is cancelled when it says so", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", spec);
    const driver = new TestDriver(master, master.record(id), 1);
    worker.launch();
    expect(driver.finish("cancelled").error).toBeNull();
    worker.stop();
    expect(master.state(id)).toBe("cancelled");
  });

  test("comes back to the next leader", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", spec);
    new TestDriver(master, master.record(id), 1);
    worker.launch();
    const next = master.failover();
    worker.register(next);
    const driver = new TestDriver(next, next.record(id), 1, { executors: [`${id}.d1.e1`, `${id}.d1.e2`] });
    expect(driver.registered.error).toBeNull();
    next.pass(60_000);
    expect(next.state(id)).toBe("running");
    expect(worker.launch()).toEqual([]);
    expect(worker.stop()).toEqual([]);
  });
});

test("memory counts like cores", () => {
  const master = new TestMaster();
  const worker = new TestWorker(master, "w1", { cores: 16, memoryBytes: 250 * MIB });
  const ids = [1, 2, 3].map((n) => master.submit(`k${n}`, programSpec()));
  expect(worker.launch()).toEqual([`${ids[0]}.d1`, `${ids[1]}.d1`]);
});
