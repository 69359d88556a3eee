/** Sources and sinks of every kind on executor processes: each record once, bad ones shown, counts exact to the end. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { holdfast, PROGRAM } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";

const JOB = path.join(import.meta.dirname, "connectors.job.ts");
const EVENTS = 60_000;
const BAD_LINES = [7, 31_000, 59_999];

let directory = "";
let cluster: ProcessCluster;
beforeAll(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-connectors-"));
  const input = (...parts: string[]) => path.join(directory, "in", ...parts);
  await mkdir(input("logs/deep/er"), { recursive: true });
  await mkdir(input("csv"));
  const events = Array.from({ length: EVENTS }, (_, n) =>
    BAD_LINES.includes(n + 1) ? `{"n": oops ${n}` : JSON.stringify({ n, pad: "x".repeat(n % 50) }),
  );
  await writeFile(input("events.ndjson"), `${events.join("\n")}\n`);
  await writeFile(input("logs/a.log"), "a1\na2\n");
  await writeFile(input("logs/deep/b.log"), "b1\nb2");
  await writeFile(input("logs/deep/er/c.log.gz"), gzipSync("c1\nc2\n"));
  await writeFile(input("logs/other.txt"), "not me\n");
  await writeFile(input("csv/one.csv"), 'name,price\n"Smith, ""J""",1.5\nplain,2\n');
  await writeFile(input("csv/two.csv"), "name,price\nbroken,cheap\nlast,\n");
  cluster = await processCluster(PROGRAM);
  cluster.startMaster("master");
  cluster.startWorker("worker", { cores: 4 });
});
afterAll(async () => {
  await cluster.close();
  expect(cluster.leftovers()).toEqual([]);
  await rm(directory, { recursive: true, force: true });
});

const submit = (part: string, id: string, ...words: string[]) =>
  holdfast(
    [
      "submit",
      JOB,
      "--master",
      cluster.masterUrl,
      "--id",
      id,
      "--param",
      `part=${part}`,
      "--param",
      `directory=${directory}`,
      "--wait",
      ...words,
    ],
    {
      cwd: directory,
    },
  );
const status = async (id: string) => (await holdfast(["status", id, "--master", cluster.masterUrl, "--json"])).stdout;
const out = (...parts: string[]) => path.join(directory, "out", ...parts);
const lines = async (...files: string[]) =>
  (await Promise.all(files.map((file) => readFile(file, "utf8")))).flatMap((text) => text.split("\n").slice(0, -1));

describe("one job reads and writes everything, by paths relative to where it was submitted", () => {
  test("it finishes", async () => {
    expect(await submit("write", "write")).toMatchObject({ exitCode: 0 });
  });

  test("its last counts are exact, and bad records are shown with file and line", async () => {
    const view = JSON.parse(await status("write"));
    const read = { events: EVENTS - BAD_LINES.length, lines: 6, rows: 3, letters: 100, greetings: 2 };
    const total = Object.values(read).reduce((sum, count) => sum + count, 0);
    expect(view).toMatchObject({ state: "finished", records: { in: total, out: total + BAD_LINES.length } });
    expect(view.progress).toMatchObject({ phase: "done", badRecords: BAD_LINES.length + 1 });
    const inOf = Object.fromEntries(view.progress.operators.map(({ uid, in: count }: { uid: string; in: number }) => [uid, count]));
    expect(inOf).toMatchObject({ ...read, table: read.events, bad: BAD_LINES.length, "letters-out": 100, shown: 2 });
    const bad = view.progress.firstBadRecords.map(({ uid, file, line }: { uid: string; file: string; line: number }) => [
      uid,
      path.basename(file),
      line,
    ]);
    expect(bad.sort()).toEqual([...BAD_LINES.map((line) => ["events", "events.ndjson", line]), ["rows", "two.csv", 2]].sort());
    const text = (await holdfast(["status", "write", "--master", cluster.masterUrl])).stdout;
    expect(text).toMatch(/bad +4 records, first: .*(events\.ndjson|two\.csv):\d+/);
  });

  test("a large NDJSON file is read by several executors, every record once, into Parquet", async () => {
    expect((await readdir(out("table"))).filter((name) => name.endsWith(".parquet")).length).toBeGreaterThan(1);
    const read = await submit("read", "read", "--json");
    expect(read).toMatchObject({ exitCode: 0 });
    const { result } = JSON.parse(read.stdout);
    const good = Array.from({ length: EVENTS }, (_, n) => n).filter((n) => !BAD_LINES.includes(n + 1));
    const sum = (key: string | null, numbers: number[]) => {
      const n = numbers.reduce((a, b) => a + b, 0);
      return { key, count: numbers.length, n, twice: 2 * n, at: n };
    };
    const byKey = (a: { key: string | null }, b: { key: string | null }) => String(a.key).localeCompare(String(b.key));
    expect(result["sums-out"].sort(byKey)).toEqual(
      [
        sum(
          "even",
          good.filter((n) => n % 2 === 0),
        ),
        sum(
          null,
          good.filter((n) => n % 2 === 1),
        ),
      ].sort(byKey),
    );
    expect(result.few.sort()).toEqual([0, 1, 2].map((n) => [n, 2 * n, new Date(n).toISOString()]));
  });

  test("side outputs, globs with gzip, CSV directories, a custom source and sink, and the console", async () => {
    const parts = (await readdir(out("bad"))).filter((name) => name.endsWith(".ndjson")).map((name) => out("bad", name));
    const bad = (await lines(...parts)).map((line) => JSON.parse(line)).sort((a, b) => a.line - b.line);
    expect(bad.map(({ line }) => line)).toEqual(BAD_LINES);
    expect(bad[0].reason).toMatch(/JSON/);
    expect((await lines(out("lines.txt"))).sort()).toEqual(["a1", "a2", "b1", "b2", "c1", "c2"]);
    const [header, ...rows] = await lines(out("rows.csv"));
    expect(header).toBe("name,price");
    expect(rows.sort()).toEqual(['"Smith, ""J""",1.5', "last,", "plain,2"]);
    expect((await lines(out("letters.txt"))).sort()).toEqual(
      [..."abcdefghij"].flatMap((letter) => Array.from({ length: 10 }, (_, n) => `${letter}${n}`)),
    );
    const commits = await lines(out("letters.txt.commits"));
    expect(commits).toHaveLength(1);
    expect(commits[0]?.split("+").length).toBe(3);
    const logs = async (...words: string[]) => (await holdfast(["logs", "write", ...words, "--master", cluster.masterUrl])).stdout;
    expect(await logs()).toMatch(/^\S+\.e\d > "?hello/m);
    // The driver says what it does, and no line of an executor stands among its own.
    const ofDriver = (await logs("--driver", "--stream", "both")).trim().split("\n");
    expect(ofDriver.map((line) => (JSON.parse(line) as { role: string }).role)).toEqual(ofDriver.map(() => "driver"));
    const said = (await logs("--json", "--stream", "both"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(said).toContainEqual({
      process: expect.stringMatching(/\.e\d$/),
      stream: "stdout",
      line: expect.stringContaining("hello"),
    });
    expect(said).toContainEqual({ process: expect.stringMatching(/\.d1$/), stream: "stderr", line: ofDriver[0] });
    // Nothing that was staged is left.
    const left = (await readdir(out(), { recursive: true })).filter((name) => /staging|holdfast|\.tmp|\.new/.test(name));
    expect(left).toEqual([]);
  });
});
