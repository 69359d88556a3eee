import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KEEPER_FILE_NAME, KEEPER_SCRIPT } from "../../../src/node/processes/process-shim.js";
import { type Bench, isLiving, kill, launchElsewhere, livingIn, makeBench, program, until } from "./launcher-support.js";

let bench: Bench;
beforeEach(() => {
  bench = makeBench();
});
afterEach(() => bench.close());

const counter = "n=0; while [ ! -e stop ]; do echo line $n; n=$((n+1)); sleep 0.02; done; exit 5";
const folder = (processId: string) => path.join(bench.directory, "processes", processId);

function writeProcess(
  processId: string,
  files: Readonly<Record<string, string>>,
  facts: Readonly<Record<string, unknown>> = {},
): void {
  mkdirSync(path.join(folder(processId), "work"), { recursive: true });
  const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const all = {
    version: 1,
    processId,
    kind: "program",
    token: `token-${processId}-${process.pid}`,
    bootId,
    memoryBytes: 1e9,
    note: "n",
    ...facts,
  };
  for (const [name, text] of Object.entries({ "process.json": JSON.stringify(all), exit: "running        \n", ...files }))
    writeFileSync(path.join(folder(processId), name), text);
}

test("a process runs on when its worker is killed, is adopted by the next one, and its logs go on in the same file", async () => {
  const worker = await launchElsewhere(bench, [program("p", ["sh", "-c", counter])]);
  await until("a line", () => bench.file("p", "stdout").length > 0);
  await kill(worker);
  const before = bench.file("p", "stdout").length;
  await until("more lines without any worker", () => bench.file("p", "stdout").length > before);

  const launcher = bench.open();
  const [view] = await launcher.inventory();
  expect(view).toMatchObject({ processId: "p", note: "note of p", end: null });
  expect(isLiving(view?.pid ?? 0)).toBe(true);
  writeFileSync(path.join(folder("p"), "work/stop"), "");
  expect(await bench.ended("p")).toEqual({ exitCode: 5, signal: null, reason: null });
  const lines = bench.file("p", "stdout").trim().split("\n");
  expect(lines).toEqual(lines.map((_, index) => `line ${index}`));
});

test("an adopted process is stopped as one's own", async () => {
  await kill(
    await launchElsewhere(bench, [
      program("p", ["sh", "-c", "trap '' TERM; setsid sleep 600 & touch ready; while :; do sleep 1; done"]),
    ]),
  );
  await until("the program to ignore polite signals", () => existsSync(path.join(folder("p"), "work/ready")));
  const launcher = bench.open();
  await launcher.stop("p", 100, "cancelled");
  expect(bench.ends.get("p")).toEqual({ exitCode: null, signal: "SIGKILL", reason: "stopped: cancelled" });
  expect(livingIn(bench.directory)).toEqual([]);
});

test("the exit code of what ended while no worker was there is known, and what it left behind is killed", async () => {
  const command = (code: number) => ["sh", "-c", `setsid sleep 600 & while [ ! -e stop ]; do sleep 0.02; done; exit ${code}`];
  await kill(await launchElsewhere(bench, [program("a", command(0)), program("b", command(42)), program("c", ["sleep", "600"])]));
  for (const processId of ["a", "b"]) writeFileSync(path.join(folder(processId), "work/stop"), "");
  process.kill(-Number(bench.file("c", "started").split(" ")[0]), "SIGKILL");
  await until("both notes", () => ["a", "b"].every((processId) => bench.file(processId, "exit").startsWith("exited")));

  const launcher = bench.open();
  const ends = new Map((await launcher.inventory()).map((view) => [view.processId, view.end]));
  expect(ends.get("a")).toEqual({ exitCode: 0, signal: null, reason: null });
  expect(ends.get("b")).toEqual({ exitCode: 42, signal: null, reason: null });
  expect(ends.get("c")).toEqual({
    exitCode: null,
    signal: null,
    reason: "killed with its whole process group: no exit code was noted",
  });
  expect(livingIn(bench.directory)).toEqual([]);
});

test("a process with the noted pid but another start time is neither adopted nor touched", async () => {
  const stranger = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
  try {
    const startTicks = Number(readFileSync(`/proc/${stranger.pid}/stat`, "utf8").split(" ")[21]);
    writeProcess("p", { started: `${stranger.pid} ${startTicks - 1} ${stranger.pid}\n` });
    const launcher = bench.open();
    expect(await launcher.inventory()).toMatchObject([{ processId: "p", end: { exitCode: null, signal: null } }]);
    await launcher.stop("p", 0, "x");
    expect(isLiving(stranger.pid ?? 0)).toBe(true);
  } finally {
    stranger.kill("SIGKILL");
  }
});

test("processes of an earlier boot are ended, whatever runs under their numbers now", async () => {
  const startTicks = Number(readFileSync(`/proc/${process.pid}/stat`, "utf8").split(") ")[1]?.split(" ")[19]);
  writeProcess("p", { started: `${process.pid} ${startTicks} ${process.pid}\n` }, { bootId: "another" });
  expect(await bench.open().inventory()).toMatchObject([
    { processId: "p", end: { exitCode: null, reason: "not seen again after a reboot of the machine" } },
  ]);
});

test("a launch that got half-way is called ended, and can never run afterwards", async () => {
  writeProcess("half", {});
  mkdirSync(folder("nothing"), { recursive: true });
  const launcher = bench.open();
  expect(await launcher.inventory()).toEqual([
    {
      processId: "half",
      pid: 0,
      note: "n",
      end: { exitCode: null, signal: null, reason: "not started: the worker ended during the launch" },
    },
  ]);
  // The keeper of the earlier worker was late: it finds the launch given up.
  const keeperFile = path.join(bench.directory, KEEPER_FILE_NAME);
  const late = () =>
    execFileSync("/bin/sh", [keeperFile, "keep", "", "0", "work", "touch", path.join(bench.directory, "ran")], {
      cwd: folder("half"),
      stdio: "ignore",
    });
  expect(late).toThrow("Command failed");
  expect(() => readFileSync(path.join(bench.directory, "ran"))).toThrow("ENOENT");
  expect(readFileSync(keeperFile, "utf8")).toBe(KEEPER_SCRIPT);
});

test("a program that only waits for adoption or for stops is not ended by Node in the middle of it", async () => {
  await kill(
    await launchElsewhere(bench, [
      program("a", ["true"]),
      program("b", ["sh", "-c", "trap '' TERM; setsid sleep 600 & while :; do sleep 1; done"]),
    ]),
  );
  await until("the note", () => bench.file("a", "exit").startsWith("exited"));
  const outfile = path.join(bench.directory, "closer.mjs");
  const contents = `import { createProcessLauncher } from "./src/node/processes/process-launcher.js";
    import { createNodeClock } from "./src/node/clock.js";
    import { silentLog } from "./test/integration/launcher/launcher-clock.js";
    const launcher = createProcessLauncher({ workDirectory: ${JSON.stringify(bench.directory)}, runnerPath: "", clock: createNodeClock(), log: silentLog });
    console.log((await launcher.inventory()).length);
    await launcher.stop("b", 300, "x");
    await launcher.close({ leave: false });
    console.log("closed");`;
  const resolveDir = path.join(import.meta.dirname, "../../..");
  await build({
    stdin: { contents, resolveDir, loader: "ts" },
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    logLevel: "silent",
  });
  expect(execFileSync(process.execPath, [outfile], { encoding: "utf8" })).toBe("2\nclosed\n");
  expect(livingIn(bench.directory)).toEqual([]);
});

test("forgotten processes stay forgotten, their logs stay readable", async () => {
  const first = bench.open();
  await first.launch(program("p", ["echo", "hello"]));
  await bench.ended("p");
  await first.forget("p");
  await first.close({ leave: true });
  const second = bench.open();
  expect(await second.inventory()).toEqual([]);
  expect(new TextDecoder().decode((await second.readLog("p", "stdout", 0, 100)).bytes)).toBe("hello\n");
});

test("a program with a lease ends itself without a worker, one without a lease does not; the reason is known afterwards", async () => {
  const stubborn = program("leased", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], { endsWithoutWorkerMs: 5_000 });
  const worker = await launchElsewhere(bench, [
    stubborn,
    program("polite", ["sleep", "600"], { endsWithoutWorkerMs: 5_000 }),
    program("free", ["sleep", "600"]),
  ]);
  const pids = new Map(
    ["leased", "polite", "free"].map((processId) => [processId, Number(bench.file(processId, "started").split(" ")[2])]),
  );
  const lives = (processId: string) => isLiving(pids.get(processId) ?? 0);
  // As long as the worker renews its lease they live: watched for longer than the lease.
  const since = Date.now();
  await until("longer than the lease", () => {
    if (!lives("leased") || !lives("polite")) throw new Error("ended although its worker lives");
    return Date.now() - since > 6_500;
  });
  await kill(worker);
  await until("both ended", () => !lives("leased") && !lives("polite"));
  expect(lives("free")).toBe(true);
  // The programs are dead; their keepers die at the same moment or note it in the next.
  const launcher = bench.open();
  const views = await until("both ends", async () => {
    const all = await launcher.inventory();
    return all.filter((view) => view.end !== null).length >= 2 && all;
  });
  const ends = new Map(views.map((view) => [view.processId, view.end]));
  expect(ends.get("leased")).toMatchObject({
    exitCode: null,
    signal: "SIGKILL",
    reason: expect.stringMatching(/^ended itself: no worker for \d+ s$/),
  });
  expect(ends.get("polite")).toMatchObject({
    exitCode: null,
    signal: "SIGTERM",
    reason: expect.stringMatching(/^ended itself: no worker for \d+ s$/),
  });
  expect(ends.get("free")).toBeNull();
});

test("the watch over a lease ends with its program, at once", async () => {
  const launcher = bench.open();
  await launcher.launch(program("p", ["true"], { endsWithoutWorkerMs: 60_000 }));
  await bench.ended("p");
  expect(livingIn(bench.directory)).toEqual([]);
});
