/** When the master starts elsewhere what ran on a lost worker, by the application's choice. */
import { describe, expect, test } from "vitest";
import { OWNER_STOPPED_MS } from "../../../src/env/coordination-store.js";
import type { ApplicationSpec } from "../../../src/wire/application.js";
import { applicationKey } from "../../../src/wire/records.js";
import { jobSpec, programSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const supervised = (change: Partial<ApplicationSpec> = {}) => programSpec({ supervise: true, ...change });

function lostAfterDeadline(spec: ApplicationSpec) {
  const master = new TestMaster();
  const one = new TestWorker(master, "w1");
  const id = master.submit("a", spec);
  one.launch();
  if (spec.job !== null) new TestDriver(master, master.record(id), 1);
  const two = new TestWorker(master, "w2");
  one.disconnect();
  master.pass(10_000);
  return { master, one, two, id };
}

describe("what ran on a lost worker", () => {
  test.each([
    ["a program", supervised()],
    ["a job that says stop", jobSpec(1, { onPartition: "stop" })],
  ])("%s starts elsewhere after the fence", (_name, spec) => {
    const { master, two, id } = lostAfterDeadline(spec);
    expect(two.launch()).toEqual([]);
    master.pass(2_999);
    expect(two.launch()).toEqual([]);
    master.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test.each([
    ["a program that says continue", supervised({ onPartition: "continue" })],
    ["a job", jobSpec(1)],
  ])("%s starts elsewhere at once", (_name, spec) => {
    const { two, id } = lostAfterDeadline(spec);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("of a worker that never came to this leader waits longer: an earlier one may have confirmed it without knowing that it was deposed", () => {
    const master = new TestMaster({ settings: { deposedWithinMs: 4_000 } });
    const one = new TestWorker(master, "w1");
    const id = master.submit("a", supervised());
    one.launch();
    const next = master.failover();
    const two = new TestWorker(next, "w2");
    next.pass(10_000 + 3_000 + 3_999);
    expect(two.launch()).toEqual([]);
    next.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });
});

describe("what ran on a worker that an earlier leader declared lost", () => {
  // The worker may have been confirmed until the election, by masters none of which led (wire/partition-lease.ts).
  test.each([
    ["", 0],
    [", though its calendar is an hour ahead", 3_600_000],
    [", though its calendar is an hour behind", -3_600_000],
  ])("waits a whole deadline and fence from the next election%s", (_name, calendarMs) => {
    const { master, id } = lostAfterDeadline(supervised());
    const next = master.failover({ calendarMs });
    const three = new TestWorker(next, "w3");
    next.pass(10_000 + 3_000 - 1);
    expect(three.launch()).toEqual([]);
    next.pass(1);
    expect(three.launch()).toEqual([`${id}.d2`]);
  });

  test("waits so long from each election, also when nobody led for an hour in between", () => {
    const { master, id } = lostAfterDeadline(supervised());
    const last = master.failover().failover({ afterMs: 3_600_000 });
    const three = new TestWorker(last, "w3");
    last.pass(10_000 + 3_000 - 1);
    expect(three.launch()).toEqual([]);
    last.pass(1);
    expect(three.launch()).toEqual([`${id}.d2`]);
  });

  test("waits so long too where the earlier leader died between the record of the worker and that of the program", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const ids = ["a", "b"].map((key) => master.submit(key, supervised()));
    one.launch();
    const before = new Map(master.store);
    one.disconnect();
    master.pass(10_000);
    for (const id of ids) master.store.set(applicationKey(id), before.get(applicationKey(id)) ?? new Uint8Array());
    const next = master.failover();
    expect(next.ask("workers", {}).workers).toMatchObject([{ id: "w1", state: "lost" }]);
    const two = new TestWorker(next, "w2");
    next.pass(10_000 + 3_000 - 1);
    expect(two.launch()).toEqual([]);
    next.pass(1);
    expect(two.launch()).toEqual(ids.map((id) => `${id}.d2`));
  });

  test("waits so long from when a leader goes on that was stopped before the fence had passed", () => {
    const { master, two, id } = lostAfterDeadline(supervised());
    master.pass(2_000);
    master.stopFor(OWNER_STOPPED_MS);
    expect(two.launch()).toEqual([]);
    master.pass(10_000 + 3_000 - 1);
    expect(two.launch()).toEqual([]);
    master.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("waits no longer when its fence had passed before the leader was stopped", () => {
    const { master, two, id } = lostAfterDeadline(supervised());
    // From now on it waits for room.
    two.disconnect();
    master.pass(3_000);
    master.stopFor(OWNER_STOPPED_MS);
    const three = new TestWorker(master, "w3");
    expect(three.launch()).toEqual([`${id}.d2`]);
  });

  test("a restart that waits for its back-off does not wait for that", () => {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("a", supervised());
    one.launch();
    one.end(`${id}.d1`, 3);
    expect(master.status(id).state).toBe("restarting");
    const next = master.failover();
    const two = new TestWorker(next, "w2");
    next.pass(1_500);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });
});

describe("a job's driver that must not run twice", () => {
  const spec = jobSpec(1, { onPartition: "stop" });

  function moved() {
    const master = new TestMaster();
    const one = new TestWorker(master, "w1");
    const id = master.submit("a", spec);
    one.launch();
    new TestDriver(master, master.record(id), 1);
    const two = new TestWorker(master, "w2");
    master.ask("drain", { worker: "w1", deadlineMs: null });
    return { master, one, two, id };
  }

  test("starts elsewhere when its worker says that it has ended, however the attempt ended", () => {
    const { master, one, two, id } = moved();
    expect(master.state(id)).toBe("restarting");
    master.pass(5_000);
    expect(two.launch()).toEqual([]);
    expect(one.stop()).toContain(`${id}.d1`);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("starts elsewhere after the fence when its worker is lost meanwhile", () => {
    const { master, one, two, id } = moved();
    one.disconnect();
    master.pass(10_000 + 2_999);
    expect(two.launch()).toEqual([]);
    master.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("waits for the word of its worker also when another leader has ended the attempt", () => {
    const { master, one, id } = moved();
    const next = master.failover();
    const two = new TestWorker(next, "w2");
    next.pass(5_000);
    expect(two.launch()).toEqual([]);
    one.register(next);
    expect(two.launch()).toEqual([]);
    expect(one.stop()).toContain(`${id}.d1`);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("waits no longer when its worker comes to the next leader without it", () => {
    const { master, one, id } = moved();
    one.running.clear();
    const next = master.failover();
    const two = new TestWorker(next, "w2");
    expect(two.launch()).toEqual([]);
    one.register(next);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });

  test("waits a whole deadline and fence at the next leader when its worker was lost under the one before", () => {
    const { master, one, id } = moved();
    one.disconnect();
    master.pass(10_000);
    const next = master.failover();
    const two = new TestWorker(next, "w2");
    next.pass(10_000 + 2_999);
    expect(two.launch()).toEqual([]);
    next.pass(1);
    expect(two.launch()).toEqual([`${id}.d2`]);
  });
});

describe("a renewal", () => {
  test("is answered to a worker that is registered on this connection, with every master that is known", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    master.post({ kind: "standbys", masters: [{ id: "m2", address: "b:1", pid: 9, state: "STANDBY", epoch: 7, build: null }] });
    master.send(worker.linkId, "worker.renew", { sequence: 7 });
    expect(master.sent("worker.renewed")).toEqual([
      { linkId: worker.linkId, body: { sequence: 7, masters: ["127.0.0.1:7077", "b:1"] } },
    ]);
  });

  test("is not answered to one that was given up, nor on a connection that it has left", () => {
    const master = new TestMaster();
    const worker = new TestWorker(master, "w1");
    const old = worker.linkId;
    worker.register();
    master.send(old, "worker.renew", { sequence: 1 });
    master.ask("gone", { worker: "w1" });
    master.send(worker.linkId, "worker.renew", { sequence: 2 });
    expect(master.sent("worker.renewed")).toEqual([]);
  });
});
