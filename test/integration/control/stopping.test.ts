/** A worker that its operator stops in order: its work moves at once, and nobody waits for a deadline. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { expectBuckets, isAlive, scenario } from "../../support/scenario.js";

/** So long that nothing here can come from it. */
const NO_DEADLINES = ["--worker-deadline", "120s", "--driver-deadline", "120s"];

scenario("a worker that gets SIGTERM is gone at once: its supervised program and its driver run elsewhere", async (stage) => {
  const master = stage.master({ args: NO_DEADLINES });
  const first = stage.worker({ cores: 8 });
  await stage.valid(1, 1);
  const program = await stage.ticker();
  const unsupervised = await stage.program(["sleep", "600"]);
  const job = await stage.slowJob("out", 12_000, 2_000);
  await stage.runs(unsupervised);
  const before = await stage.footprint(program);
  const [{ id: leaving, incarnation } = { id: "", incarnation: 0 }] = await stage.workerViews();
  stage.worker({ cores: 8 });
  await stage.valid(1, 2);

  first.signal("SIGTERM");
  // Both come long before any deadline.
  await stage.runs(program, 2);
  await until("the worker to be gone", async () => (await stage.view()).workers.gone === 1);
  expect(await first.exited).toBe(0);
  expect(isAlive(Number(before.processes[0]?.split("@")[0]))).toBe(false);

  const moved = await stage.status(program);
  expect(moved).toMatchObject({ attempt: 2, attempts: [{ attempt: 1, worker: leaving, reason: { code: "WORKER_LOST" } }] });
  expect(moved.driver?.worker).not.toBe(leaving);
  expect(await stage.ended(unsupervised)).toMatchObject({ state: "failed", attempt: 1 });
  expect(await stage.ended(job)).toMatchObject({ state: "finished" });
  expectBuckets(stage.cluster.file("out"), 12_000);
  expect(master.log()).toMatch(new RegExp(`Worker ${leaving} is being stopped by its operator`));
  expect(master.log()).toMatch(new RegExp(`Worker ${leaving} was stopped by its operator and is gone\\..*epoch=1`));
  expect(master.log()).not.toMatch(/is lost/);

  // Started again on its directory it is a fresh worker of the same name, at once.
  const again = stage.worker({ cores: 8, workDirectory: stage.cluster.file("worker-1") });
  await stage.valid(1, 2);
  const views = await stage.workerViews();
  expect(views.find(({ id }) => id === leaving)).toMatchObject({ state: "alive", incarnation: incarnation + 1 });
  expect(again.log()).not.toMatch(/declared/);
});

scenario("a worker that is stopped while the leader dies tells the next one", async (stage) => {
  stage.master({ args: NO_DEADLINES });
  const worker = stage.worker({ cores: 2 });
  await stage.valid(1, 1);
  stage.master({ args: NO_DEADLINES });
  // It takes its time to end: the leader dies meanwhile.
  const slow = await stage.program(["sh", "-c", "trap 'sleep 1.5; exit 0' TERM; while :; do sleep 0.05; done"], {
    supervise: true,
  });
  await stage.runs(slow);
  await stage.valid(2, 1);
  const leader = await stage.leader();
  worker.signal("SIGTERM");
  await until("the leader to have heard", () => /is being stopped by its operator/.test(leader.log()));
  leader.signal("SIGKILL");
  await until("the worker to be gone", async () => (await stage.view()).workers.gone === 1);
  expect(await worker.exited).toBe(0);
  const view = await stage.view();
  expect(view.epoch).toBe(2);
  stage.worker({ cores: 2 });
  await until("the program to be over or elsewhere", async () => {
    const status = await stage.status(slow);
    return status.state === "finished" || (status.state === "running" && status.attempt === 2);
  });
});
