import { describe, expect, test } from "vitest";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

describe("a new leader", () => {
  test("with nothing to recover is ALIVE at once", () => {
    const master = new TestMaster();
    expect(master.ask("cluster", {})).toMatchObject({ state: "ALIVE", epoch: 7, recovery: { durationMs: 0 } });
    expect(master.logs).toEqual([
      "Elected leader with epoch 7.",
      "Recovering 0 applications and 0 workers (epoch 7).",
      "Recovery complete (epoch 7): 0 applications and 0 workers in 0 ms.",
    ]);
  });

  test("is ALIVE when all recorded workers and drivers are back, and nothing was restarted", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const two = new TestWorker(master, "w2");
    const job = master.submit("job", jobSpec(2));
    const program = master.submit("program", programSpec());
    one.launch();
    two.launch();
    new TestDriver(master, master.record(job), 1);
    one.launch();
    two.launch();
    const next = master.failover();
    expect(next.ask("cluster", {})).toMatchObject({ state: "RECOVERING", epoch: 8 });
    one.register(next);
    next.pass(100);
    two.register(next);
    expect(next.ask("cluster", {}).state).toBe("RECOVERING");
    new TestDriver(next, next.record(job), 1, { executors: [`${job}.d1.e1`, `${job}.d1.e2`], highestEpoch: 7 });
    expect(next.ask("cluster", {})).toMatchObject({ state: "ALIVE", recovery: { durationMs: 100 } });
    next.pass(120_000);
    expect([...one.launch(), ...two.launch()]).toEqual([]);
    expect([...one.stop(), ...two.stop()]).toEqual([]);
    expect(next.status(job)).toMatchObject({ state: "running", attempt: 1 });
    expect(next.status(job).executors.map(({ state }) => state)).toEqual(["running", "running"]);
    expect(next.status(program)).toMatchObject({ state: "running", attempt: 1 });
    expect(next.logs.at(-1)).toContain("Recovery complete (epoch 8): 2 applications and 2 workers in 100 ms");
  });

  test("takes submissions and uses workers that are back while a dead one is still waited for", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1", { cores: 8 });
    const two = new TestWorker(master, "w2", { cores: 1 });
    const lost = master.submit("lost", programSpec({ supervise: true }));
    expect(one.launch()).toEqual([`${lost}.d1`]);
    const next = master.failover();
    const early = next.submit("early", programSpec());
    expect(next.record(early).state).toBe("waiting");
    two.register(next);
    expect(next.ask("cluster", {}).state).toBe("RECOVERING");
    expect(two.launch()).toEqual([`${early}.d1`]);
    two.end(`${early}.d1`, 0);
    next.pass(10_000);
    expect(next.status(lost)).toMatchObject({ state: "restarting", reason: { code: "WORKER_LOST" } });
    expect(next.ask("cluster", {}).state).toBe("ALIVE");
    next.pass(3_000);
    expect(two.launch()).toEqual([`${lost}.d2`]);
  });

  test("shows the last counts of a finished job", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    const driver = new TestDriver(master, master.record(id), 1);
    master.request(driver.linkId, "driver.commit", { attempt: 1, try: 1, sinks: {}, result: null, records: { in: 40, out: 7 } });
    driver.finish("finished");
    const next = master.failover();
    worker.register(next);
    expect(next.status(id)).toMatchObject({ state: "finished", records: { in: 40, out: 7 } });
  });

  test("keeps what waits, in the order of submission", () => {
    const master = new TestMaster();
    const ids = [1, 2, 3].map((n) => master.submit(`k${n}`, programSpec()));
    const next = master.failover();
    const last = next.submit("k4", programSpec());
    expect(next.ask("list", {}).applications.map(({ id }) => id)).toEqual([...ids, last]);
    const worker = new TestWorker(next, "w1", { cores: 1 });
    for (const id of [...ids, last]) {
      expect(worker.launch()).toEqual([`${id}.d1`]);
      worker.end(`${id}.d1`, 0);
    }
  });

  test("launches what was placed but never ordered", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    const next = master.failover();
    worker.register(next);
    expect(worker.launch()).toEqual([`${id}.d1`]);
    expect(next.record(id).attempt).toBe(1);
  });

  test("learns what ended while there was no master", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    const next = master.failover();
    const inventory = worker.inventory().map((report) => ({ ...report, end: { exitCode: 4, signal: null, reason: null } }));
    worker.register(next, inventory);
    expect(next.status(id)).toMatchObject({ state: "failed", exitCode: 4 });
    expect(next.sent("worker.acknowledge").map(({ body }) => body)).toEqual([{ processIds: [`${id}.d1`] }]);
  });

  test("replaces a driver that does not come back although its worker did", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    new TestDriver(master, master.record(id), 1);
    worker.launch();
    const next = master.failover();
    worker.register(next);
    next.pass(10_000);
    expect(worker.stop()).toEqual(expect.arrayContaining([`${id}.d1`, `${id}.d1.e1`]));
    next.pass(500);
    expect(worker.launch()).toEqual([`${id}.d2`]);
  });

  test("takes what a job's driver asks, and gives its answers, while the driver of another job is still waited for, and loses nothing of either", () => {
    const master = new TestMaster({ settings: { storage: "/shared" } });
    const worker = new TestWorker(master, "w1", { cores: 8 });
    const checkpoint = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null };
    const spec = jobSpec(1);
    const [gone, beside] = ["gone", "beside"].map((key) =>
      master.submit(key, { ...spec, job: spec.job === null ? null : { ...spec.job, checkpoint } }),
    ) as [string, string];
    worker.launch();
    for (const id of [gone, beside]) new TestDriver(master, master.record(id), 1);
    worker.launch();

    const next = master.failover();
    worker.register(next);
    const driver = new TestDriver(next, next.record(beside), 1, { executors: [`${beside}.d1.e1`], highestEpoch: 7 });
    expect(driver.registered.error).toBeNull();
    expect(next.ask("cluster", {}).state).toBe("RECOVERING");
    const completed = {
      ...{ id: 1, attempt: 1, try: 1, manifest: { sha256: "d".repeat(64), sizeBytes: 10 }, sizeBytes: 1 },
      ...{ completedAt: 0, durationMs: 0, records: { in: 1, out: 1 } },
    };
    expect(next.request(driver.linkId, "driver.checkpoint", { attempt: 1, nextId: 17, completed }).error).toBeNull();
    expect(next.record(beside).checkpoints?.completed).toMatchObject([{ id: 1 }]);
    next.ask("checkpoint", { application: beside, key: "k", savepoint: null });
    expect(next.sent("driver.checkpoint-requests").map(({ linkId }) => linkId)).toEqual([driver.linkId]);
    // Another executor, although recovery is not over.
    driver.executors(2);
    expect(worker.launch()).toHaveLength(1);
    expect(next.ask("cluster", {}).state).toBe("RECOVERING");

    next.pass(10_500);
    expect(worker.launch()).toEqual([`${gone}.d2`]);
    expect(next.status(gone)).toMatchObject({ state: "running", attempt: 2 });
    expect(next.status(beside)).toMatchObject({ state: "running", attempt: 1 });
    expect(worker.stop().filter((processId) => processId.startsWith(beside))).toEqual([]);
    expect(driver.commit(1).error).toBeNull();
  });

  test("orders no executors in place of those that its predecessor had ordered, before their worker has spoken", () => {
    const master = new TestMaster();
    const w1 = new TestWorker(master, "w1");
    const w2 = new TestWorker(master, "w2");
    const id = master.submit("job", jobSpec(2));
    const executors = [`${id}.d1.e1`, `${id}.d1.e2`];
    const launched = [...w1.launch(), ...w2.launch()];
    const driver = new TestDriver(master, master.record(id), 1);
    const expected = driver.view().map(({ processId, workerId }) => ({ processId, workerId: workerId ?? "" }));
    expect(expected.map(({ processId }) => processId)).toEqual(executors);
    const order = master.effects.findIndex(({ kind }) => kind === "launch");
    const view = master.effects.findIndex((effect) => effect.kind === "send" && effect.message === "driver.executors");
    expect(view).toBeLessThan(order);
    launched.push(...w1.launch(), ...w2.launch());
    const next = master.failover();
    const w3 = new TestWorker(next, "w3");
    const again = new TestDriver(next, next.record(id), 1, { expected });
    expect(w3.launch()).toEqual([]);
    // One worker has launched what it was ordered to; the order to the other one was lost with the leader.
    const lost = executors.find((processId) => w2.running.has(processId)) ?? "";
    w2.running.delete(lost);
    w1.register(next);
    w2.register(next);
    expect([...w1.launch(), ...w2.launch(), ...w3.launch()]).toEqual([lost]);
    next.pass(20);
    expect(again.view()).toMatchObject(executors.map((processId) => ({ processId, state: "running" })));
  });

  test.each([
    ["that it does not know", "w9", 0],
    ["that has come back without it", "w2", 0],
    ["that does not come back, when it is lost", "w3", 10_000],
  ])("orders another in place of an executor on a worker %s", (_which, workerId, afterMs) => {
    const master = new TestMaster();
    const w1 = new TestWorker(master, "w1", { cores: 1 });
    new TestWorker(master, "w3", { cores: 1 });
    const id = master.submit("job", jobSpec(1));
    w1.launch();
    const next = master.failover();
    w1.register(next);
    const w2 = new TestWorker(next, "w2");
    new TestDriver(next, next.record(id), 1, { expected: [{ processId: `${id}.d1.e1`, workerId }] });
    next.pass(Math.max(0, afterMs - 1));
    if (afterMs > 0) expect(w2.launch()).toEqual([]);
    next.pass(1);
    expect(w2.launch()).toHaveLength(1);
  });

  test("never gives an executor's id twice", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1", { cores: 8 });
    const id = master.submit("job", jobSpec(2));
    worker.launch();
    new TestDriver(master, master.record(id), 1);
    // The order for e1 and e2 was sent, and is not yet known to the driver.
    const next = master.failover();
    worker.register(next);
    new TestDriver(next, next.record(id), 1);
    expect(worker.launch()).toEqual([`${id}.d1.e100001`, `${id}.d1.e100002`]);
  });

  test("ends its recovery at the deadline, whoever is missing", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const job = master.submit("job", jobSpec(1));
    one.launch();
    new TestDriver(master, master.record(job), 1);
    const next = new TestMaster(
      { epoch: 8, settings: { workerDeadlineMs: 60_000, driverDeadlineMs: 60_000 } },
      master.store,
      master.now,
    );
    next.pass(14_999);
    expect(next.ask("cluster", {}).state).toBe("RECOVERING");
    next.pass(1);
    expect(next.ask("cluster", {}).state).toBe("ALIVE");
    expect(next.state(job)).toBe("running");
  });

  test("recovered twice from the same records is the same", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    for (let n = 0; n < 5; n++) master.submit(`k${n}`, n % 2 === 0 ? programSpec({ supervise: true }) : jobSpec(1));
    worker.launch();
    const views = [0, 1].map(() => {
      const next = master.failover({ store: new Map(master.store) });
      worker.register(next);
      next.pass(30_000);
      const launched = worker.launch();
      return {
        launched,
        list: next.ask("list", {}),
        store: [...next.store].map(([key, value]) => [key, new TextDecoder().decode(value)]),
      };
    });
    expect(views[1]).toEqual(views[0]);
  });

  test("remembers what has ended, with its result", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec());
    worker.launch();
    worker.end(`${id}.d1`, 7);
    const next = master.failover();
    expect(next.status("k")).toMatchObject({ id, state: "failed", exitCode: 7 });
    expect(next.ask("logs.locate", { application: id })).toEqual({
      id,
      final: true,
      processes: [{ processId: `${id}.d1`, worker: "w1", address: "w1:9", state: "ended" }],
    });
  });
});

describe("recovery mode none", () => {
  const restart = (master: TestMaster, epoch = 100) => new TestMaster({ mode: "none", epoch }, new Map(), master.now);

  test("rebuilds what runs from workers and drivers, and stops nothing", () => {
    const master = new TestMaster({ mode: "none", epoch: 7 });
    const one = new TestWorker(master, "w1");
    const two = new TestWorker(master, "w2");
    const job = master.submit("job", jobSpec(2));
    const program = master.submit("program", programSpec({ supervise: true }));
    one.launch();
    two.launch();
    const record = master.record(job);
    new TestDriver(master, record, 1);
    one.launch();
    two.launch();
    const next = restart(master);
    expect(next.ask("cluster", {}).state).toBe("ALIVE");
    one.register(next);
    two.register(next);
    new TestDriver(next, record, 1, { executors: [`${job}.d1.e1`, `${job}.d1.e2`], highestEpoch: 7 });
    next.pass(60_000);
    expect(
      next
        .ask("list", {})
        .applications.map(({ id, state }) => [id, state])
        .sort(),
    ).toEqual([
      [job, "running"],
      [program, "running"],
    ]);
    expect([...one.stop(), ...two.stop(), ...one.launch(), ...two.launch()]).toEqual([]);
    expect(next.ask("submit", { key: "job", spec: jobSpec(2) })).toMatchObject({ id: job, created: false });
    const home = one.running.has(`${program}.d1`) ? one : two;
    home.end(`${program}.d1`, 1);
    next.pass(500);
    expect(next.status(program)).toMatchObject({ state: "running", attempt: 2 });
  });

  test("knows a job again by its executors alone, and replaces its driver when that does not come", () => {
    const master = new TestMaster({ mode: "none", epoch: 7 });
    const one = new TestWorker(master, "w1", { cores: 1 });
    const job = master.submit("job", jobSpec(1));
    const two = new TestWorker(master, "w2", { cores: 1 });
    one.launch();
    two.launch();
    new TestDriver(master, master.record(job), 1);
    one.launch();
    two.launch();
    const executorHost = one.running.has(`${job}.d1.e1`) ? one : two;
    const next = restart(master);
    executorHost.register(next);
    expect(next.status(job)).toMatchObject({ state: "running", attempt: 1 });
    next.pass(10_000);
    expect(next.state(job)).toBe("restarting");
    expect(executorHost.stop()).toEqual([`${job}.d1.e1`]);
  });

  test("does not lead with an epoch that others have seen passed", () => {
    const master = new TestMaster({ mode: "none", epoch: 3 });
    const worker = new TestWorker(master, "w1", { highestEpoch: 9 });
    expect(master.take("epoch-too-low")).toEqual([{ kind: "epoch-too-low", seen: 9 }]);
    expect(master.take("close-link").map(({ linkId }) => linkId)).toEqual([worker.linkId]);
    expect(master.ask("workers", {}).workers).toEqual([]);
  });

  test("does not take an application of its own epoch for one that it made itself", () => {
    const master = new TestMaster({ mode: "none", epoch: 7 });
    const worker = new TestWorker(master, "w1");
    master.submit("k", programSpec());
    worker.launch();
    const same = restart(master, 7);
    worker.register(same);
    expect(same.take("epoch-too-low")).toEqual([{ kind: "epoch-too-low", seen: 8 }]);
  });
});
