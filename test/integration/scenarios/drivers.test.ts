/** Drivers and executors that die in the middle of a job with file sinks: the output is exact, and shows no trace of what failed. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import {
  expectBuckets,
  expectNoTraces,
  isAlive,
  isRoot,
  killPid,
  mount,
  readRows,
  type Stage,
  scenario,
  stagedRecords,
} from "../../support/scenario.js";

const COUNT = 3_000;
const RATE = 1_000;

scenario("an executor killed in the middle is replaced, and the output is exact", async (stage) => {
  stage.master();
  stage.workers(2);
  const job = await stage.slowJob("out", COUNT, RATE);
  const { executors } = await stage.status(job);
  killPid(executors[0]?.pid);
  const ended = await stage.ended(job);
  expect(ended).toMatchObject({ state: "finished", attempt: 1, restarts: 0 });
  expect(ended.progress?.jobRestarts).toBe(1);
  expect(ended.progress?.lastRestartReason).toMatch(/SIGKILL|connection/);
  expectBuckets(stage.cluster.file("out"), COUNT);
});

scenario("a driver killed in the middle is restarted, its executors end, and the output is exact", async (stage) => {
  stage.master();
  stage.workers(2);
  const job = await stage.slowJob("out", COUNT, RATE);
  const before = await stage.status(job);
  killPid(before.driver?.pid);
  const ended = await stage.ended(job);
  expect(ended).toMatchObject({ state: "finished", attempt: 2, restarts: 1 });
  expect(ended.attempts[0]).toMatchObject({ attempt: 1, reason: { message: expect.stringMatching(/SIGKILL/) } });
  expectBuckets(stage.cluster.file("out"), COUNT);
  await until(
    "the executors of the first attempt to be gone",
    () => !before.executors.some(({ pid }) => pid !== null && isAlive(pid)),
  );
});

scenario("leader, driver and an executor killed at once", async (stage) => {
  stage.masters(2);
  stage.workers(2);
  await stage.valid(2, 2);
  const job = await stage.slowJob("out", COUNT, RATE);
  const { driver, executors } = await stage.status(job);
  const { leader } = await stage.view();
  for (const pid of [leader?.pid, driver?.pid, executors[1]?.pid]) killPid(pid);
  expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 2 });
  expectBuckets(stage.cluster.file("out"), COUNT);
});

scenario(
  "a driver killed after the output was decided and before it is committed: the next attempt commits it, and reads nothing again",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const { job, gates, output } = await gatedJob(stage, stage.cluster.file("out"));
    openGate(gates, "prepare");
    await until("the commit to begin", () => existsSync(path.join(gates, "committing")));
    killPid((await stage.status(job)).driver?.pid);
    await until("the next attempt to begin the commit", () => stage.text("gates", "committing") === "++");
    openGate(gates, "commit");
    expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 2 });
    expect(stage.text("gates", "committed")).toBe("+");
    expectNumbers(output);
  },
);

scenario(
  "the disk becomes read-only between the decision and the renames, and the driver dies: with the disk back the output is whole",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const disk = stage.smallDisk("disk", 8);
    const { job, gates, output } = await gatedJob(stage, path.join(disk, "out"));
    await until("the parts of both executors to be staged", () => stage.text("gates", "preparing") === "++");
    expect(stagedRecords(output)).toBe(COUNT);
    mount("-o", "remount,ro", disk);
    openGate(gates, "commit");
    openGate(gates, "prepare");
    await until("the commit to be tried", () => existsSync(path.join(gates, "committing")));
    expect(readRows(output)).toEqual([]);
    killPid((await stage.status(job)).driver?.pid);
    await stage.runs(job, 2);
    expect(existsSync(path.join(output, "_SUCCESS"))).toBe(false);
    mount("-o", "remount,rw", disk);
    expect((await stage.ended(job)).state).toBe("finished");
    expectNumbers(output);
  },
  { skip: !isRoot("mounts a small disk") },
);

async function gatedJob(
  stage: Stage,
  output: string,
): Promise<{ readonly job: string; readonly gates: string; readonly output: string }> {
  const gates = stage.cluster.file("gates");
  mkdirSync(gates);
  const job = await stage.job({ name: "gated", params: { count: COUNT, output, gates } });
  await stage.reads(job);
  return { job, gates, output };
}

const openGate = (gates: string, name: string): void => writeFileSync(path.join(gates, name), "");

function expectNumbers(output: string): void {
  const numbers = (readRows(output) as { n: number }[]).map(({ n }) => n).sort((a, b) => a - b);
  expect(numbers).toEqual(Array.from({ length: COUNT }, (_, n) => n));
  expectNoTraces(output);
}
