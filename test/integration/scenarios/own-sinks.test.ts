/** Sinks of a user's own in a job with checkpoints whose executor and driver are killed: each keeps what it promises. */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";
import type { ApplicationView } from "../../../src/wire/views.js";
import { until } from "../../support/holdfast.js";
import { killPid, type Stage, scenario } from "../../support/scenario.js";

const COUNT = 4_000;
const RATE = 400;

async function checkpointAfter(stage: Stage, job: string, id: number): Promise<NonNullable<ApplicationView["checkpoint"]>> {
  let found: ApplicationView["checkpoint"] = null;
  await until(`a checkpoint of ${job} after ${id}`, async () => {
    const { checkpoint } = await stage.status(job);
    found = checkpoint !== null && checkpoint.id > id && checkpoint.records.in > 0 ? checkpoint : null;
    return found !== null;
  });
  return found ?? expect.fail("unreachable");
}

scenario(
  "two-phase, idempotent and at-least-once sinks of a job's own, through the loss of an executor and of the driver",
  async (stage) => {
    stage.master();
    stage.workers(2);
    const directory = stage.cluster.file("out");
    const job = await stage.job({
      name: "own-sinks",
      params: { count: COUNT, rate: RATE, directory },
      args: ["--checkpoint-interval", "300ms"],
    });
    const first = await checkpointAfter(stage, job, 0);
    const committedParts = () => readdirSync(path.join(directory, "two-phase")).filter((name) => name.endsWith(".json"));
    await until("what the first checkpoint held to be committed", () => committedParts().length > 0);
    killPid((await stage.status(job)).executors.find(({ state }) => state === "running")?.pid);
    await until("the second try", async () => (await stage.status(job)).progress?.restored?.try === "1.2");
    const second = await checkpointAfter(stage, job, first.id + 1);
    killPid((await stage.status(job)).driver?.pid);
    // One of its slices had restarted alone: such a try is not taken over, the next driver begins another one.
    await until("the next driver", async () => (await stage.status(job)).progress?.restored?.try === "2.1");
    await checkpointAfter(stage, job, second.id + 1);
    expect(await stage.ended(job, 120_000)).toMatchObject({ state: "finished", progress: { recordsIn: COUNT } });

    const all = Array.from({ length: COUNT }, (_, n) => n);
    const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);
    const committed = committedParts().flatMap(
      (name) => JSON.parse(readFileSync(path.join(directory, "two-phase", name), "utf8")) as number[],
    );
    expect(sorted(committed)).toEqual(all);
    expect(readdirSync(path.join(directory, "two-phase/staging")), "prepared and never committed").toEqual([]);
    expect(sorted(readdirSync(path.join(directory, "idempotent")).map(Number))).toEqual(all);
    const lines = readdirSync(path.join(directory, "at-least-once")).flatMap((name) =>
      readFileSync(path.join(directory, "at-least-once", name), "utf8")
        .trim()
        .split("\n")
        .map(Number),
    );
    expect(sorted([...new Set(lines)])).toEqual(all);
  },
  { timeoutMs: 240_000 },
);
