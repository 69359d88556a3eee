import { describe, expect, test } from "vitest";
import type { EventView } from "../../../src/wire/views.js";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const events = (master: TestMaster, kind: string): EventView[] =>
  master.ask("events", { after: null, limit: 1000, waitMs: 0 }).events.filter((event) => event.kind === kind);
const states = (master: TestMaster) => master.ask("workers", {}).workers.map(({ id, state }) => `${id} ${state}`);

describe("a worker", () => {
  test("is recorded before it is told that it is registered", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    expect(master.store.has("workers/w1")).toBe(true);
    expect(master.sent("worker.registered")).toEqual([
      { linkId: worker.linkId, body: { clusterId: "test", deadlineMs: 10_000, leaseMs: 6_000, heartbeatMs: 1_000 } },
    ]);
  });

  test("whose connection ends is suspect, and gets nothing new", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    worker.disconnect();
    expect(states(master)).toEqual(["w1 suspect"]);
    const id = master.submit("k", programSpec());
    expect(master.state(id)).not.toBe("running");
    expect(master.status(id).reason).toMatchObject({ code: "UNPLACEABLE" });
  });

  test("that returns in time has lost nothing", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    worker.launch();
    worker.disconnect();
    master.pass(9_999);
    worker.register();
    master.pass(60_000);
    expect(states(master)).toEqual(["w1 alive"]);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1 });
    expect(events(master, "worker.returned")).toHaveLength(1);
    expect(worker.launch()).toEqual([]);
    expect(worker.stop()).toEqual([]);
  });

  test("silent past its deadline is lost once; its jobs go on elsewhere and the old attempt is fenced", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 4 });
    const id = master.submit("job", jobSpec(2));
    one.launch();
    const driver = new TestDriver(master, master.record(id), 1);
    one.launch();
    const two = new TestWorker(master, "w2");
    one.disconnect();
    master.pass(10_000);
    expect(states(master)).toEqual(["w1 lost", "w2 alive"]);
    expect(events(master, "worker.lost")).toHaveLength(1);
    expect(events(master, "executor.lost")).toHaveLength(2);
    expect(master.sent("driver.superseded")).toHaveLength(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
    expect(driver.commit(1).error).toBe("SUPERSEDED");
    expect(driver.finish("finished").error).toBe("SUPERSEDED");
    expect(master.record(id)).toMatchObject({ attempt: 2, commit: null, restartedAt: [] });
    master.pass(60_000);
    expect(events(master, "worker.lost")).toHaveLength(1);
  });

  test("that is lost loses its executors to their driver, which gets others", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 2 });
    const id = master.submit("job", jobSpec(2));
    const two = new TestWorker(master, "w2", { cores: 2 });
    one.launch();
    two.launch();
    const driver = new TestDriver(master, master.record(id), 1);
    one.launch();
    two.launch();
    const home = one.running.has(`${id}.d1`) ? one : two;
    const other = home === one ? two : one;
    const hadThere = [...other.running.keys()].length;
    const three = new TestWorker(master, "w3", { cores: 4 });
    other.disconnect();
    master.pass(10_020);
    expect(driver.view().filter(({ state }) => state === "lost")).toHaveLength(hadThere);
    expect(three.launch()).toHaveLength(hadThere);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 1 });
  });

  test("that was lost may not come back in the same incarnation, and is a fresh worker in the next", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    worker.disconnect();
    master.pass(10_000);
    worker.register();
    expect(master.sent("worker.refused").map(({ body }) => body.reason)).toEqual(["incarnation-over"]);
    expect(states(master)).toEqual(["w1 lost"]);
    const next = master.failover();
    worker.register(next);
    expect(next.sent("worker.refused")).toHaveLength(1);
    worker.incarnation = 2;
    worker.register(next);
    expect(states(next)).toEqual(["w1 alive"]);
  });

  test("that was lost is forgotten when many others were lost since", () => {
    const master = new TestMaster({ settings: { maxLostWorkers: 2, removalLimit: { perMinute: null, share: 1 } } });
    for (const id of ["w1", "w2", "w3"]) {
      new TestWorker(master, id).disconnect();
      master.pass(10_000);
    }
    expect(states(master)).toEqual(["w2 lost", "w3 lost"]);
    expect([...master.store.keys()].filter((key) => key.startsWith("workers/"))).toEqual(["workers/w2", "workers/w3"]);
  });

  test("that starts anew has lost what it ran", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    worker.launch();
    worker.disconnect();
    worker.incarnation = 2;
    worker.running.clear();
    worker.register();
    // The next incarnation registers only when nothing of the one before lives, so nothing is waited for.
    expect(worker.launch()).toEqual([`${id}.d2`]);
  });

  test("on another connection replaces its old one", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const old = worker.linkId;
    worker.register();
    expect(master.take("close-link").map(({ linkId }) => linkId)).toEqual([old]);
    master.close(old);
    expect(states(master)).toEqual(["w1 alive"]);
  });

  test("that did not get its launch order gets it again", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    expect(master.launches()).toHaveLength(1);
    worker.disconnect();
    worker.register();
    expect(worker.launch()).toEqual([`${id}.d1`]);
  });

  test("whose launches wait for their bundle tells their pids when it knows them", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    new TestDriver(master, master.record(id), 1);
    worker.launch();
    // It comes back while both are being launched: they stand in its inventory, without a pid.
    const inventory = worker.inventory().map((report) => ({ ...report, pid: 0 }));
    const next = master.failover();
    worker.register(next, inventory);
    const shown = () => [next.status(id).driver?.pid, ...next.status(id).executors.map((executor) => executor.pid)];
    expect(shown()).toEqual([null, null]);
    for (const [index, { processId }] of inventory.entries())
      next.send(worker.linkId, "worker.report", { processId, pid: 77 + index, end: null, launchFailed: null });
    expect(shown()).toEqual([77, 78]);
    // A repeated report without one takes nothing back.
    for (const { processId } of inventory)
      next.send(worker.linkId, "worker.report", { processId, pid: 0, end: null, launchFailed: null });
    expect(shown()).toEqual([77, 78]);
  });

  test("that misses a process which had been seen to run has lost it", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    worker.disconnect();
    worker.running.clear();
    worker.register();
    expect(master.status(id)).toMatchObject({ state: "failed", exitCode: null, reason: { code: "APPLICATION_FAILED" } });
  });

  test("that shows up with processes of ended applications and older attempts is told to stop them", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 1 });
    const two = new TestWorker(master, "w2", { cores: 1 });
    const id = master.submit("k", programSpec({ supervise: true }));
    const [first, second] = one.launch().length > 0 ? [one, two] : [two, one];
    const old = first.inventory();
    first.end(`${id}.d1`, 1);
    master.pass(500);
    expect(second.launch()).toEqual([`${id}.d2`]);
    first.register(master, old);
    expect(first.stop()).toEqual([`${id}.d1`]);
    second.end(`${id}.d2`, 0);
    second.register(master, old);
    expect(second.stop()).toEqual([`${id}.d1`]);
    expect(master.state(id)).toBe("finished");
  });

  test("with a process of an unreadable record is left alone", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    const damaged = new TextEncoder().encode("{}");
    master.store.set(`applications/${id}`, damaged);
    const next = master.failover();
    worker.register(next);
    expect(worker.stop()).toEqual([]);
    worker.end(`${id}.d1`, 0);
    expect(next.sent("worker.acknowledge")).toEqual([]);
    expect(next.ask("cluster", {}).quarantined).toEqual([{ key: `applications/${id}`, reason: expect.any(String) }]);
    expect(next.store.get(`applications/${id}`)).toBe(damaged);
    expect(next.submit("other", programSpec())).toBeTruthy();
  });
});

describe("a worker that is stopped in order", () => {
  const stopInOrder = (worker: TestWorker, exitCodes: Readonly<Record<string, number>> = {}) => {
    const { master, linkId } = worker;
    master.send(linkId, "worker.leaving", {});
    for (const id of [...worker.running.keys()]) worker.end(id, exitCodes[id] ?? null, "SIGTERM");
    master.send(linkId, "worker.left", {});
  };

  test("gets nothing more, and is gone for good as soon as it says so, durably before its link is ended", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    master.send(worker.linkId, "worker.leaving", {});
    master.send(worker.linkId, "worker.leaving", {});
    expect(states(master)).toEqual(["w1 draining"]);
    const id = master.submit("k", programSpec());
    expect(master.state(id)).not.toBe("running");
    master.send(worker.linkId, "worker.left", {});
    expect(states(master)).toEqual(["w1 gone"]);
    expect(master.take("close-link").map(({ linkId }) => linkId)).toEqual([worker.linkId]);
    // Repeated, and the end of its link: nothing more happens.
    master.send(worker.linkId, "worker.left", {});
    worker.disconnect();
    master.pass(60_000);
    expect(states(master)).toEqual(["w1 gone"]);
    expect(events(master, "worker.lost")).toEqual([]);
    expect(events(master, "worker.gone")).toHaveLength(1);
    const next = master.failover();
    expect(next.ask("cluster", {})).toMatchObject({ state: "ALIVE", workers: { gone: 1 } });
  });

  test("its supervised program starts elsewhere as soon as it has ended, without back-off; its unsupervised one has failed", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 8 });
    const kept = master.submit("k", programSpec({ supervise: true }));
    const once = master.submit("o", programSpec());
    one.launch();
    const two = new TestWorker(master, "w2", { cores: 2 });
    master.send(one.linkId, "worker.leaving", {});
    // Never two at once: the first has not ended.
    expect(two.launch()).toEqual([]);
    one.end(`${kept}.d1`, null, "SIGTERM");
    expect(two.launch()).toEqual([`${kept}.d2`]);
    one.end(`${once}.d1`, null, "SIGTERM");
    master.send(one.linkId, "worker.left", {});
    expect(master.status(kept)).toMatchObject({ state: "running", attempt: 2, attempts: [{ reason: { code: "WORKER_LOST" } }] });
    expect(master.record(kept).restartedAt).toEqual([]);
    expect(master.state(once)).toBe("failed");
  });

  test("the driver of a job there is superseded at once and its executors there are lost at once", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 2 });
    const two = new TestWorker(master, "w2", { cores: 4 });
    const id = master.submit("job", jobSpec(2));
    const launched = [...one.launch(), ...two.launch()];
    expect(launched).toEqual([`${id}.d1`]);
    const driver = new TestDriver(master, master.record(id), 1);
    one.launch();
    two.launch();
    const home = one.running.has(`${id}.d1`) ? one : two;
    const other = home === one ? two : one;
    new TestWorker(master, "w3", { cores: 8 });
    const there = other.running.size;
    master.send(other.linkId, "worker.leaving", {});
    master.pass(20);
    expect(driver.view().filter(({ state }) => state === "lost")).toHaveLength(there);
    master.send(home.linkId, "worker.leaving", {});
    expect(master.sent("driver.superseded")).toHaveLength(1);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 2, driver: { worker: "w3" } });
    expect(master.record(id).restartedAt).toEqual([]);
  });

  test("what had been ordered and crossed its last word is started elsewhere at once, a program too", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    stopInOrder(worker);
    const two = new TestWorker(master, "w2");
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("dies in the middle: judged by its deadline; and comes back as the next incarnation, or as itself", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    master.send(worker.linkId, "worker.leaving", {});
    worker.disconnect();
    expect(states(master)).toEqual(["w1 suspect"]);
    worker.register();
    expect(states(master)).toEqual(["w1 alive"]);
    stopInOrder(worker);
    worker.register();
    expect(master.sent("worker.refused").map(({ body }) => body.reason)).toEqual(["incarnation-over"]);
    worker.incarnation = 2;
    worker.register();
    expect(states(master)).toEqual(["w1 alive"]);
    expect(master.state(master.submit("k", programSpec()))).toBe("running");
  });
});

describe("a program on a lost worker", () => {
  test("that is supervised starts elsewhere only after it must have ended by itself", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 8 });
    const two = new TestWorker(master, "w2", { cores: 1 });
    const id = master.submit("k", programSpec({ supervise: true }));
    expect(one.launch()).toEqual([`${id}.d1`]);
    one.disconnect();
    master.pass(10_000);
    expect(master.status(id)).toMatchObject({ state: "restarting", reason: { code: "WORKER_LOST" } });
    master.pass(2_999);
    expect(two.launch()).toEqual([]);
    master.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("that is not supervised has failed", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    worker.disconnect();
    master.pass(10_000);
    expect(master.status(id)).toMatchObject({ state: "failed", reason: { code: "WORKER_LOST" } });
  });

  test("does not use up its restarts", () => {
    const master = new TestMaster({ settings: { removalLimit: { perMinute: null, share: 1 } } });
    const restart = { maxRestarts: 1, windowMs: 600_000, minBackoffMs: 10, maxBackoffMs: 10 };
    let worker = new TestWorker(master, "w0");
    const id = master.submit("k", programSpec({ supervise: true, restart }));
    for (let n = 1; n <= 3; n++) {
      worker.launch();
      worker.disconnect();
      worker = new TestWorker(master, `w${n}`);
      master.pass(13_000);
    }
    expect(worker.launch()).toEqual([`${id}.d4`]);
    expect(master.status(id)).toMatchObject({ state: "running", restarts: 3 });
  });
});

describe("a draining worker", () => {
  test("gets nothing new, its supervised programs move when they have ended, and what else runs may finish", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const supervised = master.submit("a", programSpec({ supervise: true }));
    const plain = master.submit("b", programSpec());
    one.launch();
    const two = new TestWorker(master, "w2");
    expect(master.ask("drain", { worker: "w1" })).toEqual({ id: "w1", state: "draining" });
    expect(states(master)).toEqual(["w1 draining", "w2 alive"]);
    expect(two.launch()).toEqual([]);
    expect(one.stop()).toEqual([`${supervised}.d1`]);
    expect(two.launch()).toEqual([`${supervised}.d2`]);
    expect(master.status(plain)).toMatchObject({ state: "running", attempt: 1 });
    expect(master.submit("c", programSpec())).toBeTruthy();
    expect(one.launch()).toEqual([]);
    expect(two.launch()).toHaveLength(1);
    one.end(`${plain}.d1`, 0);
    expect(master.state(plain)).toBe("finished");
  });

  test("stays so across a failover and goes on moving what is there", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const program = master.submit("a", programSpec({ supervise: true }));
    one.launch();
    const two = new TestWorker(master, "w2");
    master.ask("drain", { worker: "w1" });
    master.sent("worker.stop");
    const next = master.failover();
    one.register(next);
    two.register(next);
    expect(states(next)).toEqual(["w1 draining", "w2 alive"]);
    next.pass(1_000);
    expect(one.stop()).toEqual([`${program}.d1`]);
    expect(two.launch()).toEqual([`${program}.d2`]);
  });

  test("hands its supervised drivers over at once", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("job", jobSpec(1));
    one.launch();
    new TestDriver(master, master.record(id), 1);
    one.launch();
    const two = new TestWorker(master, "w2");
    master.ask("drain", { worker: "w1" });
    expect(two.launch()).toEqual([`${id}.d2`]);
    expect(one.stop()).toEqual(expect.arrayContaining([`${id}.d1`, `${id}.d1.e1`]));
    expect(master.record(id).restartedAt).toEqual([]);
  });

  test("that nobody knows is an error", () => {
    expect(new TestMaster().try("drain", { worker: "w9" }).error).toBe("NOT_FOUND");
  });
});
