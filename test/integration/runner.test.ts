import path from "node:path";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../support/wait-for.js";
import { buildPrograms, filesBelow, openStage, readRecords, type Stage, type StageOptions } from "./runner-support.js";

let stage: Stage;
const open = async (options: StageOptions) => {
  stage = await openStage(options);
  return stage;
};

beforeAll(buildPrograms);
afterEach(() => stage?.close());

/** What the job `buckets` has to give. */
function buckets(count: number, number: number): unknown[] {
  const sums = new Map<string, { count: number; sum: number }>();
  for (let n = 0; n < count; n++) {
    const key = `bucket-${n % number}`;
    const sum = sums.get(key) ?? { count: 0, sum: 0 };
    sums.set(key, { count: sum.count + 1, sum: sum.sum + n });
  }
  return [...sums].map(([key, value]) => ({ key, value })).sort((a, b) => a.key.localeCompare(b.key));
}

const sorted = (records: unknown[]) => (records as { key: string }[]).sort((a, b) => a.key.localeCompare(b.key));

describe("driver and executors as processes", () => {
  test("a job runs over two executor processes, and its output is exact", async () => {
    const { folder, master } = await open({ job: "buckets", params: { count: "200000", buckets: 10, output: "OUT/out" } });
    const driver = master.startDriver();
    expect(await driver.ended, driver.log("stderr")).toEqual({ exitCode: 0, signal: null });
    expect(sorted(readRecords(path.join(folder, "out")))).toEqual(buckets(200_000, 10));
    expect(master.finished).toMatchObject({ outcome: "finished", reason: null });
    for (const executor of master.executors.values()) expect(await executor.ended).toEqual({ exitCode: 0, signal: null });
  });
});
