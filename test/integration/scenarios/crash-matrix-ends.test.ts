/**
 * The crash matrix of flink.md 2.5, rows about ends, absent masters and absent storage; see crash-matrix.test.ts.
 */
import { existsSync, readdirSync, renameSync } from "node:fs";
import { expect } from "vitest";
import { checkpointAfter, stateOf } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { killPoints } from "../../support/kill-points.js";
import { expectBuckets, kill, killPid, PATIENT, scenario } from "../../support/scenario.js";

const COUNT = 12_000;
const RATE = 3_000;
const OFTEN = ["--checkpoint-interval", "300ms"];
const OPTIONS = { timeoutMs: 150_000, deadlines: PATIENT } as const;

for (const [sentence, name, step] of [
  ["its output is visible, before it says that the job is finished", "report", { on: "write", matches: "driver\\.finished" }],
  ["the job is finished, before its state is removed", "cleanup", { on: "rm", matches: "/state/app-[0-9-]+$" }],
] as const)
  scenario(
    `the driver dies when ${sentence}: nothing runs again, and nothing is left`,
    async (stage) => {
      const points = killPoints(stage.cluster.file("installation"));
      stage.master({ program: points.program });
      stage.worker({ program: points.program, cores: 4 });
      const output = stage.cluster.file("out");
      const job = await stage.job({ params: { count: COUNT, rate: RATE, output }, args: OFTEN });
      points.plan(name, step);
      await points.died(name);
      const ended = await stage.ended(job);
      expect(ended).toMatchObject({ state: "finished", progress: { recordsIn: COUNT, jobRestarts: 0 } });
      expect(ended.progress?.restored ?? null).toBeNull();
      expectBuckets(output, COUNT);
      await until("the state of the job to be removed", () => stateOf(stage, job).length === 0);
      expect(readdirSync(output).filter((file) => file.startsWith("."))).toEqual([]);
    },
    OPTIONS,
  );

scenario(
  "no master is there for a while: the job runs on, its checkpoint waits, and is published by the next master",
  async (stage) => {
    const master = stage.master();
    stage.workers(2);
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: COUNT, rate: RATE / 3, output }, args: OFTEN });
    const before = await checkpointAfter(stage, job, 0);
    const footprint = await stage.footprint(job);
    await kill(master);
    // Two intervals and more: one checkpoint has been taken and is not published.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    stage.master();
    const after = await checkpointAfter(stage, job, before.id);
    expect(after.id).toBeGreaterThan(before.id);
    await stage.undisturbed(job, footprint);
    expect(await stage.ended(job)).toMatchObject({ state: "finished", attempt: 1, progress: { recordsIn: COUNT, jobRestarts: 0 } });
    expectBuckets(output, COUNT);
  },
  OPTIONS,
);

scenario(
  "the storage is away when a driver dies: its job waits for it, the master and other jobs go on, and it goes on from its checkpoint",
  async (stage) => {
    const storage = stage.cluster.file("storage");
    stage.master({ args: ["--storage", `file:${storage}`] });
    stage.workers(2);
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: COUNT, rate: RATE / 3, output }, args: [...OFTEN, "--max-restarts", "100"] });
    const before = await checkpointAfter(stage, job, 0);
    const leader = (await stage.view()).leader;
    renameSync(storage, `${storage}.away`);
    killPid((await stage.status(job)).driver?.pid);
    await until("a try to fail for the storage", async () => {
      const { stdout } = await stage.command(["logs", job, "--stream", "stderr"]);
      return stdout.includes("CHECKPOINT_STORAGE");
    });
    expect((await stage.view()).leader).toEqual(leader);
    // The folder may have been made again by somebody who wanted to write: that must not hide what comes back.
    expect(existsSync(`${storage}.away`)).toBe(true);
    renameSync(`${storage}.away`, storage);
    await until("it to go on", async () => ((await stage.status(job)).progress?.restored?.checkpoint ?? 0) >= before.id);
    expect(await stage.ended(job)).toMatchObject({ state: "finished", progress: { recordsIn: COUNT } });
    expectBuckets(output, COUNT);
  },
  OPTIONS,
);
