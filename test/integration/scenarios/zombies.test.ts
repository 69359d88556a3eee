/** Drivers and executors that are taken for lost, and go on: neither completes a checkpoint nor shows any output, and other jobs notice nothing. */
import { expect } from "vitest";
import { checkpointAfter, expectExact, visible } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { isAlive } from "../../support/process-facts.js";
import { type Stage, scenario } from "../../support/scenario.js";

const RATE = 2_000;
const OFTEN = ["--checkpoint-interval", "300ms"];

async function workerOf(stage: Stage, id: string | null | undefined) {
  const worker = (await stage.workerViews()).find((view) => view.id === id);
  return stage.process(worker?.pid);
}

function signal(pid: number | null | undefined, name: "SIGSTOP" | "SIGCONT"): number {
  if (pid == null) throw new Error("no such process");
  process.kill(pid, name);
  return pid;
}

/** The job ends with a savepoint: what is visible then is all that was ever committed. */
async function stopped(stage: Stage, job: string, output: string): Promise<void> {
  const ran = await stage.command(["savepoint", job, "--stop", "--json"]);
  expect(ran, ran.stderr).toMatchObject({ exitCode: 0 });
  expectExact(visible(output));
  expect(visible(output)).toHaveLength((await stage.status(job)).records?.out ?? -1);
}

scenario(
  "a driver that was frozen until another one took its place completes no checkpoint and commits nothing; other jobs and a new leader wait for nobody",
  async (stage) => {
    stage.masters(2);
    stage.workers(3);
    await stage.valid(2, 3);
    const output = stage.cluster.file("out");
    const job = await stage.job({ name: "running-counts", params: { rate: RATE, output }, args: OFTEN });
    const params = { rate: RATE, output: stage.cluster.file("beside") };
    const beside = await stage.job({ name: "running-counts", params, args: OFTEN });
    const first = await checkpointAfter(stage, job, 0);
    await checkpointAfter(stage, beside, 0);

    const { driver } = await stage.status(job);
    const worker = await workerOf(stage, driver?.worker);
    worker.freeze();
    const zombie = signal(driver?.pid, "SIGSTOP");
    await stage.killLeader();
    const others = await stage.status(beside);
    if (others.driver?.worker !== driver?.worker) await checkpointAfter(stage, beside, others.checkpoint?.id ?? 0);
    // With what the executors still run, or from the checkpoint when one of them went with the worker.
    const goesOn = new RegExp(`Attempt 2 of the driver of ${job} |Try 2\\.1 of ${job} restored checkpoint \\d+`);
    await until("another attempt to go on", async () => goesOn.test((await stage.command(["events"])).stdout));
    const second = await checkpointAfter(stage, job, (await stage.status(job)).checkpoint?.id ?? first.id);

    signal(zombie, "SIGCONT");
    await until("the driver that was replaced to end", () => !isAlive(zombie));
    const third = await checkpointAfter(stage, job, second.id + 1);
    expect(third.id).toBeGreaterThan(second.id);
    expect(await stage.status(job)).toMatchObject({ attempt: 2, state: "running" });
    await stopped(stage, job, output);
    worker.thaw();
    expect((await stage.command(["cancel", beside])).exitCode).toBe(0);
    expectExact(visible(params.output));
  },
  { timeoutMs: 170_000 },
);

scenario(
  "an executor that was frozen until another one took its place adds nothing to what is written",
  async (stage) => {
    stage.master();
    stage.workers(3);
    await stage.valid(1, 3);
    const output = stage.cluster.file("out");
    const job = await stage.job({ name: "running-counts", params: { rate: RATE, output }, args: OFTEN });
    const first = await checkpointAfter(stage, job, 0);
    const view = await stage.status(job);
    const victim = view.executors.find(({ state, worker }) => state === "running" && worker !== view.driver?.worker);
    const worker = await workerOf(stage, victim?.worker);
    worker.freeze();
    const zombie = signal(victim?.pid, "SIGSTOP");
    await until("another try to run", async () => {
      const { progress } = await stage.status(job);
      return progress?.restored?.try === "1.2" && progress.phase === "running";
    });
    const second = await checkpointAfter(stage, job, first.id + 1);
    signal(zombie, "SIGCONT");
    await until("the executor that was replaced to end", () => !isAlive(zombie));
    await checkpointAfter(stage, job, second.id + 1);
    expect(await stage.status(job)).toMatchObject({ attempt: 1, state: "running" });
    await stopped(stage, job, output);
    worker.thaw();
  },
  { timeoutMs: 170_000 },
);
