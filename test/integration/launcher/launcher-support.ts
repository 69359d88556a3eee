/** What the tests of the launcher share: a clock, a log, a work directory of their own, waiting for conditions, and looking for leftovers. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { expect } from "vitest";
import type { Launcher, LaunchSpec, ProcessEnd } from "../../../src/env/launcher.js";
import { createProcessLauncher, type ProcessLauncherOptions } from "../../../src/node/processes/process-launcher.js";
import { realClock, silentLog } from "./launcher-clock.js";

export { realClock, silentLog };
export const MIB = 1024 * 1024;

export async function until<T>(
  what: string,
  look: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  deadlineMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false && found !== null) return found;
    if (Date.now() > deadline) throw new Error(`waited ${deadlineMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function program(processId: string, argv: readonly string[], more: Partial<LaunchSpec> = {}): LaunchSpec {
  return {
    processId,
    command: { kind: "program", argv, env: {}, cwd: null },
    memoryBytes: 256 * MIB,
    note: `note of ${processId}`,
    ...more,
  };
}

export interface Bench {
  /** Killed by `close`. */
  readonly children: ChildProcess[];
  readonly directory: string;
  readonly ends: Map<string, ProcessEnd>;
  open(more?: Partial<ProcessLauncherOptions>): Launcher;
  ended(processId: string, deadlineMs?: number): Promise<ProcessEnd>;
  file(processId: string, name: string): string;
  /** Closes what was opened, and fails when anything started by it still lives. */
  close(): Promise<void>;
}

export function makeBench(): Bench {
  const directory = mkdtempSync(path.join(tmpdir(), "holdfast-launcher-"));
  const ends = new Map<string, ProcessEnd>();
  const open: Launcher[] = [];
  const children: ChildProcess[] = [];
  return {
    directory,
    children,
    ends,
    open: (more = {}) => {
      const launcher = createProcessLauncher({
        workDirectory: directory,
        runnerPath: "/nowhere",
        clock: realClock,
        log: silentLog,
        ...more,
      });
      launcher.onEnd((processId, end) => {
        expect(ends.has(processId), `the end of ${processId} is told once`).toBe(false);
        ends.set(processId, end);
      });
      open.push(launcher);
      return launcher;
    },
    ended: (processId, deadlineMs) => until(`the end of ${processId}`, () => ends.get(processId), deadlineMs),
    file: (processId, name) => readFileSync(path.join(directory, "processes", processId, name), "utf8"),
    close: async () => {
      for (const child of children) child.kill("SIGKILL");
      for (const launcher of open) await launcher.close({ leave: false });
      // A test that failed half-way leaves what nobody watches: adopted once more, and stopped.
      const last = createProcessLauncher({ workDirectory: directory, runnerPath: "/nowhere", clock: realClock, log: silentLog });
      await last.close({ leave: false });
      const left = livingIn(directory);
      rmSync(directory, { recursive: true, force: true });
      expect(left).toEqual([]);
    },
  };
}

/** Command lines of living processes that have anything to do with the directory: their program, current directory or environment. */
export function livingIn(directory: string): string[] {
  const tokens = new Set<string>();
  const folder = path.join(directory, "processes");
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    try {
      tokens.add(JSON.parse(readFileSync(path.join(folder, name, "process.json"), "utf8")).token);
    } catch {
      // Never started.
    }
  }
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      const state = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.[0];
      const token = /(?:^|\0)HOLDFAST_LAUNCH=([^\0]*)/.exec(environment)?.[1];
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      if (state !== "Z" && ((token !== undefined && tokens.has(token)) || commandLine.includes(directory)))
        found.push(`${pid} ${commandLine.replaceAll("\0", " ")}`);
    } catch {
      // Gone meanwhile.
    }
  }
  return found;
}

export function isLiving(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.[0] !== "Z";
  } catch {
    return false;
  }
}

/** A worker process of its own that has launched the processes, and can be killed. */
export async function launchElsewhere(
  bench: Bench,
  specs: readonly LaunchSpec[],
  more: Partial<ProcessLauncherOptions> = {},
): Promise<ChildProcess> {
  const outfile = path.join(bench.directory, "child.mjs");
  const entry = path.join(import.meta.dirname, "launcher-child.ts");
  await build({ entryPoints: [entry], outfile, bundle: true, platform: "node", format: "esm", logLevel: "silent" });
  const child = spawn(process.execPath, [outfile, bench.directory, JSON.stringify(specs), JSON.stringify(more)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  bench.children.push(child);
  let said = "";
  child.stdout?.on("data", (text) => {
    said += text;
  });
  outputs.set(child, () => said);
  await until("its launches", () => {
    if (child.exitCode !== null) throw new Error(`the worker process ended with ${child.exitCode}`);
    return said.includes("launched\n");
  });
  return child;
}

const outputs = new WeakMap<ChildProcess, () => string>();
/** What a process started by `launchElsewhere` has logged. */
export const saidBy = (child: ChildProcess): string => outputs.get(child)?.() ?? "";

export async function kill(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}
