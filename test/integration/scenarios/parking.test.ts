/** Jobs that could go on only by a guess: they are parked, hold nothing, and a person decides what they go on from. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect } from "vitest";
import { checkpointAfter, stateOf } from "../../support/checkpointed-jobs.js";
import { until } from "../../support/holdfast.js";
import { expectBuckets, killPid, scenario } from "../../support/scenario.js";
import { stateFiles, stateIs } from "../../support/state-files.js";

const COUNT = 30_000;
const RATE = 3_000;

scenario(
  "a job whose last checkpoint can't be read is parked with its reason; others go on; with the files repaired it goes on from there, exactly",
  async (stage) => {
    stage.masters(2);
    stage.workers(2);
    await stage.valid(2, 2);
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: COUNT, rate: RATE, output }, args: ["--checkpoint-interval", "2s"] });
    const { id } = await checkpointAfter(stage, job, 0);
    const files = stateFiles(stage, job);
    const whole = files.map((file) => readFileSync(file));
    for (const file of files) writeFileSync(file, "damaged");
    killPid((await stage.status(job)).driver?.pid);

    const parked = await stateIs(stage, job, "parked");
    expect(parked).toMatchObject({ attempt: 2, reason: { code: "CHECKPOINT_UNREADABLE" }, driver: null, executors: [] });
    expect(parked.reason?.message).toContain(`Checkpoint ${id} of ${job}`);
    await until("nothing of it to run", () => stage.processesOf(job).length === 0);
    expect((await stage.command(["list"])).stdout).toMatch(new RegExp(`${job} .*parked`));
    expect((await stage.command(["status", job])).stdout).toContain(`holdfast resume ${job} --from latest`);
    expect((await stage.command(["events"])).stdout).toMatch(new RegExp(`${job} .*is parked: Checkpoint ${id}`));
    expect(stateFiles(stage, job)).toEqual(files);
    await stage.usable("other");

    await stage.killLeader();
    expect((await stage.status(job)).state).toBe("parked");
    expect(await stage.command(["resume", job])).toMatchObject({ exitCode: 2 });
    expect(await stage.command(["resume", job, "--from", "9999"])).toMatchObject({ exitCode: 4 });
    for (const [index, file] of files.entries()) writeFileSync(file, whole[index] ?? "");
    expect(await stage.command(["resume", job, "--from", String(id), "--json"])).toMatchObject({ exitCode: 0 });
    expect(await stage.command(["resume", job, "--from", String(id), "--json"])).toMatchObject({ exitCode: 0 });
    const ended = await stage.ended(job, 120_000);
    expect(ended).toMatchObject({ state: "finished", attempt: 3, progress: { recordsIn: COUNT, recordsOut: 10 } });
    expectBuckets(output, COUNT);
    await until("the state of the job to be removed", () => stateOf(stage, job).length === 0);
  },
  { timeoutMs: 180_000 },
);

scenario(
  "with --fresh a parked job begins from its input, and its answer is that of the whole input",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const output = stage.cluster.file("out");
    const job = await stage.job({ params: { count: COUNT, rate: RATE, output }, args: ["--checkpoint-interval", "2s"] });
    await checkpointAfter(stage, job, 0);
    for (const file of stateFiles(stage, job)) writeFileSync(file, "damaged");
    killPid((await stage.status(job)).driver?.pid);
    await stateIs(stage, job, "parked");
    expect(await stage.command(["resume", job, "--fresh"])).toMatchObject({ exitCode: 0 });
    const ended = await stage.ended(job, 120_000);
    expect(ended).toMatchObject({ state: "finished", progress: { recordsIn: COUNT } });
    expectBuckets(output, COUNT);
  },
  { timeoutMs: 150_000 },
);

scenario(
  "a job that fails at the same record again and again is parked, says where, and goes on when that is mended",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const output = stage.cluster.file("out");
    const mended = stage.cluster.file("mended");
    const params = { count: COUNT, rate: RATE, output, mended, failsAt: 9_000 };
    const job = await stage.job({ name: "mendable", params, args: ["--checkpoint-interval", "300ms"] });
    const { reason, checkpoint } = await stateIs(stage, job, "parked");
    expect(reason?.code).toBe("CRASH_LOOP");
    expect(reason?.message).toContain("failed 3 times in the same way in operator 'map-1', at the record 9000");
    expect(checkpoint).not.toBeNull();

    writeFileSync(mended, "");
    expect(await stage.command(["resume", job, "--from", "latest"])).toMatchObject({ exitCode: 0 });
    expect(await stage.ended(job, 120_000)).toMatchObject({ state: "finished", progress: { recordsIn: COUNT, recordsOut: 10 } });
    expectBuckets(output, COUNT);
  },
  { timeoutMs: 150_000 },
);
