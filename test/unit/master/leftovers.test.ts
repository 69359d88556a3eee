/** What the sinks of a job staged goes with its end, and so does its bundle; forgetting removes the rest. */
import { describe, expect, test } from "vitest";
import { CLEAN_UP_TIMEOUT_MS, MAX_CLEAN_UPS, MAX_FORGOTTEN_KNOWN } from "../../../src/master/settings.js";
import type { ApplicationSpec } from "../../../src/wire/application.js";
import { encodeApplicationRecord } from "../../../src/wire/records.js";
import { jobSpec, programSpec, TestDriver, TestMaster, type TestOptions, TestWorker } from "./harness.js";

const CHECKPOINT = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null };

function running(options: TestOptions = {}, spec: ApplicationSpec = jobSpec(1)) {
  const master = new TestMaster(options);
  const worker = new TestWorker(master, "w1", { cores: 8 });
  const id = master.submit("job", spec);
  worker.launch();
  return { master, worker, id };
}

/** Cancelled, and its driver was killed before it could do anything. */
function endedWithoutDriver(options: TestOptions = {}, spec?: ApplicationSpec) {
  const stage = running(options, spec);
  const { master, worker, id } = stage;
  const driver = new TestDriver(master, master.record(id), 1);
  master.ask("cancel", { application: id });
  worker.end(`${id}.d1`, null, "SIGKILL");
  master.close(driver.linkId);
  worker.stop();
  expect(master.state(id)).toBe("cancelled");
  return stage;
}

const removedBundles = (master: TestMaster) => master.take("remove-bundle").map(({ bundle }) => bundle);
const BUNDLE = { folder: "test.7", sha256: "a".repeat(64) };

describe("a job that ended without a living driver", () => {
  test("gets a process that removes what its sinks staged, once nothing of it runs, and then its bundle goes", () => {
    const { master, worker, id } = endedWithoutDriver();
    expect(master.record(id).leftovers).toEqual({ tries: 1, workerId: "w1", error: null });
    expect(removedBundles(master)).toEqual([]);
    const [order] = master.effects.flatMap((effect) => (effect.kind === "launch" ? [effect.order] : []));
    expect(order).toMatchObject({ processId: `${id}.d2`, role: "driver", application: { state: "cancelled", attempt: 1 } });
    worker.launch();
    worker.end(`${id}.d2`, 0);
    expect(master.record(id).leftovers).toBeUndefined();
    expect(master.record(id)).toMatchObject({ state: "cancelled", attempt: 1 });
    expect(removedBundles(master)).toEqual([BUNDLE]);
  });

  test("is not cleaned up after while an executor of it still runs", () => {
    const { master, worker, id } = running();
    const driver = new TestDriver(master, master.record(id), 1);
    worker.launch();
    master.ask("cancel", { application: id });
    master.close(driver.linkId);
    worker.end(`${id}.d1`, null, "SIGKILL");
    expect(worker.running.size).toBe(1);
    expect(worker.launch()).toEqual([]);
    worker.stop();
    expect(worker.launch()).toEqual([`${id}.d2`]);
  });

  test("is cleaned up after by the next leader, which adopts a process that does it, or starts one", () => {
    const begun = endedWithoutDriver();
    begun.worker.launch();
    const next = begun.master.failover();
    begun.worker.register(next);
    expect(next.stops()).toEqual([]);
    expect(next.launches()).toEqual([]);
    begun.worker.end(`${begun.id}.d2`, 0);
    expect(next.record(begun.id).leftovers).toBeUndefined();

    const lost = endedWithoutDriver();
    lost.worker.launch();
    const other = lost.master.failover();
    other.pass(20_000);
    expect(other.record(lost.id).leftovers?.tries).toBe(1);
    const another = new TestWorker(other, "w2", { cores: 8 });
    other.pass(20_000);
    expect(another.launch()).toEqual([`${lost.id}.d3`]);
  });

  test("is not cleaned up after before all workers have told what they run, or were given up", () => {
    const { master, id } = endedWithoutDriver();
    new TestWorker(master, "w2", { cores: 8 });
    // The leader was lost before it could start one.
    const leftovers = { tries: 0, workerId: null, error: null };
    master.store.set(`applications/${id}`, encodeApplicationRecord({ ...master.record(id), leftovers }));
    const next = master.failover();
    const resources = { cores: 1, memoryBytes: 1 };
    const end = { exitCode: 0, signal: null, reason: null };
    const executor = { processId: `${id}.d1.e9`, pid: 1, resources, end, role: "executor", application: null } as const;
    const other = new TestWorker(next, "w2", { cores: 8, inventory: [executor] });
    next.pass(2_000);
    expect(other.launch()).toEqual([]);
    next.pass(20_000);
    expect(other.launch()).toEqual([`${id}.d2`]);
  });

  test("is tried again, each time later, and then a person is told", () => {
    const { master, worker, id } = endedWithoutDriver();
    for (let tries = 1; tries <= MAX_CLEAN_UPS; tries++) {
      expect(worker.launch()).toEqual([`${id}.d${1 + tries}`]);
      if (tries % 2 === 0) worker.end(`${id}.d${1 + tries}`, 1);
      else {
        // It hangs.
        master.pass(CLEAN_UP_TIMEOUT_MS);
        expect(worker.stop()).toEqual([`${id}.d${1 + tries}`]);
      }
      expect(worker.launch()).toEqual([]);
      master.pass(60_000);
    }
    expect(master.record(id).leftovers?.error).toMatchObject({ code: "CLEAN_UP_FAILED" });
    const { processes } = master.ask("logs.locate", { application: id });
    expect(processes, "the log of the last one is found").toContainEqual(
      expect.objectContaining({ processId: `${id}.d${1 + MAX_CLEAN_UPS}`, worker: expect.any(String), state: "ended" }),
    );
    const told = master
      .ask("events", { after: null, limit: 100, waitMs: 0 })
      .events.filter(({ kind }) => kind === "application.leftovers");
    expect(told).toHaveLength(1);
    expect(removedBundles(master)).toEqual([BUNDLE]);
  });

  test("has nothing to be cleaned up when it never ran", () => {
    const master = new TestMaster();
    const id = master.submit("job", jobSpec(1));
    master.ask("cancel", { application: id });
    new TestWorker(master, "w1");
    expect(master.record(id).leftovers).toBeUndefined();
    expect(removedBundles(master)).toEqual([BUNDLE]);
  });
});

describe("a job whose driver says its end", () => {
  test("is left to that, and its bundle goes when the driver has ended", () => {
    const { master, worker, id } = running();
    new TestDriver(master, master.record(id), 1).finish("failed");
    worker.stop();
    expect(removedBundles(master)).toEqual([]);
    worker.end(`${id}.d1`, 1);
    expect(master.record(id).leftovers).toBeUndefined();
    expect(removedBundles(master)).toEqual([BUNDLE]);
  });

  test.each([
    ["is killed before it has removed everything", (worker: TestWorker, id: string) => worker.end(`${id}.d1`, null, "SIGKILL"), {}],
    ["says that it could not", (worker: TestWorker, id: string) => worker.end(`${id}.d1`, 1), { leftovers: true }],
  ] as const)("is cleaned up after when it %s", (_what, end, said) => {
    const { master, worker, id } = running();
    new TestDriver(master, master.record(id), 1).finish("failed", said);
    worker.stop();
    end(worker, id);
    expect(worker.launch()).toEqual([`${id}.d2`]);
  });
});

describe("a bundle", () => {
  test("stays while another application needs it, and goes with the last one", () => {
    const { master, worker, id } = running();
    const other = master.submit("other", jobSpec(1));
    worker.launch();
    for (const [one, left] of [
      [id, []],
      [other, [BUNDLE]],
    ] as const) {
      new TestDriver(master, master.record(one), 1).finish("finished");
      worker.stop();
      worker.end(`${one}.d1`, 0);
      expect(removedBundles(master)).toEqual(left);
    }
  });

  test("of a later leader is another one: each names its own folder", () => {
    const { master, id } = running();
    const next = master.failover();
    expect(next.record(id).bundleFolder).toBe("test.7");
    expect(next.record(next.submit("later", jobSpec(1))).bundleFolder).toBe("test.8");
  });

  test("of an earlier leader is swept only when all workers have told what they run, but for what records need", () => {
    const { master, worker } = running();
    const next = master.failover();
    expect(next.take("sweep-bundles")).toEqual([]);
    worker.register(next);
    next.pass(20_000);
    expect(next.take("sweep-bundles")).toEqual([{ kind: "sweep-bundles", needed: [BUNDLE] }]);
  });

  test("is not removed while a record can't be read", () => {
    const { master, worker, id } = running();
    master.store.set("applications/app-1-1", new TextEncoder().encode("damaged"));
    const next = master.failover();
    worker.register(next);
    const driver = new TestDriver(next, next.record(id), 1);
    next.pass(20_000);
    driver.finish("finished");
    worker.stop();
    worker.end(`${id}.d1`, 0);
    expect(next.state(id)).toBe("finished");
    expect([...removedBundles(next), ...next.take("sweep-bundles")]).toEqual([]);
  });

  test("that nobody has submitted goes when the host asks, and one that is needed stays", () => {
    const { master } = running();
    master.post({ kind: "bundle-idle", bundle: BUNDLE });
    expect(removedBundles(master)).toEqual([]);
    const never = { folder: "test.7", sha256: "c".repeat(64) };
    master.post({ kind: "bundle-idle", bundle: never });
    expect(removedBundles(master)).toEqual([never]);
  });

  test("of every submission is told to the host when the core has looked at it, also when it is refused or its client has gone", () => {
    const { master } = running();
    master.take("submission-taken");
    master.try("submit", { key: "job", spec: jobSpec(3) });
    master.post({ kind: "message", linkId: 999, message: "submit", body: { key: "x", spec: jobSpec(1) }, requestId: 1 });
    expect(master.take("submission-taken")).toHaveLength(2);
  });
});

describe("forgetting", () => {
  const finished = (options: TestOptions = {}, spec?: ApplicationSpec) => {
    const stage = running(options, spec);
    new TestDriver(stage.master, stage.master.record(stage.id), 1).finish("finished");
    stage.worker.stop();
    stage.worker.end(`${stage.id}.d1`, 0);
    return stage;
  };

  test("removes the record and the key; asked again it says so; a new application may take the key", () => {
    const { master, id } = finished();
    expect(master.ask("forget", { application: "job" })).toEqual({ id, state: "finished", forgotten: true });
    expect(master.store.has(`applications/${id}`)).toBe(false);
    expect(master.ask("forget", { application: id })).toEqual({ id, state: null, forgotten: true });
    expect(master.ask("forget", { application: "job" }).forgotten).toBe(true);
    expect(master.try("status", { application: id, after: null, waitMs: 0 }).error).toBe("NOT_FOUND");
    expect(master.submit("job", jobSpec(2))).not.toBe(id);
    expect(MAX_FORGOTTEN_KNOWN).toBeGreaterThan(0);
  });

  test("is refused while the application has not ended", () => {
    const { master, id } = running();
    expect(master.try("forget", { application: id }).error).toBe("CONFLICT");
    expect(master.try("forget", { application: "nothing" }).error).toBe("NOT_FOUND");
  });

  test("keeps the record until the storage has said that nothing is left, over failures and the next leader", () => {
    const settings = { storage: "/shared" };
    const base = jobSpec(1);
    const spec = base.job === null ? base : { ...base, job: { ...base.job, checkpoint: { ...CHECKPOINT, retain: true } } };
    const { master, id } = finished({ settings }, spec);
    expect(master.take("remove-state")).toEqual([]);
    expect(master.ask("forget", { application: id }).forgotten).toBe(false);
    expect(master.take("remove-state")).toMatchObject([{ applicationId: id, isLast: true }]);
    master.post({ kind: "state-removed", applicationId: id, error: "the disk is away" });
    expect(master.store.has(`applications/${id}`)).toBe(true);
    master.pass(10_000);
    expect(master.take("remove-state")).toMatchObject([{ applicationId: id, isLast: true }]);
    const next = master.failover();
    expect(next.take("remove-state")).toMatchObject([{ applicationId: id, isLast: true }]);
    next.post({ kind: "state-removed", applicationId: id, error: null });
    expect(next.store.has(`applications/${id}`)).toBe(false);
    expect(next.ask("list", {}).applications).toEqual([]);
  });

  test("waits for the removal of what its sinks staged", () => {
    const { master, worker, id } = endedWithoutDriver();
    expect(master.ask("forget", { application: id }).forgotten).toBe(false);
    worker.launch();
    worker.end(`${id}.d2`, 0);
    expect(master.store.has(`applications/${id}`)).toBe(false);
  });

  test("comes by itself to the oldest of more than are kept", () => {
    const { master, worker, id } = running({ settings: { maxFinished: 1 } });
    new TestDriver(master, master.record(id), 1).finish("finished");
    worker.stop();
    worker.end(`${id}.d1`, 0);
    const program = master.submit("program", programSpec());
    worker.launch();
    worker.end(`${program}.d1`, 0);
    expect(master.ask("list", {}).applications.map((app) => app.id)).toEqual([program]);
  });
});
