/**
 * The directory of a LevelDB coordination store, around LevelDB itself:
 *
 *   DIR/store.json   what this directory is and in which format; written once. Without it nothing here is taken for a store.
 *   DIR/owner.json   who owns the lock, for those who wait; a hint, replaced atomically, removed on a clean close.
 *   DIR/db/          LevelDB's files, its LOCK among them.
 *
 * LevelDB makes an empty database wherever its own files are missing. So a directory that was a store and has lost them is refused here.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { readdir, readFile, rename, rm, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import { makeDirectory } from "../files/make-directory.js";
import { syncDirectory } from "../files/write-durably.js";

/** Grows when an older Holdfast could not read what this one writes. */
const FORMAT = 1;
const MAX_FILE_BYTES = 16_384;

export interface StorePaths {
  readonly directory: string;
  readonly marker: string;
  readonly owner: string;
  readonly database: string;
}

export function storePaths(directory: string): StorePaths {
  const absolute = path.resolve(directory);
  return {
    directory: absolute,
    marker: path.join(absolute, "store.json"),
    owner: path.join(absolute, "owner.json"),
    database: path.join(absolute, "db"),
  };
}

/** Makes the directory and checks what is in it. True: it is a store already. Rejects STORE_UNUSABLE, STORE_FORMAT. */
export async function prepareDirectory(paths: StorePaths): Promise<boolean> {
  try {
    await makeDirectory(paths.database);
    const marker = await readSmallFile(paths.marker);
    const files = await readdir(paths.database);
    const hasDatabase = files.includes("CURRENT");
    if (marker !== undefined) checkMarker(paths, marker);
    // A first manifest alone is a database that another process is making at this moment, or was killed while it did.
    const hasTables = files.some((file) => /^MANIFEST-(?!000001$)|\.(ldb|sst|log)$/.test(file));
    if (!hasDatabase && (marker !== undefined || hasTables)) {
      throw new CodedError(
        "STORE_UNUSABLE",
        `the coordination store in ${paths.directory} has lost its database (${paths.database}/CURRENT is missing)`,
        {
          hint: "Restore the directory from a copy, or move it away to start an empty cluster.",
        },
      );
    }
    return marker !== undefined;
  } catch (thrown) {
    throw explainFileError(thrown, paths.directory);
  }
}

function checkMarker(paths: StorePaths, text: string): void {
  let format: unknown;
  try {
    format = (JSON.parse(text) as { readonly format?: unknown }).format;
  } catch {
    format = undefined;
  }
  if (typeof format !== "number") {
    throw new CodedError("STORE_UNUSABLE", `${paths.marker} is damaged: it does not say the format of the coordination store`, {
      hint: "Restore the directory from a copy, or move it away to start an empty cluster.",
    });
  }
  if (format > FORMAT) {
    throw new CodedError(
      "STORE_FORMAT",
      `the coordination store in ${paths.directory} has format ${format}, this Holdfast reads up to ${FORMAT}`,
      {
        hint: "Start the newer version of Holdfast that wrote it.",
        details: { format, supported: FORMAT },
      },
    );
  }
}

/** Durable when it resolves: the marker and the names of all that was made. */
export async function writeMarker(paths: StorePaths): Promise<void> {
  try {
    const text = `${JSON.stringify({ what: "Holdfast coordination store", format: FORMAT })}\n`;
    const temporary = `${paths.marker}.${process.pid}.tmp`;
    await writeFile(temporary, text, { flush: true });
    await rename(temporary, paths.marker);
    for (const directory of [paths.database, paths.directory, path.dirname(paths.directory)]) await syncDirectory(directory);
  } catch (thrown) {
    throw explainFileError(thrown, paths.directory);
  }
}

/** Who owns the lock, as it wrote it down itself. */
export interface OwnerNote {
  readonly candidate: string;
  readonly pid: number;
  readonly host: string;
  /** Of the process in clock ticks since boot (Linux); tells a reused pid. Null elsewhere. */
  readonly startTicks: number | null;
}

/** Best effort: the store works without it. Returns the exact text, which `removeOwnerNote` compares. */
export async function writeOwnerNote(paths: StorePaths, candidate: string): Promise<string> {
  const note: OwnerNote = {
    candidate,
    pid: process.pid,
    host: hostname(),
    startTicks: processStat(process.pid)?.startTicks ?? null,
  };
  const text = `${JSON.stringify({ ...note, nonce: randomBytes(8).toString("hex") })}\n`;
  const temporary = `${paths.owner}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, paths.owner);
  } catch {
    await rm(temporary, { force: true }).catch(() => {});
  }
  return text;
}

/** Called while the lock is still held, so that it never removes the note of the next owner. */
export async function removeOwnerNote(paths: StorePaths, written: string): Promise<void> {
  if ((await readSmallFile(paths.owner).catch(() => undefined)) === written) await unlink(paths.owner).catch(() => {});
}

export async function readOwnerNote(paths: StorePaths): Promise<OwnerNote | undefined> {
  try {
    const note = JSON.parse((await readSmallFile(paths.owner)) ?? "null") as Partial<OwnerNote> | null;
    if (note === null || typeof note.candidate !== "string" || typeof note.pid !== "number" || typeof note.host !== "string")
      return undefined;
    return {
      candidate: note.candidate,
      pid: note.pid,
      host: note.host,
      startTicks: typeof note.startTicks === "number" ? note.startTicks : null,
    };
  } catch {
    return undefined;
  }
}

/** What a waiter is told: who has the lock, and whether it looks able to let go of it. */
export function describeOwner(
  paths: StorePaths,
  note: OwnerNote | undefined,
): { readonly owner: string | undefined; readonly reason: string } {
  const locked = `the coordination store in ${paths.directory} is locked by`;
  if (note === undefined) return { owner: undefined, reason: `${locked} another process that has not said who it is` };
  const who = `${locked} process ${note.pid}`;
  if (note.host !== hostname()) return { owner: note.candidate, reason: `${who} on ${note.host}` };
  const stat = statOfOwner(note);
  if (stat !== undefined && STOPPED.test(stat.state)) {
    return {
      owner: note.candidate,
      reason: `${who}, which is stopped (SIGSTOP): continue it (kill -CONT ${note.pid}) or end it (kill -9 ${note.pid})`,
    };
  }
  if (existsSync("/proc/self/stat") && stat === undefined) {
    return {
      owner: undefined,
      reason: `${locked} another process than the one that wrote its name there last (process ${note.pid} is gone)`,
    };
  }
  return { owner: note.candidate, reason: `${who}, which is running` };
}

const STOPPED = /[Tt]/;

/** On this machine. */
export const isStopped = (note: OwnerNote): boolean => STOPPED.test(statOfOwner(note)?.state ?? "");

/** Undefined when the process is gone, or its pid is another's by now. */
function statOfOwner({ pid, startTicks }: OwnerNote): ReturnType<typeof processStat> {
  const stat = processStat(pid);
  return stat !== undefined && (startTicks === null || stat.startTicks === startTicks) ? stat : undefined;
}

function processStat(pid: number): { readonly state: string; readonly startTicks: number } | undefined {
  try {
    // The command stands in parentheses and may hold anything; the fields after it are plain (proc(5): state is 3, starttime 22).
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return { state: fields[0] ?? "", startTicks: Number(fields[19]) };
  } catch {
    return undefined;
  }
}

async function readSmallFile(file: string): Promise<string | undefined> {
  try {
    const text = await readFile(file, "utf8");
    return text.slice(0, MAX_FILE_BYTES);
  } catch (thrown) {
    if (errorNumber(thrown) === "ENOENT") return undefined;
    throw thrown;
  }
}

function errorNumber(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}

const FILE_PROBLEMS: Readonly<Record<string, { readonly problem: string; readonly hint: string }>> = {
  EACCES: {
    problem: "this user may not write there",
    hint: "Give the user of the master write permission for it, or choose another directory.",
  },
  EPERM: {
    problem: "this user may not write there",
    hint: "Give the user of the master write permission for it, or choose another directory.",
  },
  EROFS: { problem: "its file system is read-only", hint: "Mount it writable, or choose another directory." },
  ENOTDIR: { problem: "a part of that path is a file", hint: "Choose a directory." },
  EEXIST: { problem: "there is a file of that name", hint: "Choose a directory." },
  ENOSPC: { problem: "its disk is full", hint: "Free some space on that disk, then start again." },
  EDQUOT: { problem: "the disk quota is used up", hint: "Free some space on that disk, then start again." },
  EMFILE: { problem: "this process has too many open files", hint: "Raise the limit of open files (ulimit -n)." },
  ENAMETOOLONG: { problem: "that path is too long", hint: "Choose a shorter path." },
};

export function explainFileError(thrown: unknown, directory: string): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const known = FILE_PROBLEMS[errorNumber(thrown) ?? ""];
  const problem = known?.problem ?? (thrown instanceof Error ? thrown.message : String(thrown));
  return new CodedError("STORE_UNUSABLE", `the coordination store cannot use the directory ${directory}: ${problem}`, {
    hint: known?.hint ?? "Check the disk and the permissions of that directory.",
    cause: thrown,
  });
}
