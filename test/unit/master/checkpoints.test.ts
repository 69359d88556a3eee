import { describe, expect, test } from "vitest";
import { jobSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const SETTINGS = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null };
const STORAGE = "/shared/holdfast";

function checkpointedSpec() {
  const spec = jobSpec(1);
  if (spec.job === null) throw new Error("no job");
  return { ...spec, job: { ...spec.job, checkpoint: SETTINGS } };
}

const pointer = (id: number, attempt = 1, sha256 = "d".repeat(64)) => ({
  id,
  attempt,
  try: 1,
  manifest: { sha256, sizeBytes: 10 },
  sizeBytes: 110,
  completedAt: 5_000,
  durationMs: 7,
  records: { in: 10 * id, out: id },
});

function running() {
  const master = new TestMaster({ settings: { storage: STORAGE } });
  const worker = new TestWorker(master, "w1", { cores: 4 });
  const id = master.submit("job", checkpointedSpec());
  worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  return { master, worker, id, driver };
}

const ask = (driver: TestDriver, attempt: number, nextId: number, completed: ReturnType<typeof pointer> | null) =>
  driver.master.request(driver.linkId, "driver.checkpoint", { attempt, nextId, completed });

describe("checkpoints at the master", () => {
  test("where they are kept is noted with the submission, and is refused by a master without storage", () => {
    const { master, id } = running();
    expect(master.record(id).checkpoints).toEqual({ storage: STORAGE, nextId: 1, completed: [] });
    const without = new TestMaster();
    expect(without.request(without.link("client", "c1"), "submit", { key: "k", spec: checkpointedSpec() }).error).toBe(
      "CHECKPOINT_STORAGE",
    );
  });

  test("ids are reserved and pointers recorded, and status shows the last one", () => {
    const { master, id, driver } = running();
    expect(ask(driver, 1, 17, null).error).toBeNull();
    expect(master.record(id).checkpoints).toMatchObject({ nextId: 17, completed: [] });
    expect(ask(driver, 1, 18, pointer(1)).error).toBeNull();
    expect(master.status(id).checkpoint).toMatchObject({ id: 1, sizeBytes: 110, records: { in: 10, out: 1 } });
    for (const next of [2, 3, 4]) expect(ask(driver, 1, next + 17, pointer(next)).error).toBeNull();
    expect(master.record(id).checkpoints?.completed.map((one) => one.id)).toEqual([2, 3, 4]);
  });

  test("repeating a request gives the same answer and changes nothing; an older or another one is refused", () => {
    const { master, id, driver } = running();
    ask(driver, 1, 18, pointer(1));
    ask(driver, 1, 19, pointer(2));
    const before = master.record(id);
    expect(ask(driver, 1, 19, pointer(2)).error).toBeNull();
    expect(ask(driver, 1, 17, null).error).toBeNull();
    expect(master.record(id)).toEqual(before);
    expect(ask(driver, 1, 19, pointer(1)).error).toBe("CONFLICT");
    expect(ask(driver, 1, 19, pointer(2, 1, "e".repeat(64))).error).toBe("CONFLICT");
    expect(ask(driver, 1, 3, pointer(3)).error).toBe("CONFLICT");
    expect(master.record(id)).toEqual(before);
  });

  test("an attempt that is over completes none, whatever it believes", () => {
    const { master, worker, id, driver } = running();
    ask(driver, 1, 18, pointer(1));
    worker.end(`${id}.d1`, null, "SIGKILL");
    master.pass(1_000);
    worker.launch();
    const second = new TestDriver(master, master.record(id), 2);
    expect(second.registered.body).toMatchObject({ application: { checkpoints: { nextId: 18, completed: [{ id: 1 }] } } });
    expect(ask(driver, 1, 19, pointer(2)).error).toBe("SUPERSEDED");
    expect(ask(second, 2, 19, pointer(2, 1)).error).toBe("INVALID_ARGUMENT");
    expect(ask(second, 1, 19, null).error).toBe("INVALID_ARGUMENT");
    expect(master.record(id).checkpoints?.completed.map((one) => one.id)).toEqual([1]);
    expect(ask(second, 2, 35, pointer(18, 2)).error).toBeNull();
  });

  test("none follows the decision or a cancel", () => {
    const decided = running();
    decided.driver.commit(1);
    expect(ask(decided.driver, 1, 18, pointer(1)).error).toBe("CONFLICT");
    const cancelled = running();
    cancelled.master.ask("cancel", { application: cancelled.id });
    expect(ask(cancelled.driver, 1, 18, pointer(1)).error).toBe("CONFLICT");
  });

  test("the next leader has what was answered", () => {
    const { master, id, driver } = running();
    ask(driver, 1, 18, pointer(1));
    expect(master.failover().record(id).checkpoints).toEqual({ storage: STORAGE, nextId: 18, completed: [pointer(1)] });
  });

  test("a job without checkpoints has none", () => {
    const master = new TestMaster({ settings: { storage: STORAGE } });
    const worker = new TestWorker(master, "w1", { cores: 4 });
    const id = master.submit("job", jobSpec(1));
    worker.launch();
    const driver = new TestDriver(master, master.record(id), 1);
    expect(ask(driver, 1, 17, null).error).toBe("INVALID_ARGUMENT");
    expect(master.record(id).checkpoints).toBeUndefined();
    expect(master.status(id).checkpoint).toBeNull();
  });
});

describe("state of jobs that have ended", () => {
  /** Its processes, those that are just being started among them. */
  const endAll = (worker: TestWorker) => {
    worker.launch();
    for (const [processId, { role }] of [...worker.running])
      if (role === "driver") worker.end(processId, 1);
      else worker.end(processId, null, "SIGKILL");
  };
  const removed = (master: TestMaster) => master.effects.flatMap((effect) => (effect.kind === "remove-state" ? [effect] : []));

  test("is removed when nothing of the job runs any more, and again by the next leader", () => {
    const { master, worker, id, driver } = running();
    driver.finish("failed");
    expect(removed(master)).toEqual([]);
    endAll(worker);
    expect(removed(master)).toEqual([{ kind: "remove-state", applicationId: id, storage: STORAGE, isLast: false }]);
    const next = master.failover();
    next.pass(60_000);
    expect(removed(next)).toEqual([{ kind: "remove-state", applicationId: id, storage: STORAGE, isLast: false }]);
  });

  test("is removed also when the job ended without a driver", () => {
    const { master, worker, id } = running();
    master.ask("cancel", { application: id });
    endAll(worker);
    expect(master.state(id)).toBe("cancelled");
    expect(removed(master).map(({ applicationId }) => applicationId)).toContain(id);
  });

  test("is removed also when the last of its processes were lost with their worker", () => {
    const { master, worker, id, driver } = running();
    driver.finish("failed");
    worker.disconnect();
    expect(removed(master)).toEqual([]);
    master.pass(60_000);
    expect(removed(master).map(({ applicationId }) => applicationId)).toContain(id);
  });

  test("stays when it was asked for, until the application is forgotten", () => {
    const master = new TestMaster({ settings: { storage: STORAGE, maxFinished: 1 } });
    const worker = new TestWorker(master, "w1", { cores: 4 });
    const spec = checkpointedSpec();
    const end = (key: string, retain: boolean) => {
      const id = master.submit(key, { ...spec, job: { ...spec.job, checkpoint: { ...SETTINGS, retain } } });
      worker.launch();
      new TestDriver(master, master.record(id), 1).finish("failed");
      endAll(worker);
      return id;
    };
    const kept = end("kept", true);
    expect(removed(master)).toEqual([]);
    end("other", false);
    expect(removed(master).map(({ applicationId }) => applicationId)).toContain(kept);
  });
});
