import { type ChildProcess, execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hasCode } from "../../../src/base/errors.js";
import type { LaunchSpec } from "../../../src/env/launcher.js";
import { boundLog, readLogFile, removeOldFolders } from "../../../src/node/processes/process-logs.js";
import { heapMegabytes } from "../../../src/node/processes/process-memory.js";
import {
  type Bench,
  isLiving,
  kill,
  launchElsewhere,
  livingIn,
  MIB,
  makeBench,
  program,
  saidBy,
  silentLog,
  until,
} from "./launcher-support.js";

let bench: Bench;
beforeEach(() => {
  bench = makeBench();
});
afterEach(() => bench.close());

/** A runner as the launcher expects it: driver|executor START_FILE, or spare and one line. */
const RUNNER = `
import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
async function start() {
  if (process.argv[2] !== "spare") return { role: process.argv[2], startFile: process.argv[3] };
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) { process.stdin.destroy(); return JSON.parse(line); }
  process.exit(0);
}
const { role, startFile } = await start();
const order = JSON.parse(readFileSync(startFile, "utf8"));
console.log(role, order.say, process.argv[2]);
if (order.fill) { const kept = []; for (;;) kept.push(new Array(1e5).fill(Math.random())); }
if (order.exit !== undefined) process.exit(order.exit);
setInterval(() => {}, 1000);
`;

function runner(processId: string, role: "driver" | "executor", start: unknown, memoryBytes = 128 * MIB): LaunchSpec {
  return { processId, command: { kind: "runner", role, start: JSON.stringify(start) }, memoryBytes, note: "n" };
}

function withRunner() {
  const runnerPath = path.join(bench.directory, "runner.mjs");
  writeFileSync(runnerPath, RUNNER);
  return { runnerPath };
}

const SPARE_WAITS = "a spare executor waits";
/** A log that counts the spares that wait. */
const spareLog = (says = SPARE_WAITS) => {
  let count = 0;
  const debug = (message: string) => {
    if (message.startsWith(says)) count += 1;
  };
  return { log: { ...silentLog, debug }, ready: (wanted: number) => until(`${wanted} spares`, () => count >= wanted) };
};

const spareFolders = () => readdirSync(path.join(bench.directory, "processes")).filter((name) => name.startsWith(".spare-"));
const spareReady = (worker: ChildProcess) => until("a spare", () => saidBy(worker).includes(SPARE_WAITS));
const readOr = (file: string) => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
};

describe("memory", () => {
  test("a program beyond its limit is killed with all that it started, and its death is named", async () => {
    const launcher = bench.open();
    const hungry = "const kept = []; setInterval(() => kept.push(Buffer.alloc(20e6, 1)), 20)";
    await launcher.launch({ ...program("p", ["sh", "-c", `${process.execPath} -e '${hungry}' & wait`]), memoryBytes: 150 * MIB });
    await launcher.launch({ ...program("modest", ["sleep", "600"]), memoryBytes: 50 * MIB });
    expect(await bench.ended("p")).toEqual({ exitCode: null, signal: "SIGKILL", reason: "out of memory: limit 150 MiB" });
    expect(bench.ends.has("modest")).toBe(false);
  });

  test("a driver whose heap is full ends by V8's hand, and its death is named", async () => {
    const launcher = bench.open(withRunner());
    await launcher.launch(runner("p", "driver", { say: "hungry", fill: true }, 64 * MIB));
    expect(await bench.ended("p", 60_000)).toEqual({ exitCode: null, signal: "SIGABRT", reason: "out of memory: limit 64 MiB" });
  });

  test("a heap is its limit without a reserve", () => {
    expect([64, 256, 1024, 8192].map((mebibytes) => heapMegabytes(mebibytes * MIB))).toEqual([32, 192, 768, 7680]);
  });
});

describe("runners", () => {
  test("get their start by a private file and end like every process", async () => {
    const launcher = bench.open(withRunner());
    await launcher.launch(runner("d", "driver", { say: "hello", exit: 4, applicationKey: "k3y" }));
    const file = path.join(bench.directory, "processes/d/start.json");
    expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
    expect(await bench.ended("d")).toEqual({ exitCode: 4, signal: null, reason: null });
    expect(bench.file("d", "stdout")).toBe("driver hello driver\n");
    await launcher.forget("d");
    expect(readOr(file)).toBe("");
  });

  test("an executor is a spare when one of its size is there, and lives on without the worker", async () => {
    const worker = await launchElsewhere(bench, [], { ...withRunner(), spares: { count: 1, memoryBytes: 128 * MIB } });
    await spareReady(worker);
    await kill(worker);
    // Unassigned, it ends with its worker, and the next worker removes what is left of it.
    const { log, ready } = spareLog();
    const launcher = bench.open({ ...withRunner(), spares: { count: 2, memoryBytes: 128 * MIB }, log });
    expect(await launcher.inventory()).toEqual([]);
    await ready(2);
    expect(spareFolders().length).toBe(2);
    const pid = await launcher.launch(runner("e1", "executor", { say: "one" }));
    await launcher.launch(runner("e2", "executor", { say: "two", exit: 3 }));
    await launcher.launch(runner("e3", "executor", { say: "three" }, 96 * MIB));
    await until(
      "their first words",
      () => bench.file("e1", "stdout") + bench.file("e3", "stdout") === "executor one spare\nexecutor three executor\n",
    );
    expect(await bench.ended("e2")).toEqual({ exitCode: 3, signal: null, reason: null });
    expect(bench.file("e2", "stdout")).toBe("executor two spare\n");
    expect(bench.file("e1", "started").split(" ")[2]).toBe(`${pid}\n`);

    await launcher.close({ leave: true });
    expect(isLiving(pid)).toBe(true);
    const next = bench.open();
    expect((await next.inventory()).map((view) => [view.processId, view.end?.exitCode])).toEqual(
      expect.arrayContaining([
        ["e1", undefined],
        ["e2", 3],
        ["e3", undefined],
      ]),
    );
    await next.stop("e1", 1_000, "done");
    expect(isLiving(pid)).toBe(false);
    expect(spareFolders()).toEqual([]);
  });

  test("a driver has spares of its own", async () => {
    const { log, ready } = spareLog("a spare driver waits");
    const launcher = bench.open({ ...withRunner(), driverSpares: { count: 1, memoryBytes: 128 * MIB }, log });
    await ready(1);
    await launcher.launch(runner("e1", "executor", { say: "one", exit: 0 }));
    await launcher.launch(runner("d1", "driver", { say: "two", exit: 0 }));
    await bench.ended("e1");
    await bench.ended("d1");
    expect(bench.file("e1", "stdout")).toBe("executor one executor\n");
    expect(bench.file("d1", "stdout")).toBe("driver two spare\n");
  });

  test("an assigned spare lives on when its worker is killed", async () => {
    const start = runner("e1", "executor", { say: "one" });
    const more = { ...withRunner(), spares: { count: 1, memoryBytes: 128 * MIB } };
    const worker = await launchElsewhere(bench, [{ ...start, processId: "first" }], more);
    await spareReady(worker);
    worker.stdin?.write(`${JSON.stringify(start)}\n`);
    await until("the spare's word", () => readOr(path.join(bench.directory, "processes/e1/stdout")) === "executor one spare\n");
    await kill(worker);
    const views = await bench.open().inventory();
    expect(views.find((view) => view.processId === "e1")).toMatchObject({ end: null });
    expect(isLiving(views.find((view) => view.processId === "e1")?.pid ?? 0)).toBe(true);
  });
});

describe("logs", () => {
  test("a log beyond its limit keeps its last part at the same offsets, and its writer notices nothing", async () => {
    const launcher = bench.open();
    await launcher.launch(
      program("p", ["sh", "-c", "seq 1 200000; echo; touch half; while [ ! -e go ]; do sleep 0.01; done; echo after"]),
    );
    const folder = path.join(bench.directory, "processes/p");
    await until(
      "half of it",
      () => readOr(path.join(folder, "work/half")) !== "" || readdirSync(path.join(folder, "work")).includes("half"),
    );
    const before = readFileSync(path.join(folder, "stdout"));
    boundLog(folder, "stdout", 200_000);
    writeFileSync(path.join(folder, "work/go"), "");
    await bench.ended("p");
    const read = await readLogFile(folder, "stdout", 10, 1_000_000);
    const from = read.offset ?? 0;
    expect(read.sizeBytes).toBe(before.length + "after\n".length);
    expect(before.length - from).toBeGreaterThan(90_000);
    expect(before[from - 1]).toBe(10);
    expect(new TextDecoder().decode(read.bytes)).toBe(`${before.subarray(from).toString()}after\n`);
    expect(statSync(path.join(folder, "stdout")).blocks * 512).toBeLessThan(200_000);
    boundLog(folder, "stdout", 200_000);
    expect((await readLogFile(folder, "stdout", read.sizeBytes - 6, 100)).bytes.length).toBe(6);
  });

  test("folders of forgotten processes are removed by age and by size, oldest first, others never", async () => {
    const processes = path.join(bench.directory, "processes");
    const make = (name: string, forgottenAt: number | null, sizeBytes: number) => {
      mkdirSync(path.join(processes, name), { recursive: true });
      writeFileSync(path.join(processes, name, "stdout"), Buffer.alloc(sizeBytes, 1));
      if (forgottenAt === null) return;
      writeFileSync(path.join(processes, name, "forgotten"), "");
      utimesSync(path.join(processes, name, "forgotten"), forgottenAt, forgottenAt);
    };
    make("living", null, 10_000_000);
    make("new", 1_000, 400_000);
    make("older", 990, 400_000);
    make("oldest", 980, 400_000);
    make("ancient", 10, 10);
    await removeOldFolders(processes, { maxAgeMs: 900_000, maxBytes: 1_000_000 }, 1_000_000);
    expect(readdirSync(processes).sort()).toEqual(["living", "new", "older"]);
  });
});

/** A small file system of its own; needs root. */
const canMount = process.getuid?.() === 0 && tryMount();
function tryMount(): boolean {
  const probe = makeBench();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", probe.directory], { stdio: "ignore" });
    execFileSync("umount", [probe.directory], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(probe.directory, { recursive: true, force: true });
  }
}

describe.runIf(canMount)("a disk that fails", () => {
  test("read-only: a worker is refused with a sentence", async () => {
    const disk = path.join(bench.directory, "disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    try {
      const launcher = bench.open({ workDirectory: disk });
      await launcher.close({ leave: false });
      execFileSync("mount", ["-o", "remount,ro", disk]);
      expect(() => bench.open({ workDirectory: disk })).toThrow("read-only");
    } finally {
      execFileSync("umount", ["-l", disk]);
    }
  });

  test("refuses a launch with a sentence and leaves nothing; a running process still ends with its exit code", async () => {
    const disk = path.join(bench.directory, "disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]);
    try {
      const launcher = bench.open({ workDirectory: disk });
      await launcher.launch(program("p", ["sh", "-c", `while [ ! -e ${bench.directory}/go ]; do sleep 0.01; done; exit 9`]));
      expect(() => writeFileSync(path.join(disk, "filler"), Buffer.alloc(10 * MIB))).toThrow("ENOSPC");
      const refused = await launcher.launch(program("q", ["true"])).then(
        () => expect.fail("it started"),
        (thrown: unknown) => thrown as Error,
      );
      expect(hasCode(refused, "DISK_FAILED")).toBe(true);
      expect(refused.message).toContain("no space");
      expect(readdirSync(path.join(disk, "processes"))).toEqual(["p"]);
      writeFileSync(path.join(bench.directory, "go"), "");
      expect(await bench.ended("p")).toEqual({ exitCode: 9, signal: null, reason: null });
      launcher.renewLease();
      await launcher.close({ leave: false });
      expect(readFileSync(path.join(disk, "processes/p/exit"), "utf8")).toBe("exited 9       \n");
    } finally {
      execFileSync("umount", ["-l", disk]);
    }
    expect(livingIn(bench.directory)).toEqual([]);
  });
});
