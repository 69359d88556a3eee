/** Windows, sessions, timers and interval joins whose executors, driver and leader are killed: what they give is what an undisturbed run gives. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import type { ApplicationView } from "../../../src/wire/views.js";
import { runningExecutors, takenOver } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { killPid, type Stage, scenario } from "../../support/scenario.js";
import { expectedOf, type Result } from "../jobs/timed-numbers.js";

const COUNT = 60_000;
const RATE = 3_000;

async function checkpointAfter(stage: Stage, job: string, id: number): Promise<number> {
  let found = 0;
  await until(`a checkpoint of ${job} after ${id}`, async () => {
    const { checkpoint } = await stage.status(job);
    if (checkpoint !== null && checkpoint.id > id && checkpoint.records.in > 0) found = checkpoint.id;
    return found > 0;
  });
  return found;
}

async function restored(stage: Stage, job: string, name: string): Promise<ApplicationView> {
  let view = await stage.status(job);
  await until(`try ${name} of ${job} to run`, async () => {
    view = await stage.status(job);
    return view.progress?.restored?.try === name && view.progress.phase === "running";
  });
  return view;
}

function written(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.startsWith("part-"))
    .flatMap((name) => readFileSync(path.join(directory, name), "utf8").trim().split("\n"))
    .filter((line) => line !== "")
    .sort();
}

scenario(
  "executors, the driver and the leader die in the middle of windows: every window, session, alarm and pair is there once",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    await stage.valid(2, 2);
    const output = stage.cluster.file("out");
    const args = ["--checkpoint-interval", "300ms"];
    const job = await stage.job({ name: "timed-numbers", params: { count: COUNT, rate: RATE, output }, args });
    let last = await checkpointAfter(stage, job, 0);
    for (const [victim, next] of [
      ["executor", "1.2"],
      ["executor", "1.3"],
      ["driver", "1.3"],
      ["executor", "2.4"],
    ] as const) {
      const { executors, driver } = await stage.status(job);
      const running = await runningExecutors(stage, job);
      killPid(victim === "driver" ? driver?.pid : executors.find(({ state }) => state === "running")?.pid);
      if (victim === "driver") await takenOver(stage, job, 2, running);
      const { progress } = await restored(stage, job, next);
      // What is taken over is not restored again.
      if (victim === "executor") expect(progress?.restored?.checkpoint).toBeGreaterThanOrEqual(last);
      last = await checkpointAfter(stage, job, last + 1);
    }
    await stage.killLeader();
    expect(await stage.ended(job, 120_000)).toMatchObject({ state: "finished", attempt: 2, progress: { recordsIn: COUNT } });
    const expected = expectedOf(COUNT).map((result: Result) => JSON.stringify(result));
    expect(written(output)).toEqual(expected.sort());
  },
  { timeoutMs: 240_000 },
);
