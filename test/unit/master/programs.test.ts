import { describe, expect, test } from "vitest";
import { jobSpec, MIB, programSpec, TestMaster, TestWorker } from "./harness.js";

describe("a program", () => {
  test("is submitted durably, placed, launched, reported and finished", () => {
    const master = new TestMaster();
    expect(master.ask("cluster", {}).state).toBe("ALIVE");
    const id = master.submit("k1", programSpec());
    expect(id).toBe("app-7-1");
    expect(master.record(id).state).toBe("waiting");
    const worker = new TestWorker(master, "w1");
    expect(worker.launch()).toEqual(["app-7-1.d1"]);
    expect(master.status(id)).toMatchObject({
      state: "running",
      attempt: 1,
      restarts: 0,
      driver: { worker: "w1", pid: 1000, state: "running" },
    });
    worker.end(`${id}.d1`, 0);
    expect(master.status(id)).toMatchObject({ state: "finished", exitCode: 0, reason: null });
    expect(master.record(id).state).toBe("finished");
    expect(master.sent("worker.acknowledge").map(({ body }) => body)).toEqual([{ processIds: ["app-7-1.d1"] }]);
    expect(master.ask("workers", {}).workers).toMatchObject([{ id: "w1", state: "alive", cores: { total: 4, used: 0 } }]);
  });

  test("submitted twice with one key runs once, also across a failover", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const first = master.ask("submit", { key: "k1", spec: programSpec() });
    const again = master.ask("submit", { key: "k1", spec: programSpec() });
    expect(again).toMatchObject({ id: first.id, created: false });
    expect(worker.launch()).toEqual([`${first.id}.d1`]);
    const next = master.failover();
    expect(next.ask("submit", { key: "k1", spec: programSpec() })).toMatchObject({ id: first.id, created: false });
    worker.register(next);
    expect(worker.launch()).toEqual([]);
    expect(next.state(first.id)).toBe("running");
  });

  test("with the same key and other content is refused", () => {
    const master = new TestMaster();
    master.submit("k1", programSpec());
    expect(master.try("submit", { key: "k1", spec: programSpec({ name: "other" }) }).error).toBe("CONFLICT");
    expect(master.ask("list", {}).applications).toHaveLength(1);
  });

  test("is found by its id and by its key", () => {
    const master = new TestMaster();
    const id = master.submit("my/key", programSpec());
    expect(master.status("my/key").id).toBe(id);
    expect(master.try("status", { application: "app-9-9", after: null, waitMs: 0 }).error).toBe("NOT_FOUND");
  });

  test("that ends with an exit code fails with it, and with its reason", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k1", programSpec());
    worker.launch();
    worker.end(`${id}.d1`, 3);
    expect(master.status(id)).toMatchObject({ state: "failed", exitCode: 3, reason: { code: "APPLICATION_FAILED" } });
    expect(master.status(id).reason?.message).toContain("exit code 3");
  });

  test("killed for its memory is named so", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k1", programSpec());
    worker.launch();
    worker.end(`${id}.d1`, null, "SIGKILL", "out of memory (limit 100 MiB)");
    expect(master.status(id).reason).toMatchObject({ code: "OUT_OF_MEMORY" });
  });

  test("of a long queue without a worker run soon after one comes, in their order", () => {
    const master = new TestMaster();
    const ids = Array.from({ length: 600 }, (_, number) => master.submit(`k${number}`, programSpec()));
    new TestWorker(master, "w1", { cores: 600, memoryBytes: 600 * 100 * MIB });
    master.pass(50);
    expect(ids.filter((id) => master.state(id) === "running").length).toBe(600);
  });

  test("that no worker could ever hold is told what it needs and what there is, and runs when such a worker comes", () => {
    const master = new TestMaster();
    new TestWorker(master, "w1", { cores: 2, memoryBytes: 1024 * MIB });
    new TestWorker(master, "w2", { cores: 4, memoryBytes: 2048 * MIB });
    const id = master.submit("big", programSpec({ driver: { cores: 8, memoryBytes: 512 * MIB } }));
    expect(master.status(id)).toMatchObject({ state: "waiting", reason: { code: "UNPLACEABLE" } });
    expect(master.status(id).reason?.message).toContain("8 cores and 512 MiB");
    expect(master.status(id).reason?.message).toContain("the largest of 2 workers has 4 cores and 2048 MiB");
    // It blocks nobody.
    expect(master.state(master.submit("small", programSpec()))).toBe("running");
    const large = new TestWorker(master, "w3", { cores: 8 });
    master.pass(10);
    expect(large.launch()).toEqual([`${id}.d1`]);
    expect(master.status(id).reason).toBeNull();
  });

  test("cannot be an application of both kinds, or of none", () => {
    const master = new TestMaster();
    expect(master.try("submit", { key: "k", spec: programSpec({ process: null }) }).error).toBe("INVALID_ARGUMENT");
    expect(master.try("submit", { key: "k", spec: programSpec({ deployMode: "client" }) }).error).toBe("INVALID_ARGUMENT");
  });

  test("whose record would be too large is refused", () => {
    const master = new TestMaster({ settings: { maxRecordBytes: 2000 } });
    const spec = programSpec({ process: { argv: ["x".repeat(3000)], env: {}, cwd: null } });
    expect(master.try("submit", { key: "k", spec }).error).toBe("LIMIT_EXCEEDED");
    expect(master.store.size).toBe(0);
  });
});

describe("a supervised program", () => {
  const restart = { maxRestarts: 2, windowMs: 60_000, minBackoffMs: 100, maxBackoffMs: 1000 };

  test("is restarted with a growing back-off, until its limit", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k1", programSpec({ supervise: true, restart }));
    expect(worker.launch()).toEqual([`${id}.d1`]);
    worker.end(`${id}.d1`, 1);
    expect(master.status(id)).toMatchObject({ state: "restarting", attempt: 1, reason: { code: "APPLICATION_FAILED" } });
    master.pass(99);
    expect(worker.launch()).toEqual([]);
    master.pass(1);
    expect(worker.launch()).toEqual([`${id}.d2`]);
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 2, restarts: 1 });
    worker.end(`${id}.d2`, 1);
    master.pass(199);
    expect(worker.launch()).toEqual([]);
    master.pass(1);
    expect(worker.launch()).toEqual([`${id}.d3`]);
    worker.end(`${id}.d3`, 9);
    const view = master.status(id);
    expect(view).toMatchObject({ state: "failed", exitCode: 9, restarts: 2, reason: { code: "RESTARTS_EXHAUSTED" } });
    expect(view.attempts.map(({ attempt, exitCode }) => [attempt, exitCode])).toEqual([
      [1, 1],
      [2, 1],
      [3, 9],
    ]);
    master.pass(60_000);
    expect(worker.launch()).toEqual([]);
  });

  test("that runs for longer than the window has its restarts again", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k1", programSpec({ supervise: true, restart }));
    for (let attempt = 1; attempt <= 6; attempt++) {
      expect(worker.launch()).toEqual([`${id}.d${attempt}`]);
      master.pass(61_000);
      worker.end(`${id}.d${attempt}`, 1);
      master.pass(100);
    }
    expect(master.status(id)).toMatchObject({ state: "running", attempt: 7 });
  });

  test("that ends with 0 is finished", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k1", programSpec({ supervise: true }));
    worker.launch();
    worker.end(`${id}.d1`, 0);
    expect(master.state(id)).toBe("finished");
  });

  test("keeps its back-off and its restarts across a failover", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit(
      "k1",
      programSpec({ supervise: true, restart: { ...restart, minBackoffMs: 1000, maxBackoffMs: 1000 } }),
    );
    worker.launch();
    worker.end(`${id}.d1`, 1);
    const next = master.failover({ afterMs: 400 });
    worker.register(next);
    next.pass(599);
    expect(worker.launch()).toEqual([]);
    next.pass(1);
    expect(worker.launch()).toEqual([`${id}.d2`]);
    expect(next.record(id).restartedAt).toHaveLength(1);
  });

  test("that nobody supervises and nobody can start is given up after a few attempts, with why", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k1", programSpec());
    const since = master.now.instant;
    while (master.state(id) !== "failed") {
      worker.failLaunch("cannot run nosuch: it is not an executable file on this worker");
      master.pass(500);
      expect(master.now.instant - since).toBeLessThan(20_000);
    }
    expect(master.status(id)).toMatchObject({
      attempt: 6,
      reason: { code: "LAUNCH_FAILED", message: expect.stringContaining("cannot run nosuch") },
    });
  });

  test("goes to another worker after a failed attempt, if there is one", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 8 });
    const two = new TestWorker(master, "w2", { cores: 2 });
    const id = master.submit("k1", programSpec({ supervise: true }));
    one.failLaunch("no space left on device");
    expect(master.status(id).reason).toMatchObject({ code: "LAUNCH_FAILED" });
    master.pass(500);
    expect(one.launch()).toEqual([]);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });
});

test("the number of finished applications is bounded, and the oldest are deleted with their keys", () => {
  const master = new TestMaster({ settings: { maxFinished: 3 } });
  const worker = new TestWorker(master, "w1");
  const ids = [1, 2, 3, 4, 5].map((n) => {
    const id = master.submit(`k${n}`, programSpec());
    worker.launch();
    worker.end(`${id}.d1`, 0);
    return id;
  });
  expect(master.ask("list", {}).applications.map(({ id }) => id)).toEqual(ids.slice(2));
  expect([...master.store.keys()].filter((key) => key.startsWith("applications/"))).toHaveLength(3);
  expect(master.ask("submit", { key: "k5", spec: programSpec() }).created).toBe(false);
  expect(master.ask("submit", { key: "k1", spec: programSpec() }).created).toBe(true);
});

test("whatever waits for room is waiting, in the records too: without workers, while recovering, and far down a long queue", () => {
  const master = new TestMaster();
  const first = master.submit("first", programSpec());
  expect([master.state(first), master.record(first).state]).toEqual(["waiting", "waiting"]);
  const next = master.failover();
  new TestWorker(next, "w1", { cores: 1 });
  const ids = Array.from({ length: 100 }, (_, index) => next.submit(`k${index}`, programSpec()));
  const states = new Map(next.ask("list", {}).applications.map(({ id, state }) => [id, state]));
  expect(states.get(first)).toBe("running");
  expect(ids.filter((id) => states.get(id) !== "waiting")).toEqual([]);
  const client = next.submit("client", jobSpec(1, { deployMode: "client" }));
  expect(next.state(client)).toBe("submitted");
});

test("a key names its application for as long as that is remembered; then it names a new one", () => {
  const master = new TestMaster({ settings: { maxFinished: 1 } });
  const worker = new TestWorker(master, "w1");
  const [a, b] = ["a", "b"].map((key) => {
    const id = master.submit(key, programSpec());
    worker.launch();
    worker.end(`${id}.d1`, 0);
    return id;
  });
  expect(master.try("status", { application: "a", after: null, waitMs: 0 }).error).toBe("NOT_FOUND");
  expect(master.ask("submit", { key: "b", spec: programSpec() })).toMatchObject({ id: b, created: false, state: "finished" });
  expect(master.try("submit", { key: "b", spec: programSpec({ name: "other" }) }).error).toBe("CONFLICT");
  const again = master.ask("submit", { key: "a", spec: programSpec({ name: "other" }) });
  expect(again).toMatchObject({ created: true });
  expect(again.id).not.toBe(a);
  expect(master.failover().status("a").id).toBe(again.id);
});
