/** What the tests of the launcher share: a clock, a log, a work directory of their own, waiting for conditions, and looking for leftovers. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect } from "vitest";
import type { Clock } from "../../src/env/clock.js";
import type { Launcher, LaunchSpec, ProcessEnd } from "../../src/env/launcher.js";
import type { Log } from "../../src/env/log.js";
import { createProcessLauncher, type ProcessLauncherOptions } from "../../src/node/process-launcher.js";

export const realClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  at: (instant, run) => {
    const timer = setTimeout(run, Math.max(0, instant - performance.now()));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
export const MIB = 1024 * 1024;

export async function until<T>(
  what: string,
  look: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  deadlineMs = 20_000,
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
  return {
    directory,
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
      for (const launcher of open) await launcher.close({ leave: false });
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
  for (const name of readdirSync(folder)) {
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
