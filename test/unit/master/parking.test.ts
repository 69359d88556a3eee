import { describe, expect, test } from "vitest";
import type { ErrorShape } from "../../../src/base/errors.js";
import { judgeRestart } from "../../../src/master/supervision.js";
import { DEFAULT_RESTART_POLICY } from "../../../src/wire/application.js";
import { jobSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

const REASON: ErrorShape = { code: "CHECKPOINT_UNREADABLE", message: "Checkpoint 3 can't be read", hint: null };

const pointer = (id: number, attempt = 1) => ({
  id,
  attempt,
  try: 1,
  manifest: { sha256: "d".repeat(64), sizeBytes: 10 },
  sizeBytes: 110,
  completedAt: 5_000,
  durationMs: 7,
  records: { in: 10 * id, out: id },
});

function running() {
  const master = new TestMaster({ settings: { storage: "/shared" } });
  const worker = new TestWorker(master, "w1", { cores: 4 });
  const spec = jobSpec(2);
  if (spec.job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null };
  const id = master.submit("job", { ...spec, job: { ...spec.job, checkpoint } });
  worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  for (const one of [1, 2, 3])
    master.request(driver.linkId, "driver.checkpoint", { attempt: 1, nextId: one + 17, completed: pointer(one) });
  return { master, worker, id, driver };
}

function parked() {
  const all = running();
  const body = { outcome: "parked", result: null, reason: REASON, restart: false };
  expect(all.master.request(all.driver.linkId, "driver.finished", body).error).toBeNull();
  return all;
}

describe("a parked job", () => {
  test("shows its state and reason, and holds neither driver nor executors", () => {
    const { master, worker, id } = parked();
    expect(master.status(id)).toMatchObject({ state: "parked", reason: { code: "CHECKPOINT_UNREADABLE" }, driver: null });
    expect(worker.stop()).toHaveLength(2);
    worker.end(`${id}.d1`, 1, null);
    expect(master.ask("workers", {}).workers[0]).toMatchObject({ cores: { used: 0 }, processes: 0 });
    master.pass(60_000);
    expect(master.launches()).toEqual([]);
    expect(master.ask("events", { after: null, limit: 100, waitMs: 0 }).events.at(-1)).toMatchObject({
      kind: "application.parked",
    });
  });

  test("stays so at the next leader, which starts nothing of it", () => {
    const { master, id } = parked();
    const next = master.failover();
    new TestWorker(next, "w1", { cores: 4 });
    next.pass(60_000);
    expect(next.state(id)).toBe("parked");
    expect(next.launches()).toEqual([]);
  });

  test("its driver's report is taken once; the driver that asks the next leader again is told how it stands", () => {
    const { master, id } = parked();
    const next = master.failover();
    const link = next.link("driver", `${id}.d1`);
    const { error, details } = next.request(link, "driver.register", {
      ...{ applicationId: id, attempt: 1, pid: 1, address: "a:1", highestEpoch: 7, application: next.record(id) },
      ...{ wanted: 0, executors: [], released: [] },
    });
    expect(error).toBe("SUPERSEDED");
    expect(details).toMatchObject({ state: "parked" });
  });

  test("can be cancelled", () => {
    const { master, worker, id } = parked();
    worker.stop();
    worker.end(`${id}.d1`, 1, null);
    master.ask("cancel", { application: id });
    expect(master.state(id)).toBe("cancelled");
  });
});

describe("resume", () => {
  const choice = (id: number) => ({ kind: "checkpoint", id }) as const;

  test("goes on from the checkpoint that is named, and the later ones are given up; counters begin anew", () => {
    const { master, worker, id, driver } = running();
    master.send(driver.linkId, "driver.failures", {
      lost: { row: 0, lastFailureAt: null, recent: [] },
      user: { row: 2, lastFailureAt: 1, recent: [] },
      loop: { signature: "s", times: 2, lastAt: 1 },
    });
    expect(master.record(id).failures?.user.row).toBe(2);
    master.request(driver.linkId, "driver.finished", { outcome: "parked", result: null, reason: REASON, restart: false });
    worker.stop();
    worker.end(`${id}.d1`, 1, null);
    expect(master.ask("resume", { application: id, choice: choice(2) }).id).toBe(id);
    expect(master.record(id)).toMatchObject({
      state: "running",
      attempt: 2,
      reason: null,
      resumed: { choice: choice(2), attempt: 1 },
    });
    expect(master.record(id).checkpoints).toMatchObject({ nextId: 20, completed: [{ id: 1 }, { id: 2 }] });
    expect(master.record(id).failures).toBeUndefined();
  });

  test("latest is the newest completed one; fresh is without any, and no id is used twice", () => {
    const one = parked();
    one.master.ask("resume", { application: one.id, choice: { kind: "latest" } });
    expect(one.master.record(one.id).checkpoints?.completed.map(({ id }) => id)).toEqual([1, 2, 3]);
    const two = parked();
    two.master.ask("resume", { application: two.id, choice: { kind: "fresh" } });
    expect(two.master.record(two.id).checkpoints).toMatchObject({ nextId: 20, completed: [] });
  });

  test("repeating a decision changes nothing, also at the next leader; another one is refused", () => {
    const { master, id } = parked();
    master.ask("resume", { application: id, choice: choice(2) });
    const before = master.record(id);
    expect(master.try("resume", { application: id, choice: choice(2) }).error).toBeNull();
    expect(master.try("resume", { application: id, choice: { kind: "fresh" } }).error).toBe("CONFLICT");
    const next = master.failover();
    expect(next.try("resume", { application: id, choice: choice(2) }).error).toBeNull();
    expect(next.record(id).checkpoints).toEqual(before.checkpoints);
  });

  test("a checkpoint that is not in the history, and a job that runs, are refused by name", () => {
    const { master, id } = parked();
    const unknown = master.try("resume", { application: id, choice: choice(9) });
    expect(unknown).toMatchObject({ error: "NOT_FOUND", body: { message: `checkpoint 9 is not in the history of ${id}` } });
    expect((unknown.body as ErrorShape).hint).toBe("It has: 1, 2, 3.");
    const runs = running();
    expect(runs.master.try("resume", { application: runs.id, choice: { kind: "latest" } }).error).toBe("CONFLICT");
  });

  test("what is decided can only be finished: an older checkpoint would take back what is shown", () => {
    const { master, id, driver } = running();
    driver.commit(1);
    master.request(driver.linkId, "driver.finished", { outcome: "parked", result: null, reason: REASON, restart: false });
    expect(master.try("resume", { application: id, choice: { kind: "fresh" } }).error).toBe("CONFLICT");
    expect(master.try("resume", { application: id, choice: { kind: "latest" } }).error).toBeNull();
  });
});

describe("a job whose driver failed", () => {
  test("comes back after up to a fifth less than its delay, not all jobs at once", () => {
    const delays = [1, 2, 3, 4, 5].map((order) => {
      const chance = (order * 0.618_033_988_75) % 1;
      const verdict = judgeRestart(DEFAULT_RESTART_POLICY, [], 1_000, chance);
      return verdict.restart ? verdict.delayMs : null;
    });
    expect(new Set(delays).size).toBe(5);
    for (const delayMs of delays) expect((delayMs ?? 0) >= 400 && (delayMs ?? 0) <= 500).toBe(true);
  });
});
