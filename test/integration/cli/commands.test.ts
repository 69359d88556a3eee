import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { applicationSummary, applicationView, clusterView, eventView, workerView } from "../../../src/wire/views.js";
import { holdfast, PROGRAM, startHoldfast, until } from "../../support/holdfast.js";
import { type ProcessCluster, processCluster } from "../../support/process-cluster.js";

const COMMANDS = [
  "run",
  "submit",
  "list",
  "status",
  "logs",
  "events",
  "cancel",
  "forget",
  "checkpoint",
  "checkpoints",
  "savepoint",
  "resume",
  "cluster",
  "workers",
  "drain",
  "handover",
  "master",
  "worker",
  "secret",
  "doctor",
];
const PLAIN_JOB = `
  import { defineJob, sinks, sources } from "holdfast";
  export default defineJob({ id: "plain", build(job) { job.from("n", sources.numbers({ to: 10 })).to("r", sinks.collect()); } });
`;
const errorLine = (stderr: string) =>
  z.object({ error: z.object({ code: z.string(), message: z.string(), hint: z.string().nullable() }) }).parse(JSON.parse(stderr))
    .error;

describe("help and wrong usage", () => {
  test("the program's help names every command", async () => {
    const { exitCode, stdout } = await holdfast(["--help"]);
    expect(exitCode).toBe(0);
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${name} `, "m"));
  });

  test.concurrent.each(COMMANDS)("holdfast %s --help has a summary and examples, within 80 columns", async (name) => {
    const { exitCode, stdout } = await holdfast([name, "--help"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples:\\n {2}\\$ holdfast ${name}`));
    expect(stdout.split("\n").filter((line) => line.length > 80 && !line.startsWith("  $ "))).toEqual([]);
    expect((await holdfast(["help", name])).stdout).toBe(stdout);
  });

  test.concurrent.each([
    [["sumbit"], "UNKNOWN_COMMAND", "submit"],
    [["list", "--jsno"], "INVALID_ARGUMENT", "--json"],
    [["status"], "INVALID_ARGUMENT", "app"],
    [["submit"], "INVALID_ARGUMENT", "JOB.ts"],
    [["submit", "--"], "INVALID_ARGUMENT", "after --"],
    [["submit", "--memory", "lots", "--", "true"], "INVALID_ARGUMENT", "--memory"],
    [["run", "job.ts", "--param", "novalue"], "INVALID_ARGUMENT", "name=value"],
    [["logs", "x", "--stream", "stdin"], "INVALID_ARGUMENT", "stdout, stderr, both"],
    [["master", "--recovery", "zk://h:1"], "INVALID_ARGUMENT", "--recovery"],
    [["master", "--placement", "chance"], "INVALID_ARGUMENT", "spread, pack"],
    [["list", "--master", "ftp://x"], "INVALID_ARGUMENT", "ftp"],
    [["list", "--timeout", "soon"], "INVALID_ARGUMENT", "--timeout"],
    [["checkpoint"], "INVALID_ARGUMENT", "app"],
    [["savepoint", "x", "--to", "s3://bucket"], "INVALID_ARGUMENT", "--to"],
    [["submit", "--from", "/savepoint", "--", "true"], "INVALID_ARGUMENT", "--from"],
    [["resume", "x"], "INVALID_ARGUMENT", "--fresh"],
    [["resume", "x", "--from", "latest", "--fresh"], "INVALID_ARGUMENT", "--from"],
    [["resume", "x", "--from", "newest"], "INVALID_ARGUMENT", "newest"],
    [["master", "--listen", "0.0.0.0:7077"], "INSECURE_LISTEN", "secret"],
  ])("%j is refused with exit code 2 and names what is wrong", async (args, code, named) => {
    const { exitCode, stdout, stderr } = await holdfast(args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain(`[${code}]`);
    expect(stderr).toContain(named);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test("without a master it ends with exit code 3 and says what it tried", async () => {
    const plain = await holdfast(["list", "--master", "127.0.0.1:1", "--timeout", "300ms"]);
    expect(plain).toMatchObject({ exitCode: 3, stdout: "" });
    expect(plain.stderr).toContain("127.0.0.1:1");
    expect(plain.stderr).not.toContain("Looking for");
    const json = await holdfast(["list", "--master", "127.0.0.1:1", "--timeout", "300ms", "--json"]);
    expect(json.exitCode).toBe(3);
    expect(errorLine(json.stderr)).toMatchObject({ code: "NO_MASTER", hint: expect.stringContaining("--master") });
  });

  test("while it looks for a leader it says so after a second, with what each master answered", async () => {
    const { exitCode, stderr } = await holdfast(["list", "--master", "127.0.0.1:1", "--timeout", "1500ms"]);
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/^Looking for a leading master for 1\.\d s \(127\.0\.0\.1:1: CONNECTION_REFUSED\)\.$/m);
  });
});

test("run prints what the job prints before its result; with --json standard output holds the answer alone", async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-run-"));
  try {
    const file = path.join(directory, "talks.ts");
    await writeFile(
      file,
      `import { defineJob, sinks, sources } from "holdfast";
       export default defineJob({ id: "talks", build(job) {
         job.from("n", sources.numbers({ to: 1 })).map((n) => { console.log("word of the job"); return n; }).to("r", sinks.collect());
       } });`,
    );
    const plain = await holdfast(["run", file, "--parallelism", "1"]);
    expect(plain).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^word of the job$[\s\S]*"r": \[/m) });
    const json = await holdfast(["run", file, "--parallelism", "1", "--json"]);
    expect(json.stderr).toContain("word of the job");
    expect(JSON.parse(json.stdout)).toMatchObject({ state: "finished", result: { r: [0] } });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("run of a job that would be parked ends with it, since nobody could resume it", async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-run-"));
  try {
    const file = path.join(directory, "loops.ts");
    await writeFile(
      file,
      `import { defineJob, sinks, sources } from "holdfast";
       export default defineJob({ id: "loops", build(job) {
         job.from("n", sources.numbers({ to: 10 })).map((n) => { if (n === 5) throw new Error("no five"); return n; }).to("r", sinks.collect());
       } });`,
    );
    const ran = await holdfast(["run", file, "--parallelism", "1", "--checkpoint-interval", "1s"], { timeoutMs: 120_000 });
    expect(ran.exitCode).toBe(1);
    expect(ran.stderr).toMatch(/parked: .*at the record 5.*\[CRASH_LOOP\]\n {2}Mend the cause and run it again/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

describe("a cluster through the command line", () => {
  let cluster: ProcessCluster;
  let directory = "";
  const ask = (args: readonly string[], timeoutMs = 180_000) =>
    holdfast([args[0] ?? "", "--master", cluster.masterUrl, ...args.slice(1)], { timeoutMs });
  const json = async <T extends z.ZodType>(schema: T, args: readonly string[]): Promise<z.infer<T>> => {
    const { exitCode, stdout, stderr } = await ask([...args, "--json"]);
    expect({ args, exitCode, stderr }).toMatchObject({ exitCode: 0 });
    return z.parse(schema, JSON.parse(stdout));
  };

  beforeAll(async () => {
    directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-cli-"));
    cluster = await processCluster(PROGRAM);
    cluster.startMaster("master-1", { args: ["--stop-grace", "500ms"] });
    cluster.startMaster("master-2", { args: ["--stop-grace", "500ms"] });
    cluster.startWorker("worker-1");
    await until("the worker to be there", async () =>
      (await ask(["workers", "--json", "--timeout", "20s"])).stdout.includes('"alive"'),
    );
  });
  afterAll(async () => {
    await cluster.close();
    expect(cluster.leftovers()).toEqual([]);
    await rm(directory, { recursive: true, force: true });
  });

  test("submit, status, list, logs and events of a program that fails have the shapes of docs/json.md and its exit code", async () => {
    const submitted = await ask(["submit", "--id", "p1", "--wait", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    expect(submitted.exitCode).toBe(7);
    const answer = z
      .object({
        id: z.string(),
        name: z.literal("sh"),
        kind: z.literal("process"),
        state: z.literal("failed"),
        exitCode: z.literal(7),
      })
      .parse(JSON.parse(submitted.stdout));
    const status = await json(applicationView, ["status", "p1"]);
    expect(status).toMatchObject({
      id: answer.id,
      state: "failed",
      exitCode: 7,
      attempt: 1,
      restarts: 0,
      reason: { code: "APPLICATION_FAILED" },
    });
    const { applications } = await json(z.object({ applications: z.array(applicationSummary) }), ["list"]);
    expect(applications.map((app) => app.id)).toContain(answer.id);
    expect((await ask(["logs", "p1"])).stdout).toBe("out\n");
    expect((await ask(["logs", "p1", "--stream", "stderr"])).stdout).toBe("err\n");
    expect((await ask(["logs", "p1", "--stream", "both", "--all"])).stdout.split("\n").sort()).toEqual([
      "",
      `${answer.id}.d1 out`,
      `${answer.id}.d1! err`,
    ]);
    const events = (await ask(["events", "--json"])).stdout
      .trim()
      .split("\n")
      .map((line) => eventView.parse(JSON.parse(line)));
    expect(events.map((event) => event.kind)).toEqual(
      expect.arrayContaining(["leader.elected", "worker.registered", "application.failed"]),
    );
    expect(events.map((event) => event.seq)).toEqual([...events.map((event) => event.seq)].sort((a, b) => a - b));
  });

  test("the same --id gives the first application, another content under it is refused with exit code 4", async () => {
    const first = await ask(["submit", "--id", "same", "--wait", "--json", "--", "true"]);
    const again = await ask(["submit", "--id", "same", "--wait", "--json", "--", "true"]);
    expect(JSON.parse(again.stdout)).toEqual(JSON.parse(first.stdout));
    const other = await ask(["submit", "--id", "same", "--json", "--", "false"]);
    expect(other).toMatchObject({ exitCode: 4, stdout: "" });
    expect(errorLine(other.stderr).code).toBe("CONFLICT");
  });

  test("cluster and workers have their shapes, and every table fits 80 columns", async () => {
    const view = await json(clusterView, ["cluster"]);
    expect(view).toMatchObject({ state: "ALIVE", workers: { alive: 1 } });
    expect(view.masters.map((master) => master.state).sort()).toEqual(["ALIVE", "STANDBY"]);
    const { workers } = await json(z.object({ workers: z.array(workerView) }), ["workers"]);
    expect(workers).toMatchObject([{ state: "alive", cores: { total: 2, used: 0 } }]);
    await ask(["submit", "--id", "wide", "--name", "a-very-long-name-".repeat(7), "--wait", "--", "true"]);
    for (const args of [["list"], ["workers"], ["cluster"], ["status", "wide"]]) {
      const { stdout } = await ask(args);
      const table = stdout.slice(stdout.search(/^[A-Z]+ {2}/m));
      expect({ args, long: table.split("\n").filter((line) => line.length > 80) }).toEqual({ args, long: [] });
      expect(stdout).not.toContain("\u001b");
    }
  });

  test("a name with terminal escapes is shown, not obeyed", async () => {
    await ask(["submit", "--id", "evil", "--name", "\u001b[31mred\u0007", "--wait", "--", "true"]);
    const { stdout } = await ask(["list"]);
    expect(stdout).not.toContain("\u001b");
    expect(stdout).toContain("\\x1b[31mred\\x07");
  });

  test("what does not exist is refused with exit code 4", async () => {
    for (const args of [
      ["status", "nothing"],
      ["cancel", "nothing"],
      ["logs", "nothing"],
      ["drain", "nothing"],
      ["checkpoint", "nothing"],
      ["checkpoints", "nothing"],
      ["savepoint", "nothing"],
      ["resume", "nothing", "--fresh"],
    ]) {
      const { exitCode, stderr } = await ask([...args, "--json"]);
      expect({ args, exitCode, code: errorLine(stderr).code }).toEqual({ args, exitCode: 4, code: "NOT_FOUND" });
    }
  });

  test("what takes no checkpoints is refused one, by its name, and a job that is not parked can't be resumed", async () => {
    await ask(["submit", "--id", "program", "--", "sleep", "60"]);
    const file = path.join(directory, "plain.ts");
    await writeFile(file, PLAIN_JOB);
    expect(await ask(["submit", file, "--id", "plain", "--checkpoint-interval", "none", "--wait"])).toMatchObject({ exitCode: 0 });
    const refusals: readonly (readonly [readonly string[], number, string, string])[] = [
      [["checkpoint", "program"], 2, "CHECKPOINT_UNSUPPORTED", "is a program"],
      [["savepoint", "program", "--stop"], 2, "CHECKPOINT_UNSUPPORTED", "is a program"],
      [["checkpoint", "plain"], 2, "CHECKPOINT_UNSUPPORTED", "takes no checkpoints"],
      [["savepoint", "plain"], 2, "CHECKPOINT_UNSUPPORTED", "takes no checkpoints"],
      [["resume", "program", "--fresh"], 4, "CONFLICT", "only a parked job"],
      [["resume", "program", "--from", "latest"], 4, "CONFLICT", "only a parked job"],
      [["resume", "plain", "--from", "3"], 4, "CONFLICT", "only a parked job"],
    ];
    for (const [args, exitCode, code, message] of refusals) {
      const refused = await ask([...args, "--json"]);
      const error = errorLine(refused.stderr);
      expect({ args, exitCode: refused.exitCode, stdout: refused.stdout, code: error.code }).toEqual({
        args,
        exitCode,
        stdout: "",
        code,
      });
      expect(error.message).toContain(message);
    }
    for (const name of ["program", "plain"]) {
      expect((await ask(["checkpoints", name])).stdout).toMatch(/^app-\S+ takes no checkpoints\.$/m);
      expect(await json(z.object({ intervalMs: z.null(), completed: z.array(z.never()) }), ["checkpoints", name])).toBeTruthy();
    }
    await ask(["cancel", "program"]);
  });

  test("a directory that is no savepoint, and one with a description that is none, are refused before anything is submitted", async () => {
    const file = path.join(directory, "plain.ts");
    await writeFile(file, PLAIN_JOB);
    const before = (await ask(["list", "--json"])).stdout;
    const nowhere = path.join(directory, "nowhere");
    const without = await ask(["submit", file, "--from", nowhere]);
    expect(without).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--checkpoint-interval") });
    const other = path.join(directory, "other");
    await mkdir(other, { recursive: true });
    await writeFile(path.join(other, "savepoint.json"), JSON.stringify({ version: 1, kind: "something else" }));
    for (const [place, why] of [
      [nowhere, "its file savepoint.json is not there"],
      [directory, "its file savepoint.json is not there"],
      [other, "its file savepoint.json is not valid at kind"],
    ] as const) {
      for (const args of [
        ["submit", file, "--checkpoint-interval", "1s", "--from", place],
        ["resume", "plain", "--from", place],
      ]) {
        const { exitCode, stdout, stderr } = await ask([...args, "--json"]);
        expect({ args, exitCode, stdout }).toEqual({ args, exitCode: 1, stdout: "" });
        expect(errorLine(stderr)).toMatchObject({
          code: "SAVEPOINT_UNREADABLE",
          message: expect.stringContaining(`The savepoint ${place} can't be used: ${why}`),
          hint: expect.stringContaining("Copy it again"),
        });
      }
    }
    expect((await ask(["list", "--json"])).stdout).toBe(before);
  });

  test("logs -f follows a program to its end, and cancel ends it", async () => {
    await ask(["submit", "--id", "ticks", "--", "sh", "-c", "while true; do echo tick; sleep 0.05; done"]);
    const following = startHoldfast(["logs", "ticks", "-f", "--master", cluster.masterUrl]);
    await until("ticks", () => following.stdout().split("\n").length > 5);
    const { exitCode, stdout } = await ask(["cancel", "ticks", "--json"]);
    expect({ exitCode, answer: JSON.parse(stdout) }).toMatchObject({ exitCode: 0, answer: { state: "cancelled" } });
    expect(await following.ended).toMatchObject({ exitCode: 0 });
  });

  test("Ctrl-C of submit --wait leaves the application running and says so", async () => {
    const waiting = startHoldfast(["submit", "--id", "stays", "--wait", "--master", cluster.masterUrl, "--", "sleep", "60"]);
    await until("it to run", async () => (await ask(["status", "stays", "--json"])).stdout.includes('"running"'));
    waiting.signal("SIGINT");
    const { exitCode, stderr } = await waiting.ended;
    expect(exitCode).toBe(130);
    expect(stderr).toContain("runs on");
    expect(JSON.parse((await ask(["cancel", "stays", "--json"])).stdout)).toMatchObject({ state: "cancelled" });
  });

  test("a job that is wrong is refused before anything is submitted", async () => {
    const file = path.join(directory, "wrong.ts");
    const cases: readonly (readonly [string, string])[] = [
      ["export default 1;", "INVALID_JOB"],
      ["export default {", "BUNDLE_FAILED"],
      ['import "not-installed"; export default 1;', "BUNDLE_FAILED"],
      [
        'import { defineJob, sources } from "holdfast"; export default defineJob({ id: "j", build(b) { b.from("a", sources.numbers({ to: 1 })); } });',
        "PLAN_FAILED",
      ],
      [
        'import { defineJob, sinks, sources } from "holdfast"; export default defineJob({ id: "j", build(b) { b.from("a", sources.numbers({ to: Math.floor(performance.now() * 1e6) })).to("s", sinks.collect()); } });',
        "PLAN_FAILED",
      ],
    ];
    const before = (await ask(["list", "--json"])).stdout;
    for (const [text, code] of cases) {
      await writeFile(file, text);
      const { exitCode, stderr } = await ask(["submit", file, "--json"]);
      expect({ text, exitCode, code: errorLine(stderr).code }).toEqual({ text, exitCode: 2, code });
    }
    expect((await ask(["list", "--json"])).stdout).toBe(before);
  });

  test("doctor finds both masters and the worker", async () => {
    const { exitCode, stdout } = await ask(["doctor", "--json", "--dir", directory]);
    expect(exitCode).toBe(0);
    const { checks } = z
      .object({ checks: z.array(z.object({ name: z.string(), verdict: z.string(), message: z.string() })) })
      .parse(JSON.parse(stdout));
    expect(checks.find((check) => check.name === "masters")).toMatchObject({
      verdict: "ok",
      message: expect.stringContaining("STANDBY"),
    });
    expect(checks.filter((check) => check.name === "listener").map(({ verdict }) => verdict)).toEqual(["ok", "ok", "ok"]);
  });

  test("secret makes a file that only its owner reads, once", async () => {
    const file = path.join(directory, "secret");
    expect(await holdfast(["secret", file, "--json"])).toMatchObject({ exitCode: 0, stdout: `${JSON.stringify({ file })}\n` });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await holdfast(["secret", file])).exitCode).not.toBe(0);
  });

  test("a drained worker gets nothing more", async () => {
    const { workers } = await json(z.object({ workers: z.array(workerView) }), ["workers"]);
    expect(JSON.parse((await ask(["drain", workers[0]?.id ?? "", "--json"])).stdout)).toMatchObject({ state: "draining" });
    const submitted = await ask(["submit", "--id", "nowhere", "--json", "--", "true"]);
    expect(submitted.exitCode).toBe(0);
    await until(
      "the reason to be told",
      async () => (await json(applicationView, ["status", "nowhere"])).reason?.code === "UNPLACEABLE",
    );
    await ask(["cancel", "nowhere"]);
  });
});
