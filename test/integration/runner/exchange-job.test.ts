/** Keyed jobs on four executor processes: every key comes together from all of them. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { waitFor } from "../../support/wait-for.js";
import { buildPrograms, openStage, readRecords, type Stage } from "./runner-support.js";

let stage: Stage;
beforeAll(buildPrograms);
afterEach(() => stage?.close());

function expected(count: number, number: number): unknown[] {
  return Array.from({ length: number }, (_, bucket) => {
    const size = Math.floor((count - 1 - bucket) / number) + 1;
    return { key: `bucket-${bucket}`, value: { count: size, sum: size * bucket + (number * size * (size - 1)) / 2 } };
  });
}

const sorted = (records: unknown[]) =>
  (records as { key: string }[]).sort((a, b) => Number(a.key.slice("bucket-".length)) - Number(b.key.slice("bucket-".length)));

async function run(params: Record<string, unknown>) {
  stage = await openStage({ job: "buckets", params: { ...params, output: "OUT/out" }, parallelism: 4 });
  return { ...stage, driver: stage.master.startDriver(), output: path.join(stage.folder, "out") };
}

test("the output is exact", async () => {
  const { driver, master, output } = await run({ count: "2000000", buckets: 1_000 });
  expect(await driver.ended, driver.log("stderr")).toEqual({ exitCode: 0, signal: null });
  expect(sorted(readRecords(output))).toEqual(expected(2_000_000, 1_000));
  expect(master.executors.size).toBe(4);
  for (const executor of master.executors.values()) {
    expect(await executor.ended).toEqual({ exitCode: 0, signal: null });
    expect(executor.log("stderr")).not.toContain("EXECUTOR_LOST");
  }
});

test("one after another is killed, and the output is exact", async () => {
  const { driver, master, output, folder } = await run({ count: "200000", buckets: 1_000, rate: 100_000, hold: "OUT/let-go" });
  for (let kill = 0; kill < 2; kill++) {
    await waitFor(() => (master.progress?.jobRestarts ?? 0) === kill && (master.progress?.recordsIn ?? 0) > 10_000);
    const victim = [...master.executors.values()].find(({ state }) => state === "running");
    victim?.child.kill("SIGKILL");
  }
  writeFileSync(path.join(folder, "let-go"), "");
  expect(await driver.ended, driver.log("stderr")).toEqual({ exitCode: 0, signal: null });
  expect(sorted(readRecords(output))).toEqual(expected(200_000, 1_000));
  expect(master.executors.size).toBe(6);
  expect(master.commit).toMatchObject({ try: 3 });
});
