import { describe, expect, test } from "vitest";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

describe("events", () => {
  test("tell what happened, in order, with epoch and a sequence without holes", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("k", programSpec({ supervise: true }));
    worker.launch();
    worker.end(`${id}.d1`, 1);
    master.pass(500);
    worker.launch();
    worker.end(`${id}.d2`, 0);
    const { events } = master.ask("events", { after: null, limit: 1000, waitMs: 0 });
    expect(events.map(({ kind }) => kind)).toEqual([
      "leader.elected",
      "recovery.completed",
      "worker.registered",
      "application.submitted",
      "application.running",
      "application.restarting",
      "driver.restarted",
      "application.finished",
    ]);
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    expect(new Set(events.map(({ epoch }) => epoch))).toEqual(new Set([7]));
    expect(events[0]?.at).toBe(new Date(1_700_000_000_000).toISOString());
    expect(events.at(-1)).toMatchObject({ subject: id, message: `Application ${id} (sleep) is finished.` });
  });

  test("after the last one seen are those that follow, also when that was of an earlier leader", () => {
    const master = new TestMaster();
    expect(master.ask("events", { after: { epoch: 7, seq: 1 }, limit: 10, waitMs: 0 }).events.map(({ seq }) => seq)).toEqual([2]);
    expect(master.ask("events", { after: { epoch: 6, seq: 99 }, limit: 1, waitMs: 0 }).events.map(({ seq }) => seq)).toEqual([1]);
    expect(master.ask("events", { after: { epoch: 7, seq: 2 }, limit: 10, waitMs: 0 }).events).toEqual([]);
  });

  test("are waited for, until there is one or time is up", () => {
    const master = new TestMaster();
    const client = master.link("client", "c");
    const first = master.requestLater(client, "events", { after: { epoch: 7, seq: 2 }, limit: 10, waitMs: 5_000 });
    expect(master.answer(first)).toBeNull();
    master.submit("k", programSpec());
    expect(master.answer(first)?.body).toMatchObject({ events: [{ kind: "application.submitted" }] });
    const second = master.requestLater(client, "events", { after: { epoch: 7, seq: 3 }, limit: 10, waitMs: 5_000 });
    master.pass(4_999);
    expect(master.answer(second)).toBeNull();
    master.pass(1);
    expect(master.answer(second)?.body).toEqual({ events: [] });
  });

  test("are bounded, the oldest are forgotten", () => {
    const master = new TestMaster({ settings: { maxEvents: 100 } });
    for (let n = 0; n < 300; n++) master.submit(`k${n}`, programSpec());
    const { events } = master.ask("events", { after: { epoch: 7, seq: 5 }, limit: 1000, waitMs: 0 });
    expect(events.length).toBeLessThanOrEqual(110);
    expect(events.at(-1)?.seq).toBe(302);
    expect(master.ask("events", { after: { epoch: 7, seq: 300 }, limit: 1000, waitMs: 0 }).events.map(({ seq }) => seq)).toEqual([
      301, 302,
    ]);
  });
});

describe("status", () => {
  test("with the version already seen waits for the next change", () => {
    const master = new TestMaster();
    const id = master.submit("k", programSpec());
    const client = master.link("client", "c");
    const { version } = master.ask("status", { application: id, after: null, waitMs: 0 });
    const waiting = master.requestLater(client, "status", { application: id, after: version, waitMs: 30_000 });
    expect(master.answer(waiting)).toBeNull();
    const worker = new TestWorker(master, "w1");
    expect(master.answer(waiting)?.body).toMatchObject({ application: { state: "running", driver: { state: "starting" } } });
    const seen = (master.answer(waiting) as { body: { version: string } }).body.version;
    const again = master.requestLater(client, "status", { application: id, after: seen, waitMs: 30_000 });
    worker.launch();
    expect(master.answer(again)?.body).toMatchObject({ application: { driver: { state: "running", pid: 1000 } } });
  });

  test("that waits in vain answers with what there is", () => {
    const master = new TestMaster();
    const id = master.submit("k", programSpec());
    const { version } = master.ask("status", { application: id, after: null, waitMs: 0 });
    const waiting = master.requestLater(master.link("client", "c"), "status", { application: id, after: version, waitMs: 100 });
    master.pass(100);
    expect(master.answer(waiting)?.body).toMatchObject({ version, application: { id } });
  });

  test("of another leader's version answers at once", () => {
    const master = new TestMaster();
    const id = master.submit("k", programSpec());
    const { version } = master.ask("status", { application: id, after: null, waitMs: 0 });
    const next = master.failover();
    expect(next.ask("status", { application: id, after: version, waitMs: 30_000 }).version).not.toBe(version);
  });

  test("polls are bounded, and forgotten with their link", () => {
    const master = new TestMaster({ settings: { maxWaiters: 2 } });
    const id = master.submit("k", programSpec());
    const { version } = master.ask("status", { application: id, after: null, waitMs: 0 });
    const client = master.link("client", "c");
    const poll = () => master.requestLater(client, "status", { application: id, after: version, waitMs: 30_000 });
    const waiting = [poll(), poll()];
    expect(master.answer(poll())).not.toBeNull();
    master.close(client);
    master.pass(60_000);
    for (const request of waiting) expect(master.answer(request)).toBeNull();
    const other = master.requestLater(master.link("client", "d"), "status", { application: id, after: version, waitMs: 10 });
    expect(master.answer(other)).toBeNull();
  });

  test("names where the logs of every attempt are", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    new TestDriver(master, master.record(id), 1);
    worker.launch();
    worker.end(`${id}.d1`, 1);
    worker.stop();
    master.pass(500);
    worker.launch();
    expect(master.ask("logs.locate", { application: "job" })).toMatchObject({
      final: false,
      processes: [
        { processId: `${id}.d1`, worker: "w1", address: "w1:9", state: "ended" },
        { processId: `${id}.d2`, worker: "w1", state: "running" },
        { processId: `${id}.d2.e1`, worker: "w1", state: "waiting" },
      ],
    });
  });
});

test("cluster shows masters, workers, applications and the last recovery", () => {
  const master = new TestMaster();
  const worker = new TestWorker(master, "w1");
  new TestWorker(master, "w2").disconnect();
  master.submit("a", programSpec());
  master.submit("b", programSpec({ driver: { cores: 100, memoryBytes: 1 } }));
  worker.launch();
  const standby = { id: "m2", address: "b:1", pid: 9, state: "STANDBY", epoch: 7, build: "B" } as const;
  master.post({ kind: "standbys", masters: [standby] });
  expect(master.ask("cluster", {})).toEqual({
    clusterId: "test",
    epoch: 7,
    state: "ALIVE",
    leader: { id: "m1", address: "127.0.0.1:7077", pid: 42 },
    leaderless: null,
    masters: [{ id: "m1", address: "127.0.0.1:7077", pid: 42, state: "ALIVE", epoch: 7, build: "A" }, standby],
    silentMasters: [],
    workers: { alive: 1, suspect: 1, lost: 0, draining: 0, gone: 0 },
    applications: { waiting: 1, running: 1 },
    recovery: {
      startedAt: new Date(1_700_000_000_000).toISOString(),
      completedAt: new Date(1_700_000_000_000).toISOString(),
      durationMs: 0,
    },
    removals: { held: false, waiting: 0, since: null, reason: null, perMinute: 10, share: 0.5 },
    quarantined: [],
  });
});
