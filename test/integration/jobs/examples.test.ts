import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import flightDelays from "../../../examples/flight-delays/job.js";
import liveCounts from "../../../examples/live-counts/job.js";
import wordCount from "../../../examples/word-count/job.js";
import { runJob } from "../../../src/testing/index.js";
import { holdfast, PROGRAM, ROOT, startHoldfast, until } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";

const TEXT = "the quick brown fox\njumps over the lazy dog\nThe end of the fox\n".repeat(500);
const example = (name: string) => path.join(ROOT, "examples", name, "job.ts");

let directory = "";
let cluster: ProcessCluster;
beforeAll(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-examples-"));
  await writeFile(path.join(directory, "text.txt"), TEXT);
  cluster = await processCluster(PROGRAM);
  cluster.startMaster("master");
  cluster.startWorker("worker", { cores: 4 });
});
afterAll(async () => {
  await cluster.close();
  expect(cluster.leftovers()).toEqual([]);
  await rm(directory, { recursive: true, force: true });
});

const rowsOf = async (file: string): Promise<unknown[]> => {
  const names = file.endsWith(".ndjson") ? [file] : (await readdir(file)).sort().map((name) => path.join(file, name));
  const lines = (await Promise.all(names.map((name) => readFile(name, "utf8")))).flatMap((text) =>
    text.split("\n").filter((line) => line !== ""),
  );
  return lines.map((line) => JSON.parse(line));
};

describe("the same job file, in a test, with run, and on a cluster", () => {
  test("word-count gives the same words three times", async () => {
    const input = path.join(directory, "text.txt");
    const output = (name: string) => path.join(directory, `words-${name}.ndjson`);
    await runJob(wordCount, { input, output: output("test") }, { parallelism: 2 });
    const ran = await holdfast([
      "run",
      example("word-count"),
      "--param",
      `input=${input}`,
      "--param",
      `output=${output("run")}`,
      "--parallelism",
      "2",
    ]);
    expect(ran).toMatchObject({ exitCode: 0 });
    const submitted = await holdfast([
      "submit",
      example("word-count"),
      "--master",
      cluster.masterUrl,
      "--param",
      `input=${input}`,
      "--param",
      `output=${output("cluster")}`,
      "--parallelism",
      "2",
      "--wait",
    ]);
    expect(submitted).toMatchObject({ exitCode: 0 });
    const byWord = (rows: unknown[]) =>
      (rows as { word: string; count: number }[]).sort((a, b) => b.count - a.count || a.word.localeCompare(b.word));
    const [inTest, inRun, inCluster] = await Promise.all(
      ["test", "run", "cluster"].map(async (name) => byWord(await rowsOf(output(name)))),
    );
    expect(inTest?.[0]).toEqual({ word: "the", count: 2000 });
    expect(inRun).toEqual(inTest);
    expect(inCluster).toEqual(inTest);
    expect((await readdir(directory)).filter((name) => name.startsWith("."))).toEqual([]);
  });

  test("flight-delays gives the same rows three times", async () => {
    const data = path.join(ROOT, "node_modules/vega-datasets/data");
    const params = { flights: path.join(data, "flights-3m.parquet"), airports: path.join(data, "airports.csv") };
    const output = (name: string) => path.join(directory, `delays-${name}`);
    await runJob(flightDelays, { ...params, output: output("test") }, { parallelism: 2 });
    const words = (name: string) => [
      "--param",
      `flights=${params.flights}`,
      "--param",
      `airports=${params.airports}`,
      "--param",
      `output=${output(name)}`,
      "--parallelism",
      "2",
    ];
    expect(await holdfast(["run", example("flight-delays"), ...words("run")])).toMatchObject({ exitCode: 0 });
    expect(
      await holdfast(["submit", example("flight-delays"), "--master", cluster.masterUrl, "--wait", ...words("cluster")]),
    ).toMatchObject({ exitCode: 0 });
    const [inTest, inRun, inCluster] = await Promise.all(
      ["test", "run", "cluster"].map((name) => rowsOf(path.join(output(name), "delays.ndjson"))),
    );
    expect(inTest?.length).toBeGreaterThan(1000);
    expect(inRun).toEqual(inTest);
    expect(inCluster).toEqual(inTest);
  });

  test("live-counts never ends by itself, and ends when it is told to: in a test, with run, and on a cluster", async () => {
    const stop = new AbortController();
    const inTest = runJob(liveCounts, { rate: 50, keys: 3 }, { signal: stop.signal }).catch((thrown: unknown) => thrown);
    setTimeout(() => stop.abort(new Error("enough")), 300);
    await inTest;

    const run = startHoldfast(["run", example("live-counts"), "--param", "rate=2000", "--param", "keys=3", "--parallelism", "2"]);
    await until("counts to be printed", () => /"value":[0-9]{2,}/.test(run.stdout()));
    run.signal("SIGINT");
    expect(await run.ended).toMatchObject({ exitCode: 130 });

    const submitted = await holdfast([
      "submit",
      example("live-counts"),
      "--master",
      cluster.masterUrl,
      "--id",
      "live",
      "--param",
      "rate=2000",
      "--parallelism",
      "2",
    ]);
    expect(submitted).toMatchObject({ exitCode: 0 });
    const progress = async () => {
      const status = await holdfast(["status", "live", "--json", "--master", cluster.masterUrl]);
      return (JSON.parse(status.stdout) as { records: { in: number } | null }).records?.in ?? 0;
    };
    await until("records to flow", async () => (await progress()) > 1000);
    expect(await holdfast(["cancel", "live", "--master", cluster.masterUrl])).toMatchObject({ exitCode: 0 });
    const ended = await holdfast(["status", "live", "--json", "--master", cluster.masterUrl]);
    expect(JSON.parse(ended.stdout)).toMatchObject({ state: "cancelled" });
  });
});
