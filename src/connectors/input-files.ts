/**
 * From the `path` of a source to the files that it names. Boundary: directories are listed and files looked at, nothing is opened.
 *
 * Invariants:
 *   1. The order is that of the absolute paths (by code unit), and each file comes once: every enumeration gives the same splits.
 *   2. A path that exists is taken as it is, also when it looks like a pattern. A path or pattern without a file is SOURCE_FAILED.
 *   3. Below a directory, names with `.` or `_` in front and symbolic links to directories (they may form cycles) are passed over.
 */
import type { Dirent, Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../base/errors.js";
import type { CancelSignal } from "../dataflow/connector.js";
import { type GlobPattern, hasPattern, parseGlob } from "./glob.js";
import { errnoOf, sourceFailed } from "./io-errors.js";

export interface InputFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** Bounds what the driver holds of one source; a larger input is better named by fewer, larger files. */
const MAX_FILES = 1_000_000;

export async function findInputFiles(
  paths: string | readonly string[],
  baseDir: string,
  signal: CancelSignal,
): Promise<InputFile[]> {
  const found = new Map<string, InputFile>();
  for (const given of typeof paths === "string" ? [paths] : paths) {
    const absolute = path.resolve(baseDir, given);
    const before = found.size;
    const names = await namesOf(absolute, given, signal, found);
    if (!names && found.size === before) {
      throw new CodedError("SOURCE_FAILED", `no file matches ${absolute}`, {
        details: { path: absolute },
        hint: "Check the path; on a cluster the files must be readable under the same path on every machine.",
      });
    }
  }
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** True when `absolute` named something that exists, be it an empty directory. */
async function namesOf(absolute: string, given: string, signal: CancelSignal, found: Map<string, InputFile>): Promise<boolean> {
  const stats = await statOrNull(absolute);
  if (stats !== null) {
    await take(absolute, stats, signal, found);
    return true;
  }
  if (!hasPattern(given)) throw sourceFailed(absolute, Object.assign(new Error("ENOENT"), { code: "ENOENT" }));
  let matched = false;
  for (const pattern of parseGlob(absolute)) {
    const start = pattern.fixed.join("/") || "/";
    const startStats = await statOrNull(start);
    if (startStats === null) continue;
    if (pattern.segments.length === 0) {
      await take(start, startStats, signal, found);
      matched = true;
    } else if (startStats.isDirectory()) matched = (await walk(start, pattern, 0, signal, found)) || matched;
  }
  return matched;
}

async function walk(
  dir: string,
  pattern: GlobPattern,
  at: number,
  signal: CancelSignal,
  found: Map<string, InputFile>,
): Promise<boolean> {
  const segment = pattern.segments[at];
  if (segment === undefined) return false;
  let matched = false;
  if (segment === "**") {
    // `**` as the last name means every file below; otherwise zero or more directories before the rest matches.
    if (at === pattern.segments.length - 1) {
      await takeDirectory(dir, signal, found);
      return true;
    }
    matched = await walk(dir, pattern, at + 1, signal, found);
    for (const entry of await list(dir, signal)) {
      if (entry.isDirectory() && isShown(entry.name))
        matched = (await walk(path.join(dir, entry.name), pattern, at, signal, found)) || matched;
    }
    return matched;
  }
  for (const entry of await list(dir, signal)) {
    if (!segment.test(entry.name)) continue;
    const full = path.join(dir, entry.name);
    const stats = await statOrNull(full);
    if (stats === null) continue;
    if (at === pattern.segments.length - 1) {
      await take(full, stats, signal, found);
      matched = true;
    } else if (stats.isDirectory()) matched = (await walk(full, pattern, at + 1, signal, found)) || matched;
  }
  return matched;
}

async function take(full: string, stats: Stats, signal: CancelSignal, found: Map<string, InputFile>): Promise<void> {
  if (stats.isDirectory()) return takeDirectory(full, signal, found);
  if (!stats.isFile())
    throw new CodedError("SOURCE_FAILED", `cannot read ${full}: it is neither a file nor a directory`, { details: { path: full } });
  if (found.size >= MAX_FILES) throw new CodedError("LIMIT_EXCEEDED", `a source names more than ${MAX_FILES} files`);
  found.set(full, { path: full, sizeBytes: stats.size });
}

async function takeDirectory(dir: string, signal: CancelSignal, found: Map<string, InputFile>): Promise<void> {
  for (const entry of await list(dir, signal)) {
    if (!isShown(entry.name)) continue;
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) await takeDirectory(full, signal, found);
    else if (entry.isFile() || entry.isSymbolicLink()) {
      const stats = await statOrNull(full);
      if (stats?.isFile() === true) await take(full, stats, signal, found);
    }
  }
}

function isShown(name: string): boolean {
  return !name.startsWith(".") && !name.startsWith("_");
}

async function list(dir: string, signal: CancelSignal): Promise<Dirent[]> {
  signal.throwIfAborted();
  try {
    return await readdir(dir, { withFileTypes: true });
  } catch (thrown) {
    throw sourceFailed(dir, thrown, "list");
  }
}

/** Null for a name that does not exist (also a link to nothing); everything else that goes wrong is told. */
async function statOrNull(full: string): Promise<Stats | null> {
  try {
    return await stat(full);
  } catch (thrown) {
    const errno = errnoOf(thrown);
    if (errno === "ENOENT" || errno === "ENOTDIR") return null;
    throw sourceFailed(full, thrown);
  }
}
