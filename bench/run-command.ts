/** Runs one command, with the wall time of the whole of it, of its answer, and the peak memory of the largest process that it started. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const LOOK_EVERY_MS = 100;

export interface CommandRun {
  readonly exitCode: number | null;
  readonly wallMs: number;
  /** Until the last byte of standard output: its answer, before it has cleaned up. */
  readonly answeredMs: number;
  /** Calendar time of the spawn. */
  readonly startedAt: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly peakBytes: number;
}

/** Rejects when it does not end with 0. */
export async function runCommand(
  argv: readonly string[],
  options: { readonly cwd: string; readonly signal: AbortSignal },
): Promise<CommandRun> {
  // Processes that it starts are known by their environment, wherever they hang in the process tree.
  const temporary = mkdtempSync(path.join(os.tmpdir(), "holdfast-bench-"));
  const memory = watchMemory(`TMPDIR=${temporary}\0`);
  const startedAt = Date.now();
  const start = performance.now();
  try {
    const child = spawn(process.execPath, argv, {
      cwd: options.cwd,
      env: { ...process.env, TMPDIR: temporary },
      stdio: ["ignore", "pipe", "pipe"],
      signal: options.signal,
    });
    let stdout = "";
    let stderr = "";
    let answeredMs = 0;
    child.stdout.on("data", (bytes: Buffer) => {
      stdout += bytes.toString("utf8");
      answeredMs = performance.now() - start;
    });
    child.stderr.on("data", (bytes: Buffer) => {
      stderr += bytes.toString("utf8");
    });
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    const wallMs = performance.now() - start;
    if (exitCode !== 0) throw new Error(`${argv.join(" ")} ended with ${exitCode}: ${stderr.slice(-2000)}`);
    return { exitCode, wallMs, answeredMs, startedAt, stdout, stderr, peakBytes: memory.stop() };
  } finally {
    memory.stop();
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** The largest peak of resident memory among processes whose environment has the mark. */
function watchMemory(mark: string): { stop(): number } {
  const strangers = new Map<string, number>();
  const own = new Set<string>();
  let peakBytes = 0;
  const look = () => {
    for (const pid of readdirSync("/proc")) {
      if (!/^[0-9]+$/.test(pid) || Number(pid) === process.pid) continue;
      // A process that has just been forked still has its parent's environment, so it is looked at more than once.
      const looks = strangers.get(pid) ?? 0;
      if (!own.has(pid) && looks < 5) {
        if (read(pid, "environ").includes(mark)) own.add(pid);
        else strangers.set(pid, looks + 1);
      }
      if (!own.has(pid)) continue;
      const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(read(pid, "status"))?.[1];
      peakBytes = Math.max(peakBytes, Number(kilobytes ?? 0) * 1024);
    }
  };
  const timer = setInterval(look, LOOK_EVERY_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return peakBytes;
    },
  };
}

function read(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
