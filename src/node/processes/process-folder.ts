/**
 * The folder of one process: `<work>/processes/<processId>/`. All that is known of a process lies here, so that a restarted worker knows it.
 *
 *   process.json  what was asked for (ProcessFacts); written whole before the keeper starts
 *   started       "KEEPER_PID START_TICKS PID", created by the keeper (or, as "void", by a worker that gives a half-done launch up)
 *   exit          placeholder, then "exited CODE"; overwritten in place by the keeper
 *   reason        a sentence why Holdfast ended it, written before the killing signal
 *   keeper        what the keeper's shell said: not empty when the command died by a signal
 *   start.json    private (0600): what a runner reads
 *   driver.json   where the driver of an executor is by now (wire/runner-start.ts)
 *   stdout stderr the logs; work/ the current directory of runners and of programs that named none
 *   forgotten     its end is durable elsewhere
 *
 * Invariant: a folder without a readable process.json was never started, and may be removed.
 */

import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, readSync, renameSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import path from "node:path";
import type { ProcessEnd } from "../../env/launcher.js";
import { bootId, type ProcessIdentity } from "./proc.js";
import { EXIT_PLACEHOLDER } from "./process-shim.js";

export interface ProcessFacts {
  readonly version: 1;
  /** Null: a spare that has not been given out. */
  readonly processId: string | null;
  readonly kind: "program" | "runner";
  /** Random; stands in the environment of the process and of what it starts, so that they are found wherever they hide. */
  readonly token: string;
  readonly bootId: string;
  readonly memoryBytes: number;
  readonly note: string;
}

export interface Started {
  readonly keeper: ProcessIdentity;
  /** The program's own pid, which users see. */
  readonly pid: number;
}

/** Of the end of standard error, read to recognise V8's last words. */
const STDERR_TAIL_BYTES = 8 * 1024;
export const SPARE_PREFIX = ".spare-";

export function makeFolder(folder: string, facts: ProcessFacts): void {
  mkdirSync(folder, { mode: 0o700 });
  mkdirSync(path.join(folder, "work"));
  writeFileSync(path.join(folder, "exit"), EXIT_PLACEHOLDER);
  writeFacts(folder, facts);
}

export function writeFacts(folder: string, facts: ProcessFacts): void {
  writeWhole(path.join(folder, "process.json"), JSON.stringify(facts));
}

/** Undefined: no launch got as far as that. */
export function readFacts(folder: string): ProcessFacts | undefined {
  const text = readText(folder, "process.json");
  if (text === undefined) return undefined;
  try {
    const facts = JSON.parse(text) as ProcessFacts;
    return facts.version === 1 ? facts : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined: not there, not complete, or given up. */
export function readStarted(folder: string): Started | undefined {
  const match = /^([0-9]+) ([0-9]+) ([0-9]+)\n$/.exec(readText(folder, "started") ?? "");
  if (match === null) return undefined;
  return { keeper: { pid: Number(match[1]), startTicks: Number(match[2]) }, pid: Number(match[3]) };
}

/** True when this call made sure that the command will never run; false when the keeper was first. */
export function giveUpStart(folder: string): boolean {
  try {
    writeFileSync(path.join(folder, "started"), "void\n", { flag: "wx" });
    return true;
  } catch {
    return readText(folder, "started") === "void\n";
  }
}

/** The noted exit code (shell convention: 128 + signal), or undefined when none was noted. */
export function readExitCode(folder: string): number | undefined {
  const match = /^exited ([0-9]+) *\n$/.exec(readText(folder, "exit") ?? "");
  return match === null ? undefined : Number(match[1]);
}

/** Kept beside the process before it is killed; the first reason stays. Never fails: on a full disk the reason is lost, not the killing. */
export function noteReason(folder: string, reason: string): void {
  try {
    writeFileSync(path.join(folder, "reason"), `${reason.replaceAll("\n", " ")}\n`, { flag: "wx" });
  } catch {
    // It has a reason already, or the disk is full.
  }
}

export const isForgotten = (folder: string): boolean => readText(folder, "forgotten") !== undefined;

/**
 * How the process ended, from its folder alone; call it only when the keeper is gone.
 * @param keeperEnd what the parent saw of the keeper, where it was its parent: used when nothing was noted (full disk).
 */
export function readEnd(
  folder: string,
  facts: ProcessFacts,
  keeperEnd?: { readonly code: number | null; readonly signal: string | null },
): ProcessEnd {
  const reason = readText(folder, "reason")?.trim() ?? null;
  const code = readExitCode(folder) ?? keeperEnd?.code ?? undefined;
  if (code === undefined)
    return {
      exitCode: null,
      signal: reason !== null ? "SIGKILL" : (keeperEnd?.signal ?? null),
      reason: reason ?? unnoticed(folder, facts),
    };
  const signal = code > 128 && (readText(folder, "keeper") ?? "") !== "" ? signalName(code - 128) : null;
  if (signal === null) return { exitCode: code, signal: null, reason };
  // A process that crashed may have been told to stop a moment later: its driver saw the connection break, before anybody knew why.
  return { exitCode: null, signal, reason: outOfHeap(folder, facts, signal) ?? (OURS.has(signal) ? reason : null) };
}

/** What processes are ended with here; by any other signal they died of themselves. */
const OURS: ReadonlySet<string> = new Set(["SIGTERM", "SIGKILL"]);

function unnoticed(folder: string, facts: ProcessFacts): string {
  if (facts.bootId !== bootId()) return "not seen again after a reboot of the machine";
  if (readStarted(folder) === undefined) return "not started: the worker ended during the launch";
  return "killed with its whole process group: no exit code was noted";
}

function outOfHeap(folder: string, facts: ProcessFacts, signal: string): string | null {
  if (signal !== "SIGABRT" && signal !== "SIGTRAP" && signal !== "SIGILL") return null;
  const tail = readTail(path.join(folder, "stderr"));
  return tail.includes("JavaScript heap out of memory") ? outOfMemoryReason(facts.memoryBytes) : null;
}

export function outOfMemoryReason(limitBytes: number): string {
  return `out of memory: limit ${Math.round(limitBytes / (1024 * 1024))} MiB`;
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}

export function readTail(file: string): string {
  try {
    const fd = openSync(file, "r");
    try {
      const tail = Buffer.alloc(STDERR_TAIL_BYTES);
      const length = readSync(fd, tail, 0, STDERR_TAIL_BYTES, Math.max(0, fstatSync(fd).size - STDERR_TAIL_BYTES));
      return tail.toString("utf8", 0, length);
    } finally {
      closeSync(fd);
    }
  } catch {
    return "";
  }
}

export function readText(folder: string, name: string): string | undefined {
  try {
    return readFileSync(path.join(folder, name), "utf8");
  } catch {
    return undefined;
  }
}

/** Appears whole or not at all (not fsynced: after a loss of power nothing of what it describes lives). */
export function writeWhole(file: string, content: string, mode = 0o600): void {
  writeFileSync(`${file}.new`, content, { mode });
  renameSync(`${file}.new`, file);
}
