/** What a lost worker left running ends by itself, fenced by its attempt, while that worker can do nothing about it. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { expectBuckets, isAlive, type Stage, scenario } from "../../support/scenario.js";

/** Of the processes of the job, those on a worker. */
async function processesOn(stage: Stage, job: string, workerId: string) {
  const view = await stage.status(job);
  const executors = view.executors.filter((one) => one.worker === workerId && one.state === "running").map(({ pid }) => pid ?? 0);
  return { driver: view.driver?.worker === workerId ? (view.driver.pid ?? 0) : null, executors };
}

const lost = (stage: Stage, workerId: string) =>
  until("the worker to be lost", async () =>
    (await stage.workerViews()).some((view) => view.id === workerId && view.state === "lost"),
  );

scenario(
  "drivers and executors on workers that are lost but not dead end themselves when they are superseded; the output is exact",
  async (stage) => {
    stage.master();
    stage.workers(2, { cores: 2 });
    await stage.valid(1, 2);
    const output = stage.cluster.file("out");
    const job = await stage.slowJob("out", 40_000, 4_000);
    stage.workers(2, { cores: 4 });
    await stage.valid(1, 4);
    const pidOf = new Map((await stage.workerViews()).map(({ id, pid }) => [id, pid]));

    // The worker that has an executor and not the driver: the driver judges its executors, and this one answers. Nothing is disturbed.
    const driverAt = (await stage.status(job)).driver?.worker ?? "";
    const other =
      (await stage.status(job)).executors.find((one) => one.worker !== driverAt && one.state === "running")?.worker ?? "";
    const there = await processesOn(stage, job, other);
    expect(there.executors.length).toBeGreaterThan(0);
    const all = (await stage.footprint(job)).processes.map((one) => Number(one.split("@")[0]));
    const frozen = [stage.process(pidOf.get(other))];
    frozen[0]?.signal("SIGSTOP");
    await lost(stage, other);
    expect(await stage.status(job)).toMatchObject({
      attempt: 1,
      driver: { worker: driverAt, state: "running" },
      progress: { jobRestarts: 0 },
    });
    expect(all.every(isAlive)).toBe(true);

    // The worker of the driver: the next attempt runs elsewhere, and all of the first ends, though no worker there can end it.
    const home = await processesOn(stage, job, driverAt);
    const second = stage.process(pidOf.get(driverAt));
    frozen.push(second);
    second.signal("SIGSTOP");
    await lost(stage, driverAt);
    await until("its driver and executors to end by themselves", () => ![home.driver ?? 0, ...all].some(isAlive));
    await until("the next attempt", async () => (await stage.status(job)).attempt === 2);
    expect(await stage.ended(job, 60_000)).toMatchObject({ state: "finished", attempt: 2 });
    expectBuckets(output, 40_000);

    for (const worker of frozen) worker.signal("SIGCONT");
    await stage.valid(1, 4);
    const incarnations = (await stage.workerViews())
      .filter(({ id }) => id === other || id === driverAt)
      .map((one) => one.incarnation);
    expect(incarnations).toEqual([2, 2]);
  },
  { timeoutMs: 150_000 },
);
