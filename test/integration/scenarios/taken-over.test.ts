/** A job that loses its driver: the executors go on meanwhile, the next driver takes their try over, and the output is exact. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { checkpointAfter, expectExact, runningExecutors, takenOver, visible } from "../../support/checkpointed-jobs.js";
import { killPid, scenario } from "../../support/scenario.js";

const RATE = 2_000;
const OFTEN = ["--checkpoint-interval", "300ms"];

scenario(
  "a driver is killed: the executors go on without one, the next one takes their try over, twice in a row, and what is written is exact",
  async (stage) => {
    stage.masters(1);
    stage.workers(2);
    await stage.valid(1, 2);
    const [output, notes] = [stage.cluster.file("out"), stage.cluster.file("notes")];
    const job = await stage.job({ name: "flowing", params: { rate: RATE, output, notes }, args: OFTEN });
    await checkpointAfter(stage, job, 0);
    const executors = await runningExecutors(stage, job);
    expect(executors).toHaveLength(2);
    for (const attempt of [2, 3]) {
      const before = await stage.status(job);
      const killedAt = Date.now();
      killPid(before.driver?.pid);
      await takenOver(stage, job, attempt, executors);
      const backAt = Date.now();
      expect((await stage.status(job)).progress?.restored).toBeUndefined();
      const handled = readFileSync(notes, "utf8").trim().split("\n").map(Number);
      const meanwhile = [killedAt, ...handled.filter((at) => at > killedAt && at < backAt), backAt].sort((a, b) => a - b);
      const gaps = meanwhile.slice(1).map((at, index) => at - (meanwhile[index] ?? at));
      // Without a driver for most of that time; nobody waited for it.
      expect(Math.max(...gaps)).toBeLessThan((backAt - killedAt) / 2);
      process.stdout.write(
        `without a driver for up to ${backAt - killedAt} ms; the longest pause of records: ${Math.max(...gaps)} ms\n`,
      );
      await checkpointAfter(stage, job, (await stage.status(job)).checkpoint?.id ?? 0);
    }
    const events = await stage.command(["events", "--json"]);
    expect(events.stdout.match(/job\.taken-over/g)).toHaveLength(2);
    expect(events.stdout).not.toContain("job.restored");
    const stopped = await stage.command(["savepoint", job, "--stop", "--json"]);
    expect(stopped, stopped.stderr).toMatchObject({ exitCode: 0 });
    expect((await stage.ended(job)).state).toBe("finished");
    expectExact(visible(output));
  },
);
