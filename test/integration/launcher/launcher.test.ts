import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hasCode } from "../../../src/base/errors.js";
import { createProcessLauncher } from "../../../src/node/processes/process-launcher.js";
import { type Bench, isLiving, livingIn, MIB, makeBench, program, realClock, silentLog, until } from "./launcher-support.js";

let bench: Bench;
beforeEach(() => {
  bench = makeBench();
});
afterEach(() => bench.close());

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const rejected = async (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail("it resolved"),
    (thrown: unknown) => thrown as Error,
  );

describe("ends", () => {
  test("an exit code, and the logs, are those of the program", async () => {
    const launcher = bench.open();
    const pid = await launcher.launch(program("p", ["sh", "-c", "echo pid $$; echo oops >&2; exit 7"]));
    expect(await bench.ended("p")).toEqual({ exitCode: 7, signal: null, reason: null });
    expect(text((await launcher.readLog("p", "stdout", 0, 100)).bytes)).toBe(`pid ${pid}\n`);
    expect(await launcher.readLog("p", "stderr", 2, 100)).toEqual({
      bytes: new Uint8Array([...new TextEncoder().encode("ps\n")]),
      sizeBytes: 5,
    });
    expect(await launcher.inventory()).toEqual([
      { processId: "p", pid, note: "note of p", end: { exitCode: 7, signal: null, reason: null } },
    ]);
  });

  test("death by a signal is told from an exit code above 128", async () => {
    const launcher = bench.open();
    await launcher.launch(program("killed", ["sh", "-c", "kill -KILL $$"]));
    await launcher.launch(program("segv", ["sh", "-c", "kill -SEGV $$"]));
    await launcher.launch(program("exit", ["sh", "-c", "exit 137"]));
    expect(await bench.ended("killed")).toEqual({ exitCode: null, signal: "SIGKILL", reason: null });
    expect(await bench.ended("segv")).toEqual({ exitCode: null, signal: "SIGSEGV", reason: null });
    expect(await bench.ended("exit")).toEqual({ exitCode: 137, signal: null, reason: null });
  });

  test("kill -9 of the whole group, keeper and all, is an end by SIGKILL", async () => {
    const launcher = bench.open();
    await launcher.launch(program("p", ["sleep", "600"]));
    const [keeper] = bench.file("p", "started").split(" ");
    process.kill(-Number(keeper), "SIGKILL");
    expect(await bench.ended("p")).toMatchObject({ exitCode: null, signal: "SIGKILL" });
  });

  test("when only the keeper is killed, its program does not live on unwatched", async () => {
    const launcher = bench.open();
    const pid = await launcher.launch(program("p", ["sleep", "600"]));
    process.kill(Number(bench.file("p", "started").split(" ")[0]), "SIGKILL");
    expect(await bench.ended("p")).toMatchObject({ exitCode: null, signal: "SIGKILL" });
    expect(isLiving(pid)).toBe(false);
  });

  test("what a program leaves behind when it ends is killed", async () => {
    const launcher = bench.open();
    await launcher.launch(program("p", ["sh", "-c", "sleep 600 & setsid sleep 600 & env -i sleep 600 & exit 0"]));
    expect(await bench.ended("p")).toEqual({ exitCode: 0, signal: null, reason: null });
    expect(livingIn(bench.directory)).toEqual([]);
  });
});

describe("stop", () => {
  test("is polite first", async () => {
    const launcher = bench.open();
    await launcher.launch(program("p", ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done"]));
    await until("the program", async () => text((await launcher.readLog("p", "stdout", 0, 100)).bytes) === "ready\n");
    await launcher.stop("p", 10_000, "cancelled");
    expect(bench.ends.get("p")).toEqual({ exitCode: 3, signal: null, reason: "stopped: cancelled" });
    expect(bench.file("p", "stdout")).toBe("ready\nbye\n");
  });

  test("of what crashes by a signal of its own at that moment does not hide the crash", async () => {
    const launcher = bench.open();
    await launcher.launch(program("p", ["sh", "-c", "trap 'kill -SEGV $$' TERM; echo ready; while :; do sleep 0.05; done"]));
    await until("the program", async () => text((await launcher.readLog("p", "stdout", 0, 100)).bytes) === "ready\n");
    await launcher.stop("p", 10_000, "its driver gave it back");
    expect(bench.ends.get("p")).toEqual({ exitCode: null, signal: "SIGSEGV", reason: null });
  });

  test("kills what ignores the polite signal, and a grandchild that left the session", async () => {
    const launcher = bench.open();
    const pid = await launcher.launch(
      program("p", ["sh", "-c", "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; sleep 600; :' & while :; do sleep 1; done"]),
    );
    const escaped = await until("the grandchild", () => Number(bench.file("p", "stdout").trim()) || undefined);
    await launcher.stop("p", 200, "cancelled");
    expect(bench.ends.get("p")).toEqual({ exitCode: null, signal: "SIGKILL", reason: "stopped: cancelled" });
    expect([isLiving(pid), isLiving(escaped)]).toEqual([false, false]);
    expect(livingIn(bench.directory)).toEqual([]);
  });

  test("gives what the program left behind the same polite signal and grace", async () => {
    const launcher = bench.open();
    const server = "trap 'sleep 0.1; echo saved; exit' TERM; echo ready; while :; do sleep 0.02; done";
    await launcher.launch(program("p", ["sh", "-c", `setsid sh -c "${server}" & wait`]));
    await until("the server", () => bench.file("p", "stdout") === "ready\n");
    await launcher.stop("p", 10_000, "cancelled");
    expect(bench.file("p", "stdout")).toBe("ready\nsaved\n");
    expect(livingIn(bench.directory)).toEqual([]);
  });

  test("of an unknown or ended process resolves; a stop during the launch waits for it", async () => {
    const launcher = bench.open();
    await launcher.stop("never", 0, "x");
    const launched = launcher.launch(program("p", ["sleep", "600"]));
    await launcher.stop("p", 0, "x");
    await launched;
    expect(bench.ends.get("p")).toMatchObject({ signal: "SIGKILL", reason: "stopped: x" });
    await launcher.stop("p", 0, "x");
  });

  test("closing stops everything; closing with leave stops nothing", async () => {
    const first = bench.open();
    const pid = await first.launch(program("p", ["sleep", "600"]));
    await first.close({ leave: true });
    expect(isLiving(pid)).toBe(true);
    const second = bench.open();
    expect(await second.inventory()).toEqual([{ processId: "p", pid, note: "note of p", end: null }]);
    await second.close({ leave: false });
    expect(isLiving(pid)).toBe(false);
    expect((await rejected(second.launch(program("q", ["true"])))).message).toContain("closed");
  });
});

describe("launch", () => {
  test("user processes get an allow-list of the environment and no open descriptor of the worker", async () => {
    const env = {
      PATH: process.env.PATH,
      HOME: "/root",
      LC_ALL: "C",
      SECRET: "s3cret",
      HOLDFAST_SECRET: "s3cret",
      NODE_OPTIONS: "--no-warnings",
    };
    const launcher = bench.open({ env });
    await launcher.launch(
      program("p", ["sh", "-c", "env | sort"], {
        command: { kind: "program", argv: ["sh", "-c", "env | sort"], env: { MINE: "1" }, cwd: null },
      }),
    );
    await launcher.launch(program("fds", ["ls", "/proc/self/fd"]));
    await Promise.all([bench.ended("p"), bench.ended("fds")]);
    expect(bench.file("p", "stdout").replaceAll(/=.*/g, "").split("\n")).toEqual([
      "HOLDFAST_LAUNCH",
      "HOLDFAST_PROCESS",
      "HOME",
      "LC_ALL",
      "MINE",
      "PATH",
      "PWD",
      "",
    ]);
    expect(bench.file("p", "stdout")).not.toContain("s3cret");
    // Descriptors that whoever started this test left open for all its descendants are not the launcher's.
    expect(bench.file("fds", "stdout")).toBe(execFileSync("ls", ["/proc/self/fd"], { encoding: "utf8" }));
  });

  test("arguments are never interpreted by a shell", async () => {
    const launcher = bench.open();
    await launcher.launch(program("p", ["printf", "%s|", "$HOME", "`id`", "a b", "*", "'\"", ";exit 9", ""]));
    expect(await bench.ended("p")).toMatchObject({ exitCode: 0 });
    expect(bench.file("p", "stdout")).toBe("$HOME|`id`|a b|*|'\"|;exit 9||");
  });

  test("signals have their default handling in the program", async () => {
    const launcher = bench.open();
    await launcher.launch(program("p", ["sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status"]));
    await bench.ended("p");
    expect(bench.file("p", "stdout")).toBe("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  });

  test("what cannot be started is refused with a sentence and leaves nothing", async () => {
    const launcher = bench.open();
    const missing = await rejected(launcher.launch(program("a", ["no-such-command"])));
    expect(hasCode(missing, "LAUNCH_FAILED")).toBe(true);
    expect(missing.message).toContain("cannot run no-such-command: it is in no folder of PATH");
    const nowhere = await rejected(
      launcher.launch({ ...program("b", ["true"]), command: { kind: "program", argv: ["true"], env: {}, cwd: "/no/such" } }),
    );
    expect(nowhere.message).toContain("/no/such does not exist");
    const tooLong = await rejected(launcher.launch(program("c", ["true", "x".repeat(4 * MIB)])));
    expect(hasCode(tooLong, "LAUNCH_FAILED")).toBe(true);
    expect(await launcher.inventory()).toEqual([]);
    expect(existsSync(path.join(bench.directory, "processes/a"))).toBe(false);
    expect(existsSync(path.join(bench.directory, "processes/c"))).toBe(false);
    expect((await rejected(launcher.launch(program("../x", ["true"])))).message).toContain("not the id of a process");
  });

  test("the same process id is refused a second time, also after its end", async () => {
    const launcher = bench.open();
    const [first, second] = await Promise.allSettled([
      launcher.launch(program("p", ["true"])),
      launcher.launch(program("p", ["true"])),
    ]);
    expect([first.status, second.status]).toEqual(["fulfilled", "rejected"]);
    await bench.ended("p");
    expect(hasCode(await rejected(launcher.launch(program("p", ["true"]))), "CONFLICT")).toBe(true);
    await launcher.forget("p");
    expect(await launcher.inventory()).toEqual([]);
    expect(hasCode(await rejected(launcher.launch(program("p", ["true"]))), "CONFLICT")).toBe(true);
  });

  test("a work directory that cannot be used is named", () => {
    writeFileSync(path.join(bench.directory, "file"), "");
    const open = () =>
      createProcessLauncher({
        workDirectory: path.join(bench.directory, "file"),
        runnerPath: "",
        clock: realClock,
        log: silentLog,
      });
    expect(open).toThrow("something on the way is not a folder");
  });
});
