/** Draining a worker: what moves, when, and what happens at its deadline. */
import { describe, expect, test } from "vitest";
import { jobSpec, MIB, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const supervised = programSpec({ supervise: true });
const row = (master: TestMaster, id: string) => master.ask("workers", { worker: id }).workers[0];
const kinds = (master: TestMaster): string[] =>
  master.ask("events", { after: null, limit: 1000, waitMs: 0 }).events.map(({ kind }) => kind);

describe("a drain", () => {
  test("leaves what has no room elsewhere where it is, and moves it when there is some", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("p", supervised);
    one.launch();
    master.ask("drain", { worker: "w1" });
    master.pass(60_000);
    expect(one.stop()).toEqual([]);
    expect(row(master, "w1")).toMatchObject({ state: "draining", processes: 1, drain: { deadline: null } });
    const two = new TestWorker(master, "w2");
    master.pass(1_000);
    expect(one.stop()).toEqual([`${id}.d1`]);
    expect(two.launch()).toEqual([`${id}.d2`]);
    master.pass(1_000);
    expect(row(master, "w1")).toMatchObject({ processes: 0 });
    expect(kinds(master)).toContain("worker.drained");
  });

  test("moves no more at once than there is room for", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 4 });
    for (const key of ["a", "b", "c"]) master.submit(key, supervised);
    one.launch();
    new TestWorker(master, "w2", { cores: 2 });
    master.ask("drain", { worker: "w1" });
    expect(one.stop()).toHaveLength(2);
  });

  test("stops at its deadline whatever is left: supervised programs wait for room, others have failed", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const moved = master.submit("a", supervised);
    const plain = master.submit("b", programSpec());
    one.launch();
    master.ask("drain", { worker: "w1", deadlineMs: 5_000 });
    master.pass(4_000);
    expect(one.stop()).toEqual([]);
    master.pass(1_000);
    expect(one.stop().sort()).toEqual([`${moved}.d1`, `${plain}.d1`].sort());
    expect(master.status(moved)).toMatchObject({ state: "restarting" });
    expect(master.status(plain)).toMatchObject({ state: "failed", reason: { code: "WORKER_LOST" } });
  });

  test("keeps its deadline across a failover", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("a", programSpec());
    one.launch();
    master.ask("drain", { worker: "w1", deadlineMs: 5_000 });
    const next = master.failover({ afterMs: 2_000 });
    one.register(next);
    next.pass(2_000);
    expect(one.stop()).toEqual([]);
    next.pass(2_000);
    expect(one.stop()).toEqual([`${id}.d1`]);
  });

  test("can be cancelled, also by the next leader: the worker takes work again", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("a", supervised);
    one.launch();
    master.ask("drain", { worker: "w1", deadlineMs: 5_000 });
    const next = master.failover();
    one.register(next);
    expect(next.ask("drain", { worker: "w1", cancel: true })).toEqual({ id: "w1", state: "alive" });
    next.pass(20_000);
    expect(one.stop()).toEqual([]);
    expect(next.state(id)).toBe("running");
    next.submit("b", supervised);
    expect(one.launch()).toHaveLength(1);
    expect(kinds(next)).toContain("worker.undrained");
  });

  test("of a worker that is lost or gone changes nothing", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    one.disconnect();
    master.pass(10_000);
    expect(master.ask("drain", { worker: "w1" })).toEqual({ id: "w1", state: "lost" });
    expect(master.ask("drain", { worker: "w1", cancel: true })).toEqual({ id: "w1", state: "lost" });
  });
});

describe("the executors of a job on a draining worker", () => {
  function running() {
    const master = new TestMaster();
    const home = new TestWorker(master, "home", { cores: 1 });
    const spec = jobSpec(2, { driver: { cores: 1, memoryBytes: MIB } });
    const executor = { cores: 2, memoryBytes: MIB };
    const id = master.submit("job", { ...spec, job: spec.job === null ? null : { ...spec.job, executor } });
    const leaving = new TestWorker(master, "leaving", { cores: 4 });
    home.launch();
    const driver = new TestDriver(master, master.record(id), 1);
    const executors = leaving.launch();
    expect(executors).toHaveLength(2);
    return { master, home, leaving, id, driver, executors };
  }

  test("get others first, and are stopped when their driver gives them back", () => {
    const { master, leaving, driver, executors, id } = running();
    const spare = new TestWorker(master, "spare", { cores: 4 });
    master.ask("drain", { worker: "leaving" });
    expect(leaving.stop()).toEqual([]);
    const others = spare.launch();
    expect(others).toHaveLength(2);
    master.pass(20);
    const marked = driver.view().filter((view) => (view as { draining?: boolean }).draining === true);
    expect(marked.map(({ processId }) => processId).sort()).toEqual([...executors].sort());
    driver.executors(2, executors);
    expect(leaving.stop().sort()).toEqual([...executors].sort());
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1 });
    master.pass(1_000);
    expect(row(master, "leaving")).toMatchObject({ processes: 0 });
    expect(spare.launch()).toEqual([]);
  });

  test("stay while there is no room for all of them elsewhere, until the deadline", () => {
    const { master, leaving, executors } = running();
    const small = new TestWorker(master, "small", { cores: 3 });
    master.ask("drain", { worker: "leaving", deadlineMs: 10_000 });
    master.pass(9_000);
    expect(small.launch()).toEqual([]);
    expect(leaving.stop()).toEqual([]);
    master.pass(1_000);
    expect(leaving.stop().sort()).toEqual([...executors].sort());
  });

  test("do not keep the job from getting one in place of a dead one, where there is room for that only", () => {
    const { master, leaving, executors } = running();
    const small = new TestWorker(master, "small", { cores: 3 });
    master.ask("drain", { worker: "leaving" });
    leaving.end(executors[0] ?? "", 1);
    expect(small.launch()).toHaveLength(1);
  });

  test("are followed by no more than are wanted when a new leader goes on with the drain", () => {
    const { master, home, leaving, executors, id } = running();
    const spare = new TestWorker(master, "spare", { cores: 8 });
    master.ask("drain", { worker: "leaving" });
    const others = spare.launch();
    const next = master.failover();
    for (const worker of [home, leaving, spare]) worker.register(next);
    new TestDriver(next, next.record(id), 1, { executors: [...executors, ...others] });
    next.pass(5_000);
    expect(spare.launch()).toEqual([]);
    expect(others).toHaveLength(2);
  });
});
