/** User code that fails in every way, on executor processes: named, with its line; restarted as the job says; never taken for a dead process. */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { holdfast, PROGRAM, startHoldfast, until } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";

let directory = "";
let cluster: ProcessCluster;
beforeAll(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-failing-"));
  cluster = await processCluster(PROGRAM);
  cluster.startMaster("master");
  cluster.startWorker("worker", { cores: 8, memory: "6g" });
});
afterAll(async () => {
  await cluster.close();
  expect(cluster.leftovers()).toEqual([]);
  await rm(directory, { recursive: true, force: true });
});

const jobFile = (name: string) => path.join(import.meta.dirname, `${name}.job.ts`);
let submissions = 0;

interface Outcome {
  readonly id: string;
  readonly exitCode: number | null;
  readonly stderr: string;
  readonly output: string;
}

/** Submits one of the troubled jobs and waits for its end. */
async function troubled(restart: string, params: Readonly<Record<string, string | number>>, ...words: string[]): Promise<Outcome> {
  const id = `troubled-${++submissions}`;
  const output = path.join(directory, id);
  const given = Object.entries({ ...params, output }).flatMap(([name, value]) => ["--param", `${name}=${value}`]);
  const ran = await holdfast([
    "submit",
    jobFile(`troubled-${restart}`),
    "--master",
    cluster.masterUrl,
    "--id",
    id,
    "--wait",
    ...given,
    ...words,
  ]);
  return { id, exitCode: ran.exitCode, stderr: ran.stderr, output };
}

const status = async (id: string, ...words: string[]) =>
  (await holdfast(["status", id, "--master", cluster.masterUrl, ...words])).stdout;
const view = async (id: string) => JSON.parse(await status(id, "--json"));
const logs = async (id: string) =>
  (await holdfast(["logs", id, "--all", "--stream", "both", "--master", cluster.masterUrl])).stdout;

async function counted(output: string): Promise<number> {
  const files = (await readdir(output)).filter((name) => name.startsWith("part-"));
  const texts = await Promise.all(files.map((file) => readFile(path.join(output, file), "utf8")));
  const rows = texts.flatMap((text) => text.split("\n").slice(0, -1)).map((line) => JSON.parse(line) as { value: number });
  return rows.reduce((sum, row) => sum + row.value, 0);
}

describe("a function that fails", () => {
  test.each([
    ["throw", "OPERATOR_FAILED", "Operator 'map-1' failed: 500 is not a number that I like", /troubled\.ts:\d+:\d+/],
    ["throw-text", "OPERATOR_FAILED", "Operator 'map-1' failed: just a text", null],
    ["exit", "OPERATOR_FAILED", "Operator 'map-1' failed: process.exit(7) was called by the job", /troubled\.ts:\d+:\d+/],
    [
      "uncaught",
      "OPERATOR_FAILED",
      "Uncaught exception in the executor: too late to be caught",
      /lateFailure \(.*troubled\.ts:\d+:\d+/,
    ],
    ["unhandled", "OPERATOR_FAILED", "Unhandled rejection in the executor: nobody waits for me", /troubled\.ts:\d+:\d+/],
    ["memory", "OUT_OF_MEMORY", "out of memory", null],
    ["crash", "EXECUTOR_CRASHED", "crashed: it ended by SIGSEGV", null],
  ])(
    "by %s ends a job that is never restarted with its own error and line, and without output",
    async (trouble, code, message, line) => {
      const words = trouble === "memory" ? ["--executor-memory", "200m"] : [];
      const { id, exitCode, stderr, output } = await troubled("none", { trouble }, ...words);
      expect(exitCode).toBe(1);
      expect(stderr).toContain(message);
      expect(stderr).toContain(`[${code}]`);
      const { state, reason, progress } = await view(id);
      expect({ state, code: reason.code }).toEqual({ state: "failed", code });
      expect(reason.message).toContain(message);
      expect(progress).toMatchObject({ phase: "done", failedTries: [{ try: 1, code }] });
      if (line !== null) {
        expect(stderr).toMatch(line);
        expect(reason.details.stack).toMatch(line);
      }
      expect(existsSync(output)).toBe(false);
      if (trouble !== "throw") return;
      expect(await status(id)).toMatch(line ?? "");
      expect(await logs(id)).toMatch(/^\S+\.e\d+ trouble ahead$/m);
    },
  );

  test.each([
    ["fixed", 3],
    ["exponential", 4],
    ["default", 3],
  ])("is tried again as the strategy %s says, and each reason is kept", async (restart, tries) => {
    const { id, exitCode, stderr } = await troubled(restart, { trouble: "throw" });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`The job failed ${tries} times; the last time: Operator 'map-1' failed: 500 is not`);
    const { reason, progress, attempt } = await view(id);
    expect(reason).toMatchObject({ code: "RESTARTS_EXHAUSTED", details: { cause: { code: "OPERATOR_FAILED" } } });
    const reasons = Array.from({ length: tries }, (_, index) => ({ try: index + 1, code: "OPERATOR_FAILED" }));
    expect(progress).toMatchObject({ jobRestarts: tries - 1, failedTries: reasons });
    expect(reason.details.tries).toMatchObject(reasons);
    expect(attempt).toBe(1);
    expect(await status(id)).toMatch(/try 2 +Operator 'map-1' failed/);
  });

  test("that crashes the process is not tried for ever, without a strategy of the job's own", async () => {
    const { id, exitCode, stderr } = await troubled("default", { trouble: "crash" });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/The job failed [3-5] times; the last time: Executor \S+ crashed: it ended by SIGSEGV/);
    expect((await view(id)).reason).toMatchObject({ code: "RESTARTS_EXHAUSTED", details: { cause: { code: "EXECUTOR_CRASHED" } } });
  });

  test.each(["throw", "exit", "uncaught", "memory", "crash"])(
    "once, by %s, is followed by a whole result, without a trace of the first try",
    async (trouble) => {
      const flag = path.join(directory, `${trouble}.flag`);
      const words = trouble === "memory" ? ["--executor-memory", "200m"] : [];
      const { id, exitCode, output } = await troubled("fixed", { trouble, flag }, ...words);
      expect(exitCode).toBe(0);
      expect(await counted(output)).toBe(1_000);
      expect((await readdir(output)).filter((name) => name.startsWith("."))).toEqual([]);
      const { state, progress } = await view(id);
      expect(state).toBe("finished");
      expect(progress).toMatchObject({ phase: "done", recordsIn: 1_000, jobRestarts: 1, failedTries: [{ try: 1 }] });
    },
  );
});

test("a source or sink of the job's own that fails in the driver is named with its line, and breaks no driver", async () => {
  const submit = (how: string) =>
    holdfast([
      "submit",
      jobFile("own-connectors"),
      "--master",
      cluster.masterUrl,
      "--id",
      how,
      "--wait",
      "--max-restarts",
      "0",
      "--param",
      `how=${how}`,
    ]);
  const expected: readonly (readonly [string, string])[] = [
    ["throw", "Source 'in' could not be enumerated: cannot list [SOURCE_FAILED]"],
    ["exit", "Source 'in' could not be enumerated: process.exit(3) was called by the job [SOURCE_FAILED]"],
    ["late", "Uncaught error in the driver: late in the driver [SOURCE_FAILED]"],
    ["begin", "Sink 'out' failed in begin: cannot begin [SINK_FAILED]"],
  ];
  for (const [how, message] of expected) {
    const { exitCode, stderr } = await submit(how);
    expect({ how, exitCode, stderr }).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(message) });
    expect(stderr).toMatch(/own-connectors\.job\.ts:\d+:\d+/);
    expect(await view(how)).toMatchObject({ attempt: 1 });
  }
  // Leftovers cost space, not correctness.
  expect(await submit("clean-up")).toMatchObject({ exitCode: 0 });
});

test("user code that keeps the event loop busy for long is waited for: in executors from their first record on, and in the driver", async () => {
  const blockMs = 13_000;
  const [executor, driver] = await Promise.all([
    troubled("none", { trouble: "block", at: 0, blockMs }),
    troubled("none", { trouble: "none", driverBlockMs: blockMs }),
  ]);
  for (const { id, exitCode, stderr, output } of [executor, driver]) {
    expect(exitCode, stderr).toBe(0);
    expect(await view(id)).toMatchObject({ state: "finished", attempt: 1, restarts: 0, progress: { jobRestarts: 0 } });
    expect(await counted(output)).toBe(id === driver.id ? 1_001 : 1_000);
  }
});

test("a graph that is another one on the worker's machine is refused by its hash", async () => {
  const { id, exitCode, stderr } = await troubled("fixed", { trouble: "machine" });
  expect(exitCode, stderr).toBe(0);
  const words = ["--id", "machine", "--param", "trouble=machine", "--param", `output=${path.join(directory, "machine")}`];
  const other = await holdfast(["submit", jobFile("troubled-fixed"), "--master", cluster.masterUrl, "--wait", ...words], {
    env: { HOLDFAST_TROUBLE: "elsewhere" },
  });
  expect(other.exitCode).toBe(1);
  expect(other.stderr).toContain("[GRAPH_MISMATCH]");
  expect(await view("machine")).toMatchObject({ state: "failed", reason: { code: "GRAPH_MISMATCH" } });
  expect(id).not.toBe("machine");
});

describe("mistakes in a job file are told before anything is submitted", () => {
  const plan = async (body: string, ...words: string[]) => {
    const file = path.join(directory, "mistake.ts");
    await writeFile(file, `import { defineJob, sinks, sources } from "holdfast";\n${body}`);
    const ran = await holdfast(["submit", file, "--master", cluster.masterUrl, ...words]);
    expect(ran.exitCode).toBe(2);
    return ran.stderr;
  };
  const job = (build: string) => `export default defineJob({ id: "mistake", build(job) { ${build} } });`;

  test("wrong params name each issue", async () => {
    const ran = await holdfast(["submit", jobFile("troubled-none"), "--master", cluster.masterUrl, "--param", "blockMs=soon"]);
    expect(ran.exitCode).toBe(2);
    for (const issue of ["[INVALID_PARAMS]", "trouble", "output", "blockMs"]) expect(ran.stderr).toContain(issue);
  });

  test("a duplicate uid, two sinks at one path, and a graph that depends on the clock name the operator", async () => {
    const from = 'job.from("n", sources.numbers({ to: 1 }))';
    expect(await plan(job(`${from}.to("out", sinks.collect()); ${from}.to("out2", sinks.collect());`))).toContain(
      "Operator 'n' stands twice",
    );
    const twice = await plan(
      job(`const n = ${from}; n.to("a", sinks.ndjson("x")); n.map((v) => ({ v })).to("b", sinks.csv("./x"));`),
    );
    expect(twice).toContain("Operator 'b' writes to ./x, as the sink 'a' does");
    expect(await plan(job(`${from}.to("out-" + Date.now(), sinks.collect());`))).toMatch(
      /differs each time it is built: an operator is named 'out-/,
    );
  });
});

test("a bad record fails the job with its file and line, seen by whoever waits", async () => {
  const file = path.join(directory, "bad.job.ts");
  const input = path.join(directory, "bad.ndjson");
  await writeFile(input, `${'{"n":1}\n'.repeat(41)}{"n": oops\n${'{"n":1}\n'.repeat(5)}`);
  await writeFile(
    file,
    `import { defineJob, sinks, sources } from "holdfast";
     export default defineJob({ id: "bad", restart: { strategy: "none" }, build(job) {
       job.from("n", sources.ndjson("bad.ndjson")).to("out", sinks.ndjson("bad-out"));
     } });`,
  );
  const ran = await holdfast(["submit", file, "--id", "bad", "--master", cluster.masterUrl, "--wait"], { cwd: directory });
  expect(ran.exitCode).toBe(1);
  expect(ran.stderr).toContain(`line 42 of ${input}`);
  expect(ran.stderr).toContain("[BAD_RECORD]");
  expect(await status("bad")).toContain(`line 42 of ${input}`);
  expect(existsSync(path.join(directory, "bad-out"))).toBe(false);
});

test("a collect sink takes as many records as it says, and no more than a result may hold", async () => {
  const file = path.join(directory, "collecting.job.ts");
  await writeFile(
    file,
    `import { defineJob, sinks, sources } from "holdfast";
     export default defineJob({ id: "collecting", parallelism: 2, restart: { strategy: "none" }, build(job, { to, size }) {
       job.from("n", sources.numbers({ to: Number(to) })).map((n) => ({ n, big: BigInt(n), pad: "x".repeat(Number(size)) }))
         .to("all", sinks.collect({ maxRecords: 100 }));
     } });`,
  );
  const submit = (to: number, size: number) =>
    holdfast(["submit", file, "--master", cluster.masterUrl, "--wait", "--json", "--param", `to=${to}`, "--param", `size=${size}`]);
  const good = await submit(100, 1);
  expect(good.exitCode).toBe(0);
  const { all } = JSON.parse(good.stdout).result as { all: { n: number; big: number }[] };
  expect(all.map(({ n }) => n).sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, n) => n));
  const many = JSON.parse((await submit(101, 1)).stdout);
  expect(many.reason).toMatchObject({ code: "LIMIT_EXCEEDED", message: "Sink 'all' collects more than 100 records." });
  const large = JSON.parse((await submit(100, 5_000)).stdout);
  expect(large.reason).toMatchObject({
    code: "LIMIT_EXCEEDED",
    message: expect.stringContaining("Sink 'all' collects more than the 256 KiB"),
  });
});

test("an unbounded job that is cancelled leaves whole files and nothing else", async () => {
  const file = path.join(directory, "endless.job.ts");
  const output = path.join(directory, "endless");
  await writeFile(
    file,
    `import { defineJob, sinks, sources } from "holdfast";
     export default defineJob({ id: "endless", parallelism: 2, build(job) {
       job.from("n", sources.numbers({ rate: 5000 })).map((n) => ({ n, pad: "y".repeat(100) })).to("out", sinks.ndjson("${output}", { rollRecords: 500 }));
     } });`,
  );
  // With checkpoints parts are cut at these, too; that is another test (scenarios/checkpoints).
  const without = ["--checkpoint-interval", "none"];
  const submit = startHoldfast(["submit", file, "--master", cluster.masterUrl, "--id", "endless", "--wait", ...without]);
  const parts = async () => (await readdir(output).catch(() => [])).filter((name) => name.endsWith(".ndjson"));
  await until("some parts", async () => (await parts()).length >= 4);
  expect(await holdfast(["cancel", "endless", "--master", cluster.masterUrl])).toMatchObject({ exitCode: 0 });
  await submit.ended;
  expect(await view("endless")).toMatchObject({ state: "cancelled" });
  const names = await readdir(output);
  expect(names.filter((name) => !/^part-[0-9-]+\.ndjson$/.test(name))).toEqual([]);
  for (const name of names) {
    const text = await readFile(path.join(output, name), "utf8");
    expect(text.endsWith("\n")).toBe(true);
    const lines = text
      .slice(0, -1)
      .split("\n")
      .map((line) => JSON.parse(line) as { n: number });
    expect(lines.length).toBe(500);
  }
});
