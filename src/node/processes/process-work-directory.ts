/**
 * The work directory of a worker: whose it is, and what it keeps beside its processes.
 *
 *   worker.lock   "PID START_TICKS BOOT_ID" of the living worker process
 *   worker.json   the worker's identity, always IDENTITY_BYTES long, overwritten in place (one sector: whole or old, also on a full disk)
 *   artifacts/    job bundles by sha-256
 *   masters       addresses of masters for drivers, one a line, the likeliest last; no credentials
 *
 * Invariants: one living worker per directory; its id is minted once and never changes; a bundle under its name was verified.
 */
import { createHash, randomBytes } from "node:crypto";
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import type { WorkerFiles } from "../../host/worker/worker-host.js";
import { makeDirectory } from "../files/make-directory.js";
import { replaceFile } from "../files/replace-file.js";
import { bootId, isAlive, readStat } from "./proc.js";

const IDENTITY_BYTES = 512;

export interface WorkDirectory extends WorkerFiles {
  readonly path: string;
  close(): Promise<void>;
}

/** Makes the directory when it is missing. Rejects with CONFLICT (another worker lives on it; named by its pid) or DISK_FAILED. */
export async function openWorkDirectory(directory: string): Promise<WorkDirectory> {
  try {
    await makeDirectory(path.join(directory, "artifacts"), 0o700);
    lock(directory);
  } catch (thrown) {
    throw diskError(directory, thrown);
  }
  try {
    const identity = await readIdentity(directory);
    return {
      path: directory,
      identity,
      saveIdentity: (json) => saveIdentity(directory, json),
      artifactPath: (sha256) => artifactPath(directory, sha256),
      keepArtifact: (sha256, bytes) => keepArtifact(directory, sha256, bytes),
      dropArtifact: (sha256) => rm(artifactFile(directory, sha256), { force: true }),
      keptArtifacts: () => keptArtifacts(directory),
      mastersPath: path.resolve(directory, "masters"),
      saveMasters: (addresses) => saveMasters(directory, addresses),
      close: async () => unlock(directory),
    };
  } catch (thrown) {
    unlock(directory);
    throw diskError(directory, thrown);
  }
}

function ownIdentity(): string {
  return `${process.pid} ${readStat(process.pid)?.startTicks ?? 0} ${bootId()}\n`;
}

/** A lock is taken by linking a complete file to its name, so there is no moment at which it is empty. */
function lock(directory: string): void {
  const file = path.join(directory, "worker.lock");
  const mine = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(mine, ownIdentity(), { mode: 0o600 });
  try {
    for (;;) {
      try {
        linkSync(mine, file);
        return;
      } catch (thrown) {
        if (!(thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST")) throw thrown;
      }
      breakStaleLock(directory, file, `${mine}.stale`);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function breakStaleLock(directory: string, file: string, aside: string): void {
  const seen = readOrUndefined(file);
  if (seen === undefined) return;
  const [pid = "", startTicks = "", boot = ""] = seen.trim().split(" ");
  if (boot === bootId() && isAlive({ pid: Number(pid), startTicks: Number(startTicks) })) {
    throw new CodedError("CONFLICT", `another worker, process ${pid}, lives on the work directory ${directory}`, {
      hint: "Give each worker a --work-dir of its own, or end the other one first.",
    });
  }
  // Of two that find it stale one moves it away; the other one may then move away the lock of the first, sees that, and puts it back.
  renameSync(file, aside);
  if (readOrUndefined(aside) === seen) rmSync(aside, { force: true });
  else renameSync(aside, file);
}

function unlock(directory: string): void {
  const file = path.join(directory, "worker.lock");
  if (readOrUndefined(file) === ownIdentity()) rmSync(file, { force: true });
}

async function readIdentity(directory: string): Promise<WorkerFiles["identity"]> {
  const file = path.join(directory, "worker.json");
  const text = readOrUndefined(file);
  if (text === undefined) {
    const identity = { workerId: `worker-${randomBytes(5).toString("hex")}`, incarnation: 1, highestEpoch: 0 };
    const fresh = await open(`${file}.new`, "w", 0o600);
    try {
      await fresh.writeFile(padded(new TextEncoder().encode(JSON.stringify(identity))));
      await fresh.sync();
    } finally {
      await fresh.close();
    }
    await rename(`${file}.new`, file);
    return identity;
  }
  try {
    const { workerId, incarnation, highestEpoch, clusterId } = JSON.parse(text) as WorkerFiles["identity"];
    if (typeof workerId === "string" && Number.isInteger(incarnation) && Number.isInteger(highestEpoch))
      return { workerId, incarnation, highestEpoch, ...(typeof clusterId === "string" ? { clusterId } : {}) };
  } catch {
    // Named below.
  }
  throw new CodedError("DISK_FAILED", `${file} is damaged: it does not hold the identity of a worker`, {
    hint: "Restore it, or give the worker another --work-dir; what the old one left running is stopped when the file is removed.",
  });
}

async function saveIdentity(directory: string, json: Uint8Array): Promise<void> {
  const file = await open(path.join(directory, "worker.json"), "r+").catch((thrown) => {
    throw diskError(directory, thrown);
  });
  try {
    await file.write(padded(json), 0, IDENTITY_BYTES, 0);
    await file.datasync();
  } catch (thrown) {
    throw diskError(directory, thrown);
  } finally {
    await file.close();
  }
}

function padded(json: Uint8Array): Uint8Array {
  if (json.length >= IDENTITY_BYTES) throw new CodedError("INTERNAL", `invariant broken: an identity of ${json.length} bytes`);
  const bytes = new Uint8Array(IDENTITY_BYTES).fill(0x20);
  bytes.set(json);
  bytes[IDENTITY_BYTES - 1] = 0x0a;
  return bytes;
}

function artifactFile(directory: string, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new CodedError("INVALID_ARGUMENT", "not a sha-256");
  return path.join(directory, "artifacts", `${sha256}.mjs`);
}

async function artifactPath(directory: string, sha256: string): Promise<string | null> {
  const file = artifactFile(directory, sha256);
  const bytes = await readFile(file).catch(() => undefined);
  return bytes !== undefined && createHash("sha256").update(bytes).digest("hex") === sha256 ? path.resolve(file) : null;
}

/** What was being written when its worker died counts as kept: `SHA-256.mjs.SUFFIX` is removed at once. */
async function keptArtifacts(directory: string): Promise<readonly string[]> {
  const folder = path.join(directory, "artifacts");
  const kept: string[] = [];
  for (const name of await readdir(folder)) {
    const match = /^([0-9a-f]{64})\.mjs(\.[0-9a-f]+)?$/.exec(name);
    if (match?.[1] === undefined) continue;
    if (match[2] === undefined) kept.push(match[1]);
    else await rm(path.join(folder, name), { force: true });
  }
  return kept;
}

async function keepArtifact(directory: string, sha256: string, bytes: Uint8Array): Promise<string> {
  const file = artifactFile(directory, sha256);
  const temporary = `${file}.${randomBytes(4).toString("hex")}`;
  try {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(temporary, bytes, { mode: 0o600 });
    await rename(temporary, file);
    return path.resolve(file);
  } catch (thrown) {
    rmSync(temporary, { force: true });
    throw diskError(directory, thrown);
  }
}

/** Readers of a file of addresses take the last line for the newest (host/master-url.ts). */
function saveMasters(directory: string, addresses: readonly string[]): Promise<void> {
  const lines = [...addresses].reverse().map((address) => `${address}\n`);
  return replaceFile(path.join(directory, "masters"), lines.join(""));
}

function readOrUndefined(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function diskError(directory: string, thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const error = CodedError.from(thrown, "DISK_FAILED");
  return new CodedError("DISK_FAILED", `cannot use the work directory ${directory}: ${error.message}`, {
    cause: thrown,
    hint: "Check that it exists, that this user may write there, and that the disk has space.",
  });
}
