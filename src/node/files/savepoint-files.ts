/**
 * Savepoints in directories of the file system.
 *
 * Invariants: a file was written and synced whole before it got its name, and the folder of the name is synced; no name leads out of the directory.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import type { SavepointFiles } from "../../env/savepoint-files.js";
import { makeDirectory } from "./make-directory.js";
import { syncDirectory, writeDurably } from "./write-durably.js";

const DIRECTORY_MODE = 0o700;

export function createSavepointFiles(): SavepointFiles {
  return {
    create: async (parent, name) => {
      const directory = path.join(parent, name);
      await onDisk(directory, () => makeDirectory(directory, DIRECTORY_MODE));
      return directory;
    },
    write: (directory, name, bytes) => onDisk(directory, () => write(pathOf(directory, name), bytes)),
    read: async (directory, name) => {
      const file = pathOf(directory, name);
      try {
        return await readFile(file);
      } catch (thrown) {
        const { code } = thrown as NodeJS.ErrnoException;
        if (code === "ENOENT" || code === "ENOTDIR") throw new CodedError("NOT_FOUND", `there is no ${file}`);
        throw diskFailed(directory, thrown);
      }
    },
  };
}

async function write(file: string, bytes: Uint8Array): Promise<void> {
  const folder = path.dirname(file);
  await makeDirectory(folder, DIRECTORY_MODE);
  const temporary = path.join(folder, `.part-${randomBytes(8).toString("hex")}`);
  await writeDurably(file, temporary, bytes);
  await syncDirectory(path.dirname(folder));
}

function pathOf(directory: string, name: string): string {
  if (!/^[a-z0-9.-]+(\/[a-z0-9.-]+)*$/.test(name) || name.split("/").includes(".."))
    throw new CodedError("INVALID_ARGUMENT", `${JSON.stringify(name.slice(0, 80))} is not the name of a file of a savepoint`);
  return path.join(directory, name);
}

async function onDisk<T>(directory: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    throw thrown instanceof CodedError ? thrown : diskFailed(directory, thrown);
  }
}

function diskFailed(directory: string, thrown: unknown): CodedError {
  return new CodedError("DISK_FAILED", `the savepoint ${directory} failed: ${(thrown as Error).message}`, {
    cause: thrown,
    hint: "Check that this user may write there, and that the disk has space.",
  });
}
