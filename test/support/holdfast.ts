/** The `holdfast` command as tests run it: a real process, its exit code and what it printed. */
import { spawn } from "node:child_process";
import path from "node:path";

export const ROOT = path.resolve(import.meta.dirname, "../..");
/** The built program; `npm run build` makes it. */
export const PROGRAM = path.join(ROOT, "dist/bin/holdfast.mjs");

export interface Ran {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Killed after it, which fails the test by its exit code. */
  readonly timeoutMs?: number;
}

export interface Running {
  readonly pid: number;
  readonly ended: Promise<Ran>;
  stdout(): string;
  stderr(): string;
  signal(signal: NodeJS.Signals): void;
  /** As when the reader of a pipe goes away: the process gets EPIPE for what it writes from now on. */
  stopReading(): void;
}

export function startHoldfast(args: readonly string[], options: RunOptions = {}): Running {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, HOLDFAST_MASTER: "", NO_COLOR: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 60_000);
  const stdout = () => Buffer.concat(out).toString("utf8");
  const stderr = () => Buffer.concat(err).toString("utf8");
  const ended = new Promise<Ran>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => {
      clearTimeout(timer);
      resolve({ exitCode, stdout: stdout(), stderr: stderr() });
    });
  });
  const stopReading = () => {
    child.stdout.destroy();
    child.stderr.destroy();
  };
  return { pid: child.pid ?? 0, ended, stdout, stderr, signal: (signal) => void child.kill(signal), stopReading };
}

export const holdfast = (args: readonly string[], options: RunOptions = {}): Promise<Ran> => startHoldfast(args, options).ended;

/** Waits for a condition, looking again and again; rejects with what was waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
