/** What this machine costs at this moment: every figure of a run is to be read beside these. */
import { spawnSync } from "node:child_process";
import { closeSync, fdatasyncSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Row } from "./figures.js";

const SYNCED_BYTES = 1024;

/** An append of 1 KiB and fdatasync, in milliseconds: what one durable commit cannot be below. */
export function fsyncSamples(directory: string, count: number): readonly number[] {
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, `fsync-${process.pid}`);
  const descriptor = openSync(file, "a");
  const bytes = Buffer.alloc(SYNCED_BYTES, 1);
  try {
    return Array.from({ length: count }, () => {
      const startedAt = performance.now();
      writeSync(descriptor, bytes);
      fdatasyncSync(descriptor);
      return performance.now() - startedAt;
    });
  } finally {
    closeSync(descriptor);
    rmSync(file, { force: true });
  }
}

/** `node -e 0`, from spawn to exit. */
export function processStartSamples(count: number): readonly number[] {
  return Array.from({ length: count }, () => {
    const startedAt = performance.now();
    spawnSync(process.execPath, ["-e", "0"], { stdio: "ignore" });
    return performance.now() - startedAt;
  });
}

export function machineRows(directory: string, quick: boolean): readonly Row[] {
  return [
    {
      what: "fsync: append 1 KiB, fdatasync",
      unit: "ms",
      samples: fsyncSamples(directory, quick ? 100 : 400),
      beside: "0.11 ms p50 on the machine of reliability.md",
    },
    {
      what: "process start: node -e 0",
      unit: "ms",
      samples: processStartSamples(quick ? 5 : 11),
      beside: "78-82 ms to the first output of the smallest program (performance.md 2)",
    },
  ];
}

export function machineName(): string {
  const cpus = os.cpus();
  const memory = `${Math.round(os.totalmem() / 1024 ** 3)} GiB`;
  return `${cpus.length} cores ${cpus[0]?.model.trim() ?? "?"}, ${memory}, Node ${process.versions.node}, ${os.type()} ${os.release()}`;
}

/** The sources that are measured. Outside a repository: unknown. */
export function versionOf(root: string): { readonly commit: string; readonly isClean: boolean } {
  const git = (...words: readonly string[]) => spawnSync("git", ["-C", root, ...words], { encoding: "utf8" });
  const head = git("rev-parse", "--short=10", "HEAD");
  if (head.status !== 0) return { commit: "unknown", isClean: true };
  return { commit: head.stdout.trim(), isClean: git("status", "--porcelain").stdout.trim() === "" };
}

/** Of the last minute; on a machine shared with others every time is to be read with it. */
export function load(): number {
  return Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]);
}
