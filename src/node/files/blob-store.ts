/**
 * Blobs as files named by their sha-256.
 *
 * Invariants:
 *   1. A file under a blob's name was written and synced whole before it got that name; the folder is synced before `put` resolves, also when the file was
 *      there already (whoever put it there may have died before it synced), and the folders above it before the first blob.
 *   2. No name comes from outside: it is a checked sha-256.
 *   3. Bytes are checked against their name whenever they are read.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile, rm, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import type { BlobHandle, BlobStore } from "../../env/blob-store.js";
import { makeDirectory } from "./make-directory.js";
import { syncDirectory, writeDurably } from "./write-durably.js";

export const DEFAULT_MAX_BLOB_BYTES = 256 * 1024 * 1024;
const TEMPORARY = ".part-";
/** Temporary files older than this belong to a process that died while it wrote. */
const ABANDONED_MS = 60 * 60 * 1000;

/** Makes the directory when it is missing. Rejects with DISK_FAILED. */
export async function createFileBlobStore(directory: string, options: { readonly maxBlobBytes?: number } = {}): Promise<BlobStore> {
  const maxBlobBytes = options.maxBlobBytes ?? DEFAULT_MAX_BLOB_BYTES;
  await onDisk(directory, () => makeDirectory(directory, 0o700));
  // A folder that was just made is durable when the one above it is synced. `state/APPLICATION` is two of them.
  for (const above of [path.dirname(directory), path.dirname(path.dirname(directory))])
    await onDisk(directory, () => syncAbove(above));
  await removeAbandoned(directory);
  return {
    put: (bytes) => put(directory, bytes, maxBlobBytes),
    has: async (sha256) => {
      const file = pathOf(directory, sha256);
      return stat(file).then(
        (status) => status.isFile(),
        () => false,
      );
    },
    get: (sha256) => readBlob(directory, sha256),
  };
}

async function put(directory: string, bytes: Uint8Array, maxBlobBytes: number): Promise<string> {
  if (bytes.length > maxBlobBytes)
    throw new CodedError("LIMIT_EXCEEDED", `a blob of ${bytes.length} bytes is larger than the limit of ${maxBlobBytes}`);
  const sha256 = hash(bytes);
  // What is there already is read, so that a damaged file is replaced rather than trusted.
  const known = await readBlob(directory, sha256).then(
    () => true,
    () => false,
  );
  if (known) {
    await onDisk(directory, () => syncDirectory(directory));
    return sha256;
  }
  const temporary = path.join(directory, `${TEMPORARY}${sha256.slice(0, 16)}-${randomBytes(8).toString("hex")}`);
  await onDisk(directory, () => writeDurably(pathOf(directory, sha256), temporary, bytes));
  return sha256;
}

/** Rejects with NOT_FOUND, ARTIFACT_CORRUPT, DISK_FAILED. */
export async function readBlob(directory: string, sha256: string): Promise<Uint8Array> {
  const file = pathOf(directory, sha256);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT")
      throw new CodedError("NOT_FOUND", `there is no blob ${sha256} in ${directory}`);
    throw diskFailed(directory, thrown);
  }
  if (hash(bytes) !== sha256) {
    throw new CodedError("ARTIFACT_CORRUPT", `the blob ${sha256} in ${directory} has other bytes than its name says`, {
      hint: "Check the disk; putting the blob again repairs it.",
    });
  }
  return bytes;
}

/** What has the name of a blob; one that is being removed may be missing. Rejects with DISK_FAILED. */
export async function listBlobs(directory: string): Promise<readonly BlobHandle[]> {
  const names = (await onDisk(directory, () => readdir(directory))).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const found: BlobHandle[] = [];
  for (const sha256 of names) {
    const status = await stat(path.join(directory, sha256)).catch(() => null);
    if (status?.isFile() === true) found.push({ sha256, sizeBytes: status.size });
  }
  return found;
}

/** Whatever somebody has begun to put there. Harmless when the directory is not there. Rejects with DISK_FAILED. */
export async function removeUnfinished(directory: string): Promise<void> {
  const names = await readdir(directory).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code === "ENOENT") return [];
    throw diskFailed(directory, thrown);
  });
  for (const name of names)
    if (name.startsWith(TEMPORARY)) await onDisk(directory, () => rm(path.join(directory, name), { force: true }));
}

/** Harmless when it is not there. Rejects with DISK_FAILED. */
export async function removeBlob(directory: string, sha256: string): Promise<void> {
  await onDisk(directory, () => rm(pathOf(directory, sha256), { force: true }));
}

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function pathOf(directory: string, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw new CodedError("INVALID_ARGUMENT", `${JSON.stringify(sha256.slice(0, 80))} is not a sha-256`);
  return path.join(directory, sha256);
}

/** One that may not even be read was made by somebody else, long ago. */
async function syncAbove(directory: string): Promise<void> {
  await syncDirectory(directory).catch((thrown: NodeJS.ErrnoException) => {
    if (thrown.code !== "EACCES" && thrown.code !== "EPERM" && thrown.code !== "EINVAL" && thrown.code !== "ENOTSUP") throw thrown;
  });
}

async function removeAbandoned(directory: string): Promise<void> {
  for (const name of await onDisk(directory, () => readdir(directory))) {
    if (!name.startsWith(TEMPORARY)) continue;
    const file = path.join(directory, name);
    const status = await stat(file).catch(() => null);
    if (status !== null && Date.now() - status.mtimeMs > ABANDONED_MS) await unlink(file).catch(() => {});
  }
}

async function onDisk<T>(directory: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    throw diskFailed(directory, thrown);
  }
}

function diskFailed(directory: string, thrown: unknown): CodedError {
  return new CodedError("DISK_FAILED", `the blob store ${directory} failed: ${(thrown as Error).message}`, {
    cause: thrown,
    hint: "Check that this user may write there, and that the disk has space.",
  });
}
