/** Every operator, with the same job object in a test and on executor processes of a cluster. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runJob } from "../../../src/testing/index.js";
import { holdfast, PROGRAM } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";
import operators from "./operators.job.js";

const JOB = path.join(import.meta.dirname, "operators.job.ts");
const SALES = 6_000;

let directory = "";
let cluster: ProcessCluster;
beforeAll(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-operators-"));
  cluster = await processCluster(PROGRAM);
  cluster.startMaster("master");
  cluster.startWorker("worker", { cores: 4 });
});
afterAll(async () => {
  await cluster.close();
  expect(cluster.leftovers()).toEqual([]);
  await rm(directory, { recursive: true, force: true });
});

/** The lines of each output; sorted, but for those that the job itself sorts. */
async function outputs(folder: string): Promise<Record<string, readonly string[]>> {
  const files = (await readdir(folder)).sort();
  const entries = files.map(async (file) => {
    const lines = (await readFile(path.join(folder, file), "utf8")).split("\n").slice(0, -1);
    return [file, file === "sorted.ndjson" ? lines : lines.sort()] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

test("all operators give on three executor processes what they give in a test", async () => {
  const folder = (name: string) => path.join(directory, name);
  const inTest = await runJob(operators, { sales: SALES, output: folder("test") }, { parallelism: 1 });
  const submitted = await holdfast([
    "submit",
    JOB,
    "--master",
    cluster.masterUrl,
    "--param",
    `sales=${SALES}`,
    "--param",
    `output=${folder("cluster")}`,
    "--parallelism",
    "3",
    "--wait",
    "--json",
  ]);
  expect(submitted).toMatchObject({ exitCode: 0 });
  const expected = await outputs(folder("test"));
  const found = await outputs(folder("cluster"));
  expect(Object.keys(expected)).toHaveLength(15);
  expect(found).toEqual(expected);
  expect(JSON.parse(submitted.stdout).result).toEqual({ "top-out": inTest.collected["top-out"] });

  // A few of them known without the engine.
  expect(expected["sorted.ndjson"]).toHaveLength(SALES);
  expect(expected["ordered.ndjson"]).toHaveLength(
    Array.from({ length: SALES }, (_, id) => (id * 37) % 101).filter((n) => n === 100).length,
  );
  expect(expected["checked.ndjson"]).toHaveLength(SALES / 40);
  expect(expected["different.ndjson"]).toHaveLength(120);
  expect(inTest.collected["top-out"]).toHaveLength(5);
  // Each sale stands in two windows, and alarms come for five cities every hundred.
  const counts = (expected["windows.ndjson"] ?? []).map((line) => (JSON.parse(line) as { readonly value: number }).value);
  expect(counts.reduce((sum, n) => sum + n, 0)).toBe(2 * SALES);
  expect(expected["timers.ndjson"]).toHaveLength((5 * SALES) / 100);
});
