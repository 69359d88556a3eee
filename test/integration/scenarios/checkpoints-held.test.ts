/** Joins, sorts, declared state and collected results through crashes of real processes: the result is that of a run without faults. */
import { expect } from "vitest";
import type { ApplicationView } from "../../../src/wire/views.js";
import { until } from "../../support/holdfast.js";
import { killPid, type Stage, scenario } from "../../support/scenario.js";

const COUNT = 30_000;
const RATE = 1_000;

async function checkpointAfter(stage: Stage, job: string, id: number): Promise<NonNullable<ApplicationView["checkpoint"]>> {
  let found: ApplicationView["checkpoint"] = null;
  await until(`a checkpoint of ${job} after ${id}`, async () => {
    found = (await stage.status(job)).checkpoint;
    return found !== null && found.id > id && found.records.in > 0;
  });
  return found ?? expect.fail("unreachable");
}

scenario(
  "executors and the driver die while the second input of a join is read, and while the first one flows past it",
  async (stage) => {
    stage.master();
    stage.workers(2);
    await stage.valid(1, 2);
    const job = await stage.job({
      name: "held",
      params: { count: COUNT, rate: RATE },
      args: ["--checkpoint-interval", "300ms", "--max-restarts", "10"],
    });
    let last = await checkpointAfter(stage, job, 0);
    for (const victim of ["executor", "driver", "executor", "executor", "driver"] as const) {
      const { executors, driver } = await stage.status(job);
      killPid(victim === "driver" ? driver?.pid : executors.find(({ state }) => state === "running")?.pid);
      last = await checkpointAfter(stage, job, last.id + 1);
    }
    const ended = await stage.ended(job, 180_000);
    expect(ended).toMatchObject({ state: "finished" });
    const side = COUNT / 2 / 10;
    expect(ended.result).toEqual({
      result: Array.from({ length: 10 }, (_, n) => ({ name: `name ${n}`, count: 3 * side, left: side, right: side, both: side })),
    });
  },
  { timeoutMs: 240_000 },
);
