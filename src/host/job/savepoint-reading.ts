/**
 * Reading a savepoint back: its description, and its files, each checked by size and sha-256.
 *
 * Boundary: whether a job fits it is decided by checkpoint/compatibility.ts. Commands read it before they submit, the driver when it begins.
 */
import { CodedError } from "../../base/errors.js";
import { utf8Decode } from "../../base/utf8.js";
import type { Digest } from "../../env/env.js";
import type { SavepointFiles } from "../../env/savepoint-files.js";
import { type SavepointDescription, type StateHandle, savepointDescription } from "../../wire/checkpoint.js";

export const DESCRIPTION_FILE = "savepoint.json";
export const fileOfState = (sha256: string): string => `state/${sha256}`;

export interface SavepointAccess {
  readonly files: SavepointFiles;
  readonly digest: Digest;
}

export interface ReadSavepoint {
  readonly description: SavepointDescription;
  /** Of its description. */
  readonly sha256: string;
}

/** Rejects with SAVEPOINT_UNREADABLE. `sha256`: what its description has to be; null: any. */
export async function readSavepoint(access: SavepointAccess, directory: string, sha256: string | null): Promise<ReadSavepoint> {
  const bytes = await read(access, directory, DESCRIPTION_FILE);
  const found = access.digest.sha256Hex(bytes);
  if (sha256 !== null && found !== sha256)
    throw unreadable(directory, DESCRIPTION_FILE, "is another one than was submitted: it was replaced, or it is damaged");
  const parsed = savepointDescription.safeParse(jsonOf(bytes));
  if (parsed.success) return { description: parsed.data, sha256: found };
  const issue = parsed.error.issues[0];
  throw unreadable(
    directory,
    DESCRIPTION_FILE,
    `is not valid at ${issue?.path.join(".") ?? "the top"}: ${issue?.message ?? "unknown"}`,
  );
}

/** Rejects with SAVEPOINT_UNREADABLE. */
export async function readSavepointFile(access: SavepointAccess, directory: string, handle: StateHandle): Promise<Uint8Array> {
  const name = fileOfState(handle.sha256);
  const bytes = await read(access, directory, name);
  if (bytes.length !== handle.sizeBytes)
    throw unreadable(directory, name, `has ${bytes.length} bytes, and ${handle.sizeBytes} were written`);
  if (access.digest.sha256Hex(bytes) !== handle.sha256) throw unreadable(directory, name, "has other bytes than its name says");
  return bytes;
}

/** All files that it names. Rejects with SAVEPOINT_UNREADABLE at the first that is not what it should be. */
export async function verifySavepoint(access: SavepointAccess, directory: string, savepoint: SavepointDescription): Promise<void> {
  for (const handle of handlesOf(savepoint)) await readSavepointFile(access, directory, handle);
}

/** Each once. */
export function handlesOf({ manifest }: Pick<SavepointDescription, "manifest">): StateHandle[] {
  const handles = manifest.slices.flatMap(({ states }) => Object.values(states).flat());
  return [...new Map(handles.map((handle) => [handle.sha256, handle])).values()];
}

async function read({ files }: SavepointAccess, directory: string, name: string): Promise<Uint8Array> {
  try {
    return await files.read(directory, name);
  } catch (thrown) {
    const error = CodedError.from(thrown);
    throw unreadable(directory, name, error.code === "NOT_FOUND" ? "is not there" : error.message, thrown);
  }
}

function unreadable(directory: string, name: string, why: string, cause?: unknown): CodedError {
  return new CodedError("SAVEPOINT_UNREADABLE", `The savepoint ${directory} can't be used: its file ${name} ${why}.`, {
    hint: "Copy it again from where it was made, with all its files.",
    details: { directory, file: name },
    cause,
  });
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8Decode(bytes) ?? "null");
  } catch {
    return null;
  }
}
