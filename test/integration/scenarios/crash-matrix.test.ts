/**
 * The crash matrix of flink.md 2.5, rows about what is written in which order: real processes, killed exactly before the call that a row names
 * (kill-points.ts), never after a sleep. Each row ends with the exact output and with nothing left of the job.
 *
 * Rows that need a ZooKeeper are elsewhere: a write whose outcome is unknown, applied and not applied (test/integration/stores/zookeeper-store.test.ts,
 * and the simulator's "unknown outcome, ..." states); a leader that is stopped longer than its session and goes on (partitions/leader.test.ts); a quorum
 * that is away (partitions/zookeeper.test.ts) or has lost its records (partitions/records-gone.test.ts); a worker that reaches all but the master
 * (partitions/on-partition.test.ts). A worker that dies: workers.test.ts, checkpoints.test.ts.
 */
import { readdirSync } from "node:fs";
import { expect } from "vitest";
import { checkpointAfter, expectExact, runningExecutors, stateOf, takenOver, visible } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { type KillPoints, killPoints } from "../../support/kill-points.js";
import { expectBuckets, PATIENT, type Stage, scenario } from "../../support/scenario.js";

const COUNT = 12_000;
const RATE = 3_000;
const OFTEN = ["--checkpoint-interval", "300ms"];

/** Nobody may become lost on a slow machine: who is killed is known by its end, and nothing here waits for a deadline. */
const OPTIONS = { timeoutMs: 150_000, deadlines: PATIENT } as const;

function killable(stage: Stage, masters = 1): KillPoints {
  const points = killPoints(stage.cluster.file("installation"));
  for (let count = 0; count < masters; count++) stage.master({ program: points.program });
  stage.worker({ program: points.program, cores: 4 });
  return points;
}

const bounded = (stage: Stage, output: string) => stage.job({ params: { count: COUNT, rate: RATE, output }, args: OFTEN });
const endless = (stage: Stage, output: string) =>
  stage.job({ name: "running-counts", params: { rate: RATE, output }, args: OFTEN });

async function endsExactly(stage: Stage, job: string, output: string, attempt: number): Promise<void> {
  expect(await stage.ended(job, 120_000)).toMatchObject({ state: "finished", attempt, progress: { recordsIn: COUNT } });
  expectBuckets(output, COUNT);
  await nothingLeft(stage, job, output);
}

async function nothingLeft(stage: Stage, job: string, output: string): Promise<void> {
  await until("the state of the job to be removed", () => stateOf(stage, job).length === 0);
  await until("what it staged to be removed", () => readdirSync(output).every((name) => !name.startsWith(".")));
}

/** The endless job shows more than before, is cancelled, and what it has shown is exact. */
async function goesOnExactly(stage: Stage, job: string, output: string): Promise<void> {
  const { checkpoint } = await stage.status(job);
  const next = await checkpointAfter(stage, job, checkpoint?.id ?? 0);
  const last = await checkpointAfter(stage, job, next.id);
  await until("the records of the last checkpoint to be visible", () => visible(output).length >= last.records.out);
  expect((await stage.command(["cancel", job])).exitCode).toBe(0);
  expect(await stage.ended(job)).toMatchObject({ state: "cancelled" });
  expectExact(visible(output));
  await nothingLeft(stage, job, output);
}

const MANIFEST = `/state/app.* \\{"version"`;
const POINTER = `driver\\.checkpoint.*"completed":\\{`;

scenario(
  "the master dies when a submission arrives, before it is recorded: sent again it is accepted once, and runs",
  async (stage) => {
    const points = killable(stage);
    await stage.valid(1, 1);
    const output = stage.cluster.file("out");
    points.plan("submission", { on: "read", matches: '"kind":"submit"' });
    const job = await bounded(stage, output);
    await points.died("submission");
    expect((await stage.view()).applications).toBeDefined();
    await endsExactly(stage, job, output, 1);
    await appearsOnce(stage);
  },
  OPTIONS,
);

scenario(
  "the master dies when a submission is recorded, before it says so: sent again it is the same job",
  async (stage) => {
    const points = killable(stage);
    await stage.valid(1, 1);
    const output = stage.cluster.file("out");
    points.plan("answer", { on: "read", matches: '"kind":"submit"' }, { on: "write", matches: '"created":true' });
    const job = await bounded(stage, output);
    await points.died("answer");
    await endsExactly(stage, job, output, 1);
    await appearsOnce(stage);
  },
  OPTIONS,
);

async function appearsOnce(stage: Stage): Promise<void> {
  const { stdout } = await stage.command(["list", "--json"]);
  expect((JSON.parse(stdout) as { applications: unknown[] }).applications).toHaveLength(1);
}

scenario(
  "the driver dies when all have acknowledged, before the manifest is there: the next one gives that checkpoint up and goes on",
  async (stage) => {
    const points = killable(stage);
    const output = stage.cluster.file("out");
    const job = await bounded(stage, output);
    await checkpointAfter(stage, job, 0);
    const executors = await runningExecutors(stage, job);
    points.plan("manifest", { on: "rename", matches: MANIFEST });
    await points.died("manifest");
    await takenOver(stage, job, 2, executors);
    await endsExactly(stage, job, output, 2);
  },
  OPTIONS,
);

scenario(
  "the driver dies when the manifest is there, before the pointer is asked for: the checkpoint is as if it had never been",
  async (stage) => {
    const points = killable(stage);
    const output = stage.cluster.file("out");
    const job = await bounded(stage, output);
    await checkpointAfter(stage, job, 0);
    const executors = await runningExecutors(stage, job);
    points.plan("pointer", { on: "write", matches: POINTER });
    await points.died("pointer");
    await takenOver(stage, job, 2, executors);
    await endsExactly(stage, job, output, 2);
  },
  OPTIONS,
);

scenario(
  "the master dies when the pointer is durable, before it says so: the driver asks again, and nothing is given up or taken twice",
  async (stage) => {
    const points = killable(stage, 2);
    const output = stage.cluster.file("out");
    const job = await endless(stage, output);
    await checkpointAfter(stage, job, 0);
    const footprint = await stage.footprint(job);
    points.plan("outcome", { on: "read", matches: POINTER }, { on: "write", matches: "link\\.reply" });
    await points.died("outcome");
    await stage.undisturbed(job, footprint);
    await goesOnExactly(stage, job, output);
    const { stdout } = await stage.command(["logs", job, "--stream", "stderr"]);
    expect(stdout).not.toMatch(/was given up/);
  },
  OPTIONS,
);

scenario(
  "the driver dies when the pointer is durable, before anybody is told: the next one commits what belongs to it",
  async (stage) => {
    const points = killable(stage);
    const output = stage.cluster.file("out");
    const job = await endless(stage, output);
    await checkpointAfter(stage, job, 0);
    const executors = await runningExecutors(stage, job);
    points.plan("told", { on: "write", matches: POINTER }, { on: "read", matches: "link\\.reply" });
    await points.died("told");
    const { checkpoint } = await stage.status(job);
    await takenOver(stage, job, 2, executors);
    await until("its records to be visible", () => visible(output).length >= (checkpoint?.records.out ?? 0));
    await goesOnExactly(stage, job, output);
  },
  OPTIONS,
);

scenario(
  "the driver dies when one part of a checkpoint is visible and the other is not: the commit is repeated, and shows nothing twice",
  async (stage) => {
    const points = killable(stage);
    const output = stage.cluster.file("out");
    const job = await endless(stage, output);
    await checkpointAfter(stage, job, 0);
    const executors = await runningExecutors(stage, job);
    const part = { on: "link", matches: `^${output}/part-` } as const;
    points.plan("commit", { on: "write", matches: POINTER }, part, part);
    await points.died("commit");
    await takenOver(stage, job, 2, executors);
    await goesOnExactly(stage, job, output);
  },
  OPTIONS,
);

scenario(
  "the driver dies when an old checkpoint's pointer is gone and its bytes are not: they go with the job",
  async (stage) => {
    const points = killable(stage);
    const output = stage.cluster.file("out");
    const job = await bounded(stage, output);
    points.plan("drop", { on: "rm", matches: `/state/${job}/[0-9a-f]` });
    await points.died("drop");
    await endsExactly(stage, job, output, 2);
  },
  OPTIONS,
);
