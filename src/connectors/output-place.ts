/**
 * Where a file sink writes: the final names, and the hidden directory beside them that holds what is not committed.
 *
 *   one file    out/result.ndjson            staged in out/.holdfast-<application>-result.ndjson/<attempt>/result.ndjson.tmp
 *   a directory out/part-00003.ndjson ...    staged in out/.holdfast-<application>/<attempt>/part-00003.ndjson.tmp
 *
 * Staging is on the file system of the output, so that a rename moves it, and is named after application and attempt, so that attempts
 * never meet and what a dead one left is known as such.
 */
import { mkdir, readdir, readFile, rm, rmdir, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../base/errors.js";
import type { CleanUpOptions } from "../dataflow/connector.js";
import { errnoOf, sinkFailed } from "./io-errors.js";

export interface OutputPlace {
  readonly path: string;
  /** The directory of the final files. */
  readonly dir: string;
  /** Set when the output is one file. */
  readonly fileName: string | null;
}

/** Where `begin` notes which directories it had to make, to take them away again when nothing came into them. */
const CREATED_NOTE = "created";
const MAX_MAKE_ROUNDS = 5;

export function placeOf(absolutePath: string, extensions: readonly string[], single: boolean): OutputPlace {
  const named = extensions.includes(path.extname(absolutePath).toLowerCase());
  if (single && named) return { path: absolutePath, dir: path.dirname(absolutePath), fileName: path.basename(absolutePath) };
  return { path: absolutePath, dir: absolutePath, fileName: null };
}

export function checkName(name: string, what: string): string {
  if (/^[A-Za-z0-9._-]{1,128}$/.test(name) && name !== "." && name !== "..") return name;
  throw new CodedError(
    "INVALID_ARGUMENT",
    `${JSON.stringify(name)} can't be ${what}: letters, digits, ".", "_" and "-" only, at most 128`,
  );
}

export function stagingOf(place: OutputPlace, applicationId: string): string {
  const suffix = place.fileName === null ? "" : `-${place.fileName}`;
  return path.join(place.dir, `.holdfast-${checkName(applicationId, "an application id")}${suffix}`);
}

export function attemptDir(place: OutputPlace, applicationId: string, attempt: string): string {
  return path.join(stagingOf(place, applicationId), checkName(attempt, "an attempt"));
}

/** Makes the attempt's directory, and the output's own where it is missing. Harmless when done before. */
export async function makeAttemptDir(place: OutputPlace, applicationId: string, attempt: string): Promise<string> {
  const dir = attemptDir(place, applicationId, attempt);
  try {
    const created = await makeMissing(place.dir);
    await makeMissing(dir);
    if (created !== undefined) await writeFile(path.join(stagingOf(place, applicationId), CREATED_NOTE), created);
    return dir;
  } catch (thrown) {
    throw sinkFailed(place.path, thrown);
  }
}

/**
 * Makes a directory with all that is missing above it; the answer is the highest that it made. Node's `recursive` is not used: where the
 * system says ENOENT though the directory above is there (below /proc, for one) it tries again for ever.
 */
async function makeMissing(dir: string): Promise<string | undefined> {
  for (let round = 1; ; round++) {
    try {
      return await makeEach(await missingOf(dir));
    } catch (thrown) {
      // The end of an earlier attempt may have removed a directory that was empty.
      if (errnoOf(thrown) !== "ENOENT" || round === MAX_MAKE_ROUNDS) throw thrown;
    }
  }
}

/** From the highest to the lowest. */
async function missingOf(dir: string): Promise<readonly string[]> {
  const missing: string[] = [];
  for (let at = dir; !(await isThere(at)); at = path.dirname(at)) missing.unshift(at);
  return missing;
}

async function makeEach(missing: readonly string[]): Promise<string | undefined> {
  let highest: string | undefined;
  for (const dir of missing) {
    try {
      await mkdir(dir);
      highest ??= dir;
    } catch (thrown) {
      // Another subtask was faster.
      if (errnoOf(thrown) !== "EEXIST") throw thrown;
    }
  }
  return highest;
}

async function isThere(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (thrown) {
    if (errnoOf(thrown) === "ENOENT") return false;
    throw thrown;
  }
}

/** Removes what attempts other than `keepAttempt` staged; with null everything of the application that is not committed. Only of those that are over. */
export async function removeStaged(place: OutputPlace, options: CleanUpOptions): Promise<void> {
  const { applicationId, keepAttempt, isOver = () => true } = options;
  const staging = stagingOf(place, applicationId);
  try {
    const entries = await listOrNull(staging);
    if (entries === null) return;
    const attempts = entries.filter((entry) => entry !== CREATED_NOTE);
    const removable = attempts.filter((attempt) => attempt !== keepAttempt && isOver(attempt));
    for (const attempt of removable) await rm(path.join(staging, attempt), { recursive: true, force: true });
    if (keepAttempt !== null || removable.length < attempts.length) return;
    const created = entries.includes(CREATED_NOTE)
      ? await readFile(path.join(staging, CREATED_NOTE), "utf8").catch(() => null)
      : null;
    await rm(staging, { recursive: true, force: true });
    if (created !== null) await removeEmpty(place.dir, created);
  } catch (thrown) {
    throw sinkFailed(place.path, thrown, "clean up after");
  }
}

/** From `dir` up to `highest`, as long as they are empty. */
async function removeEmpty(dir: string, highest: string): Promise<void> {
  for (let at = dir; at === highest || at.startsWith(`${highest}${path.sep}`); at = path.dirname(at)) {
    try {
      await rmdir(at);
    } catch (thrown) {
      const errno = errnoOf(thrown);
      if (errno === "ENOTEMPTY" || errno === "EEXIST" || errno === "ENOENT") return;
      throw thrown;
    }
  }
}

export async function listOrNull(dir: string): Promise<string[] | null> {
  try {
    return await readdir(dir);
  } catch (thrown) {
    if (errnoOf(thrown) === "ENOENT" || errnoOf(thrown) === "ENOTDIR") return null;
    throw thrown;
  }
}
