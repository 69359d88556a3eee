import { describe, expect, test } from "vitest";
import { MAX_CHECKPOINT_ANSWERS, MAX_CHECKPOINT_REQUESTS, MAX_FAILED_TOLD } from "../../../src/wire/checkpoint.js";
import { jobSpec, TestDriver, TestMaster, TestWorker } from "./harness.js";

function running() {
  const master = new TestMaster({ settings: { storage: "/shared" } });
  const worker = new TestWorker(master, "w1", { cores: 4 });
  const spec = jobSpec(1);
  if (spec.job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null };
  const id = master.submit("job", { ...spec, job: { ...spec.job, checkpoint } });
  worker.launch();
  return { master, worker, id, driver: new TestDriver(master, master.record(id), 1) };
}

const answer = (key: string, checkpoint: number | null = 7) => ({ key, answeredAt: 1, checkpoint, savepoint: null, error: null });
const WRITTEN = { directory: "/sp/x", sha256: "e".repeat(64), sizeBytes: 3 };

describe("a checkpoint that is asked for", () => {
  test("is durable before it is answered, told to the driver, and told once however often it is asked for", () => {
    const { master, id } = running();
    for (let times = 0; times < 2; times++) master.ask("checkpoint", { application: id, key: "k", savepoint: null });
    expect(master.record(id).checkpoints?.requests).toMatchObject([{ key: "k", savepoint: null }]);
    expect(master.sent("driver.checkpoint-requests").map(({ body }) => body)).toMatchObject([{ requests: [{ key: "k" }] }]);
    expect(master.ask("checkpoints", { application: id }).requests).toMatchObject([{ key: "k", kind: "checkpoint" }]);
  });

  test("reaches the driver under the next leader with its registration, and its answer is there for whoever asked", () => {
    const { master, id } = running();
    master.ask("checkpoint", { application: id, key: "k", savepoint: { directory: null, stop: false } });
    const next = master.failover();
    new TestWorker(next, "w1", { cores: 4 });
    const driver = new TestDriver(next, next.record(id), 1);
    expect(driver.registered.body).toMatchObject({ application: { checkpoints: { requests: [{ key: "k" }] } } });
    next.send(driver.linkId, "driver.checkpoint-answers", {
      answers: [{ ...answer("k"), savepoint: WRITTEN }, answer("stranger")],
    });
    const view = next.failover().ask("checkpoints", { application: id });
    expect(view).toMatchObject({ requests: [], answers: [{ key: "k", checkpoint: 7, savepoint: WRITTEN }] });
    expect(next.try("checkpoint", { application: id, key: "k", savepoint: null }).error).toBeNull();
    expect(next.record(id).checkpoints?.requests).toEqual([]);
  });

  test("is refused of a job that takes none, that ends, or when too many wait", () => {
    const { master, id, driver } = running();
    const plain = master.submit("plain", jobSpec(1));
    expect(master.try("checkpoint", { application: plain, key: "k", savepoint: null }).error).toBe("CHECKPOINT_UNSUPPORTED");
    for (let number = 0; number < MAX_CHECKPOINT_REQUESTS; number++)
      master.ask("checkpoint", { application: id, key: `k${number}`, savepoint: null });
    expect(master.try("checkpoint", { application: id, key: "more", savepoint: null }).error).toBe("LIMIT_EXCEEDED");
    driver.commit(1);
    expect(master.try("checkpoint", { application: id, key: "late", savepoint: null }).error).toBe("CONFLICT");
  });

  test("with which the job ends is answered by the decision itself", () => {
    const { master, id, driver } = running();
    master.ask("checkpoint", { application: id, key: "k", savepoint: { directory: null, stop: true } });
    const stopped = { ...answer("k"), savepoint: WRITTEN };
    master.request(driver.linkId, "driver.commit", { attempt: 1, try: 1, sinks: {}, result: null, stopped });
    expect(master.record(id)).toMatchObject({
      commit: { stopped: { key: "k" } },
      checkpoints: { requests: [], answers: [{ key: "k" }] },
    });
  });

  test("answers and failures that are remembered are bounded", () => {
    const { master, id, driver } = running();
    for (let number = 1; number <= MAX_CHECKPOINT_ANSWERS + 5; number++) {
      master.ask("checkpoint", { application: id, key: `k${number}`, savepoint: null });
      master.send(driver.linkId, "driver.checkpoint-answers", { answers: [answer(`k${number}`)] });
      const failed = { id: number, trigger: "periodic", failedAt: 1, durationMs: 2, reason: "full" };
      for (let times = 0; times < 2; times++) master.send(driver.linkId, "driver.checkpoint-failed", failed);
    }
    const { answers, failed } = master.ask("checkpoints", { application: id });
    expect(answers.map(({ key }) => key).at(-1)).toBe(`k${MAX_CHECKPOINT_ANSWERS + 5}`);
    expect(answers).toHaveLength(MAX_CHECKPOINT_ANSWERS);
    expect(failed).toHaveLength(MAX_FAILED_TOLD);
    expect(failed.at(-1)).toMatchObject({ id: MAX_CHECKPOINT_ANSWERS + 5, reason: "full" });
  });
});

test("a job keeps as many checkpoints as it says", () => {
  const master = new TestMaster({ settings: { storage: "/shared" } });
  const worker = new TestWorker(master, "w1", { cores: 4 });
  const spec = jobSpec(1);
  if (spec.job === null) throw new Error("no job");
  const checkpoint = { intervalMs: 1_000, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null, history: 2 };
  const id = master.submit("job", { ...spec, job: { ...spec.job, checkpoint } });
  worker.launch();
  const driver = new TestDriver(master, master.record(id), 1);
  for (const one of [1, 2, 3]) {
    const manifest = { sha256: "d".repeat(64), sizeBytes: 10 };
    const completed = {
      ...{ id: one, attempt: 1, try: 1, manifest, sizeBytes: 1 },
      completedAt: 0,
      durationMs: 0,
      records: { in: 1, out: 1 },
    };
    master.request(driver.linkId, "driver.checkpoint", { attempt: 1, nextId: one + 17, completed });
  }
  expect(master.record(id).checkpoints?.completed.map((one) => one.id)).toEqual([2, 3]);
});
