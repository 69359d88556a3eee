/** Jobs with checkpoints that lose an executor, their driver and their master: they go on, and the output is exact. */
import { closeSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import type { ApplicationView } from "../../../src/wire/views.js";
import {
  type Checkpoint,
  checkpointAfter,
  expectExact,
  runningExecutors,
  stateOf,
  takenOver,
  visible,
} from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { expectBuckets, isRoot, killPid, type Stage, scenario } from "../../support/scenario.js";

const COUNT = 60_000;
const RATE = 3_000;
const OFTEN = ["--checkpoint-interval", "300ms"];

/** Waits until the try of that name runs. It goes on from that checkpoint or a later one, and its counters never show less than it held. */
async function restored(stage: Stage, job: string, name: string, before: Checkpoint): Promise<ApplicationView> {
  let view = await stage.status(job);
  await until(`try ${name} of ${job} to run`, async () => {
    view = await stage.status(job);
    return view.progress?.restored?.try === name && view.progress.phase === "running";
  });
  expect(view.progress?.restored?.checkpoint).toBeGreaterThanOrEqual(before.id);
  expect(view.progress?.recordsIn).toBeGreaterThanOrEqual(before.records.in);
  return view;
}

scenario(
  "an executor, the driver, the leader, then leader and driver at once: the job goes on each time, from its checkpoints or with what runs",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    await stage.valid(2, 2);
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: COUNT, rate: RATE, output }, args: OFTEN });

    const first = await checkpointAfter(stage, job, 0);
    killPid((await stage.status(job)).executors.find(({ state }) => state === "running")?.pid);
    const second = await restored(stage, job, "1.2", first);
    expect(second.attempt).toBe(1);
    expect(second.progress?.restored?.recordsBack).toBeLessThan(COUNT / 2);

    const beforeDriver = await checkpointAfter(stage, job, second.progress?.restored?.checkpoint ?? 0);
    const executors = await runningExecutors(stage, job);
    killPid((await stage.status(job)).driver?.pid);
    await takenOver(stage, job, 2, executors);

    const beforeLeader = await checkpointAfter(stage, job, beforeDriver.id);
    const footprint = await stage.footprint(job);
    await stage.killLeader();
    const underTheNext = await checkpointAfter(stage, job, beforeLeader.id);
    // The count of tries comes with the driver's word, which the one that took over may not have given before, and the next leader may not have yet.
    const { attempt, processes } = footprint;
    expect(await stage.footprint(job)).toMatchObject({ attempt, processes });
    expect(underTheNext.id).toBeGreaterThan(beforeLeader.id);

    stage.master();
    await stage.valid(2, 2);
    const beforeBoth = await checkpointAfter(stage, job, underTheNext.id);
    const { driver } = await stage.status(job);
    await stage.killLeader();
    killPid(driver?.pid);
    // Its executors wait for a driver for ten seconds, which a slow machine may need for the two elections.
    await stage.runs(job, 3);
    await checkpointAfter(stage, job, beforeBoth.id);

    expect(await stage.ended(job, 120_000)).toMatchObject({
      state: "finished",
      attempt: 3,
      progress: { recordsIn: COUNT, recordsOut: 10 },
    });
    expectBuckets(output, COUNT);
    await until("the state of the job to be removed", () => stateOf(stage, job).length === 0);
  },
  { timeoutMs: 240_000 },
);

scenario(
  "an endless job shows each record once, whatever dies, and its parts appear with its checkpoints",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const output = stage.cluster.file("out");
    const job = await stage.job({ name: "running-counts", params: { rate: RATE, output }, args: OFTEN });
    let last = await checkpointAfter(stage, job, 0);
    for (const [victim, next] of [
      ["executor", "1.2"],
      ["driver", "1.2"],
      ["executor", "2.3"],
    ] as const) {
      const { executors, driver } = await stage.status(job);
      const running = await runningExecutors(stage, job);
      killPid(victim === "driver" ? driver?.pid : executors.find(({ state }) => state === "running")?.pid);
      if (victim === "driver") await takenOver(stage, job, 2, running);
      else await restored(stage, job, next, last);
      last = await checkpointAfter(stage, job, last.id + 1);
    }
    await until("the records of the last checkpoint to be visible", () => visible(output).length >= last.records.out);
    expect((await stage.command(["cancel", job])).exitCode).toBe(0);
    expect(await stage.ended(job)).toMatchObject({ state: "cancelled" });
    const records = visible(output);
    expect(records.length).toBeGreaterThanOrEqual(last.records.out);
    expectExact(records);
    expect(readdirSync(output).filter((name) => name.startsWith("."))).toEqual([]);
    await until("the state of the job to be removed", () => stateOf(stage, job).length === 0);
  },
  { timeoutMs: 240_000 },
);

scenario(
  "a full disk fails checkpoints, not the job; when there is room again they go on",
  async (stage) => {
    const disk = stage.smallDisk("storage", 2);
    stage.master({ args: ["--storage", `file:${disk}`] });
    stage.worker();
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: COUNT, rate: RATE, output }, args: OFTEN });
    const before = await checkpointAfter(stage, job, 0);
    const filler = path.join(disk, "filler");
    fill(filler);
    await until("a checkpoint to be given up", async () => {
      const { stdout } = await stage.command(["logs", job, "--stream", "stderr"]);
      return /Checkpoint \d+ was given up.*no space/i.test(stdout);
    });
    rmSync(filler);
    await checkpointAfter(stage, job, before.id + 1);
    expect(await stage.ended(job, 120_000)).toMatchObject({ state: "finished", attempt: 1, progress: { jobRestarts: 0 } });
    expectBuckets(output, COUNT);
  },
  { skip: !isRoot, timeoutMs: 240_000 },
);

/** 74 MB of text: an executor of 96 MB has a heap of 64. */
const LARGE = { keys: 18_000, chars: 4_096 };
/** Keys that come twice. */
const AGAIN = 4_000;

scenario(
  "an executor of a job with more state on disk than its heap holds is killed: the next one reads it back, and the output is exact",
  async (stage) => {
    stage.master();
    stage.worker();
    const output = stage.cluster.file("out");
    const count = LARGE.keys + AGAIN;
    const params = { ...LARGE, count, rate: 6_000, output };
    const args = ["--checkpoint-interval", "1s", "--executor-memory", "96m"];
    const job = await stage.job({ name: "large-state", params, args });
    const last = await checkpointAfter(stage, job, 0);
    killPid((await stage.status(job)).executors.find(({ state }) => state === "running")?.pid);
    await restored(stage, job, "1.2", last);
    expect(await stage.ended(job, 120_000)).toMatchObject({
      state: "finished",
      progress: { recordsIn: count, recordsOut: LARGE.keys },
    });
    const rows = visible(output) as unknown as { readonly key: number; readonly value: unknown }[];
    const values = new Map(rows.map(({ key, value }) => [key, value]));
    for (let key = 0; key < LARGE.keys; key++) {
      const [seen, last] = key < AGAIN ? [2, key + LARGE.keys] : [1, key];
      expect(values.get(key)).toEqual({ seen, last, isWhole: true });
    }
    expect(rows.length).toBe(LARGE.keys);
  },
  { timeoutMs: 240_000 },
);

/** Until not a byte more is taken. */
function fill(file: string): void {
  const handle = openSync(file, "w");
  try {
    for (let bytes = 64 * 1024; bytes >= 1; ) {
      try {
        writeSync(handle, Buffer.alloc(bytes));
      } catch {
        bytes >>= 1;
      }
    }
  } finally {
    closeSync(handle);
  }
}
