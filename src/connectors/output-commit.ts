/**
 * Makes staged files visible.
 *
 * Invariants:
 *   1. Each step may have been done before (a crash, another process): repeating a commit ends in the same state.
 *   2. A file is at its final name whole: it was synced before it was renamed, and its directory is synced after.
 *   3. `_SUCCESS` stands in a directory only when all the parts that it lists do, and no part that an earlier one listed besides.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { link, open, readFile, rename, stat, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { AttemptIdentity } from "../dataflow/connector.js";
import { errnoOf, sinkFailed } from "./io-errors.js";
import { makeAttemptDir, type OutputPlace } from "./output-place.js";
import type { StagedPart } from "./staged-file.js";

export const SUCCESS_FILE = "_SUCCESS";
const REPLACED_SUCCESS = "replaced-success";
/** What an earlier `_SUCCESS` may ask to remove. */
const PART_NAME = /^part-\d{5,}(-\d{6,})?\.[a-z]+$/;

/** What a subtask without records has to commit. Not null: also an output without any part is committed, and replaces an earlier one. */
export const NO_PART: JsonValue = { kind: "no-part" };

export function stagedParts(committables: readonly JsonValue[]): StagedPart[] {
  return committables.filter((one) => !isNoPart(one)).map(asStagedPart);
}

function isNoPart(value: JsonValue): boolean {
  return value === null || (typeof value === "object" && "kind" in value && value.kind === "no-part");
}

function asStagedPart(value: JsonValue): StagedPart {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const { temporary, final, sizeBytes, sha256, records } = value as { readonly [key: string]: JsonValue };
    if (typeof temporary === "string" && typeof final === "string" && typeof sizeBytes === "number" && typeof sha256 === "string") {
      return { temporary, final, sizeBytes, sha256, records: typeof records === "number" ? records : 0 };
    }
  }
  throw new CodedError("INTERNAL", `${JSON.stringify(value)} is not what a file sink asked to commit`);
}

/** `again`: what is neither staged nor visible was published before, and taken away since; see CommitSinkOptions. */
export async function publish(parts: readonly StagedPart[], replace: boolean, again = false): Promise<void> {
  const dirs = new Set<string>();
  // All conflicts are looked for before the first file appears.
  if (!replace) for (const part of parts) await refuseConflict(part);
  for (const part of parts) {
    await publishOne(part, replace, again);
    dirs.add(path.dirname(part.final));
  }
  for (const dir of dirs) await syncDir(dir);
}

async function publishOne(part: StagedPart, replace: boolean, again: boolean): Promise<void> {
  try {
    if (replace) await rename(part.temporary, part.final);
    else await publishBeside(part);
  } catch (thrown) {
    if (errnoOf(thrown) === "ENOENT" && ((await isPublished(part)) || (again && (await isTakenAway(part))))) return;
    throw sinkFailed(part.final, thrown, "commit");
  }
}

async function isTakenAway(part: StagedPart): Promise<boolean> {
  const isGone = (file: string): Promise<boolean> =>
    stat(file).then(
      () => false,
      (thrown: unknown) => errnoOf(thrown) === "ENOENT",
    );
  return (await isGone(part.temporary)) && (await isGone(part.final));
}

/** A hard link, unlike a rename, never replaces what stands there. */
async function publishBeside(part: StagedPart): Promise<void> {
  try {
    await link(part.temporary, part.final);
  } catch (thrown) {
    const errno = errnoOf(thrown);
    if (errno === "EPERM" || errno === "ENOTSUP" || errno === "EOPNOTSUPP") {
      // A file system without hard links: conflicts were looked for before, and only a race in between is missed.
      await rename(part.temporary, part.final);
      return;
    }
    if (errno !== "EEXIST" || !(await sameFile(part))) throw thrown;
  }
  await unlink(part.temporary);
}

/** Whether a `publish` without replacing failed because something stands there already. */
export function isConflict(thrown: unknown): boolean {
  return thrown instanceof CodedError && thrown.details?.errno === "EEXIST";
}

async function refuseConflict(part: StagedPart): Promise<void> {
  const exists = await stat(part.final).then(
    () => true,
    () => false,
  );
  if (!exists || (await sameFile(part)) || (await isPublished(part))) return;
  throw new CodedError("SINK_FAILED", `cannot commit ${part.final}: it exists already`, {
    details: { path: part.final, errno: "EEXIST" },
  });
}

/** Linked before a crash and not yet unlinked. */
async function sameFile(part: StagedPart): Promise<boolean> {
  const staged = await stat(part.temporary).catch(() => null);
  const final = await stat(part.final).catch(() => null);
  return staged !== null && final !== null && staged.ino === final.ino && staged.dev === final.dev;
}

/** The staged file is gone: was it this one that now stands at the final name? */
async function isPublished(part: StagedPart): Promise<boolean> {
  const staged = await stat(part.temporary).catch(() => null);
  const final = await stat(part.final).catch(() => null);
  if (staged !== null || final === null || final.size !== part.sizeBytes) return false;
  const digest = createHash("sha256");
  await pipeline(createReadStream(part.final), digest);
  return digest.digest("hex") === part.sha256;
}

/** Commits a directory of parts: publishes them, removes those that an earlier run listed and this one lacks, and lists the new ones. */
export async function publishDirectory(
  place: OutputPlace,
  parts: readonly StagedPart[],
  replace: boolean,
  identity: AttemptIdentity,
): Promise<void> {
  const staging = await makeAttemptDir(place, identity.applicationId, identity.attempt);
  const success = path.join(place.dir, SUCCESS_FILE);
  const replaced = path.join(staging, REPLACED_SUCCESS);
  const listed = parts.map(({ final, sizeBytes, sha256, records }) => ({ name: path.basename(final), sizeBytes, sha256, records }));
  const manifest = { holdfast: 1, applicationId: identity.applicationId, attempt: identity.attempt, parts: listed };
  try {
    const standing = await readManifest(success);
    if (standing !== null && standing.attempt === identity.attempt && standing.applicationId === identity.applicationId) return;
    // Moved away first: while parts are exchanged no `_SUCCESS` may say that all is well.
    if (standing !== null) await rename(success, replaced);
  } catch (thrown) {
    throw sinkFailed(success, thrown, "commit");
  }
  await publish(parts, replace);
  try {
    const kept = new Set(listed.map((part) => part.name));
    for (const name of (await readManifest(replaced))?.parts ?? []) {
      if (!kept.has(name) && PART_NAME.test(name)) await unlink(path.join(place.dir, name)).catch(ignoreMissing);
    }
    const staged = path.join(staging, `${SUCCESS_FILE}.tmp`);
    await writeFile(staged, `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
    await rename(staged, success);
    await syncDir(place.dir);
  } catch (thrown) {
    throw sinkFailed(success, thrown, "commit");
  }
}

interface Manifest {
  readonly applicationId: unknown;
  readonly attempt: unknown;
  readonly parts: readonly string[];
}

/** Null when there is none. One that was not written here (Spark's is empty) lists nothing. */
async function readManifest(file: string): Promise<Manifest | null> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (thrown) {
    if (errnoOf(thrown) === "ENOENT") return null;
    throw thrown;
  }
  try {
    const { holdfast, applicationId, attempt, parts } = JSON.parse(text) as { [key: string]: unknown };
    if (holdfast === 1 && Array.isArray(parts))
      return { applicationId, attempt, parts: parts.map((part: { name?: unknown }) => String(part.name)) };
  } catch {
    // Not JSON: somebody else's.
  }
  return { applicationId: null, attempt: null, parts: [] };
}

function ignoreMissing(thrown: unknown): void {
  if (errnoOf(thrown) !== "ENOENT") throw thrown;
}

/** A rename is durable once the directory is. File systems that can't sync a directory refuse, and need not. */
export async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync().catch((thrown: unknown) => {
      if (errnoOf(thrown) !== "EINVAL" && errnoOf(thrown) !== "ENOTSUP") throw thrown;
    });
  } finally {
    await handle.close();
  }
}
