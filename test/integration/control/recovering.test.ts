/** While a leader recovers: submissions are taken, living workers are used, dead ones hold up nothing but their own. And who waits sees it go on. */
import { expect } from "vitest";
import { until } from "../../support/holdfast.js";
import { expectBuckets, jobFile, jobWords, kill, scenario } from "../../support/scenario.js";

scenario(
  "a recovering master takes submissions and runs them on the workers that are back; what ran on a dead one waits for its deadline",
  async (stage) => {
    const slow = ["--worker-deadline", "15s", "--recovery-deadline", "60s"];
    const first = stage.master({ args: slow });
    const workers = stage.workers(2, { cores: 1 });
    await stage.valid(1, 2);
    const ids = [
      await stage.ticker(),
      await stage.program(["sleep", "600"], { supervise: true, driver: { cores: 1, memoryBytes: 1e8 } }),
    ];
    await stage.runs(ids[1] ?? "");
    const onOf = async (id: string | undefined) => (await stage.status(id ?? "")).driver?.worker;
    const pidOf = new Map((await stage.workerViews()).map(({ id, pid }) => [id, pid]));
    const deadId = (await onOf(ids[1])) ?? "";
    const dead = workers.find((worker) => worker.pid === pidOf.get(deadId));
    await kill(first);
    if (dead !== undefined) await kill(dead);

    const second = stage.master({ args: slow });
    await until("the living worker to be back", () => /re-attached/.test(second.log()));
    const submitted = await stage.command(["submit", "--id", "meanwhile", "--wait", "--json", "--", "true"]);
    expect(JSON.parse(submitted.stdout)).toMatchObject({ state: "finished", exitCode: 0 });
    const view = await stage.view();
    expect(view).toMatchObject({ state: "RECOVERING", workers: { alive: 1, suspect: 1 } });
    expect(await stage.status(ids[1] ?? "")).toMatchObject({ state: "running", attempt: 1, driver: { state: "suspect" } });

    // It was durable: the next leader knows it, and the first that hears of the dead worker's deadline is complete.
    await kill(second);
    const third = stage.master({ args: slow });
    expect(await stage.status("meanwhile")).toMatchObject({ state: "finished", attempt: 1 });
    await until("the dead worker to be given up", async () => (await stage.view()).workers.lost === 1);
    await until("recovery to be complete", async () => (await stage.view()).state === "ALIVE");
    expect(third.log()).toMatch(/Recovery complete \(epoch 3\): 2 applications and 2 workers in [0-9]{4,5} ms/);
  },
);

scenario(
  "submit --wait of a job shows how far it is, per operator at the end, through failovers, and ends with its exit code",
  async (stage) => {
    stage.masters(2);
    stage.worker({ cores: 4 });
    await stage.valid(2, 1);
    const output = stage.cluster.file("out");
    const waiting = stage.start([
      "submit",
      jobFile("buckets"),
      "--id",
      "job",
      "--wait",
      ...jobWords({ params: { count: 16_000, rate: 2_000, output } }),
    ]);
    const percents = () => [...waiting.stderr().matchAll(/([0-9]+) % /g)].map((match) => Number(match[1]));
    await until("progress", () => percents().length > 0);
    await stage.killLeader();
    const before = percents().length;
    await until("more progress", () => percents().length > before + 1);
    const ended = await waiting.ended;
    expect(ended.exitCode).toBe(0);
    expect(percents().at(-1)).toBe(100);
    expect(percents()).toEqual([...percents()].sort((a, b) => a - b));
    expect(ended.stderr).toMatch(/running █+░* +[0-9]+ % [0-9,]+ in, [0-9,]+ out, [0-9,]+\/s/);
    expect(ended.stderr).toMatch(/numbers \(source\): 16,000 in, 16,000 out/);
    expect(ended.stderr).toMatch(/out \(sink\): 10 in/);
    expectBuckets(output, 16_000);
  },
);
