/**
 * Logs of processes: reading by offset, bounding the size of each, removing those of forgotten processes.
 *
 * A running process writes straight into its file, so the file cannot be renamed away under it. When it has grown past its limit, the last half
 * is kept where it is and all before it becomes a hole without disk blocks: offsets stay what they were, and the writer (who appends) notices
 * nothing. What is written in the microseconds of the cut may be lost.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { open, readdir, rm, stat } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import type { LogRead } from "../../env/launcher.js";
import { readText, writeWhole } from "./process-folder.js";

export const LOG_STREAMS = ["stdout", "stderr"] as const;
export type LogStream = (typeof LOG_STREAMS)[number];

const COPY_BYTES = 1024 * 1024;
/** The kept part begins at a line, if one begins within so many bytes. */
const LINE_SEARCH_BYTES = 64 * 1024;

export async function readLogFile(folder: string, stream: LogStream, offset: number, limitBytes: number): Promise<LogRead> {
  const file = await open(path.join(folder, stream), "r").catch((cause: unknown) => {
    throw new CodedError("NOT_FOUND", `there is no log ${stream} of ${path.basename(folder)} on this worker`, { cause });
  });
  try {
    const sizeBytes = (await file.stat()).size;
    const from = Math.max(offset, cutOffset(folder, stream));
    const wanted = Math.max(0, Math.min(limitBytes, sizeBytes - from));
    const bytes = new Uint8Array(wanted);
    const { bytesRead } = wanted === 0 ? { bytesRead: 0 } : await file.read(bytes, 0, wanted, from);
    return { bytes: bytes.subarray(0, bytesRead), sizeBytes, ...(from > offset ? { offset: from } : {}) };
  } finally {
    await file.close();
  }
}

/** Everything before it was removed. */
function cutOffset(folder: string, stream: LogStream): number {
  return Number(readText(folder, `${stream}.cut`) ?? 0) || 0;
}

/** Keeps the last half of a log that is larger than `maxBytes` (disk use, not offsets). Synchronous, so that little is written meanwhile. */
export function boundLog(folder: string, stream: LogStream, maxBytes: number): void {
  const fd = openSync(path.join(folder, stream), "r+");
  try {
    const sizeBytes = fstatSync(fd).size;
    if (sizeBytes - cutOffset(folder, stream) <= maxBytes) return;
    const from = lineStart(fd, sizeBytes - Math.floor(maxBytes / 2));
    writeWhole(path.join(folder, `${stream}.cut`), String(from));
    const kept = readRange(fd, from, sizeBytes);
    const endBytes = fstatSync(fd).size;
    kept.push(...readRange(fd, sizeBytes, endBytes));
    ftruncateSync(fd, 0);
    ftruncateSync(fd, endBytes);
    let at = from;
    for (const part of kept) at += writeSync(fd, part, 0, part.length, at);
  } finally {
    closeSync(fd);
  }
}

function lineStart(fd: number, from: number): number {
  const bytes = Buffer.alloc(LINE_SEARCH_BYTES);
  const newline = bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, from)).indexOf(10);
  return newline < 0 ? from : from + newline + 1;
}

function readRange(fd: number, from: number, to: number): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = from; at < to; ) {
    const part = Buffer.alloc(Math.min(COPY_BYTES, to - at));
    const length = readSync(fd, part, 0, part.length, at);
    if (length === 0) break;
    parts.push(part.subarray(0, length));
    at += length;
  }
  return parts;
}

export interface Retention {
  /** Folders of forgotten processes are removed after this time, and the oldest first when all together are larger than `maxBytes`. */
  readonly maxAgeMs: number;
  readonly maxBytes: number;
}

export async function removeOldFolders(processesDirectory: string, retention: Retention, wallNow: number): Promise<void> {
  const forgotten: { readonly folder: string; readonly at: number; readonly sizeBytes: number }[] = [];
  for (const name of await readdir(processesDirectory)) {
    const folder = path.join(processesDirectory, name);
    const mark = await stat(path.join(folder, "forgotten")).catch(() => undefined);
    if (mark !== undefined) forgotten.push({ folder, at: mark.mtimeMs, sizeBytes: await diskBytes(folder) });
  }
  forgotten.sort((a, b) => b.at - a.at);
  let sumBytes = 0;
  for (const { folder, at, sizeBytes } of forgotten) {
    sumBytes += sizeBytes;
    if (sumBytes > retention.maxBytes || wallNow - at > retention.maxAgeMs) await rm(folder, { recursive: true, force: true });
  }
}

async function diskBytes(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = await stat(path.join(entry.parentPath, entry.name)).catch(() => undefined);
    sum += (file?.blocks ?? 0) * 512;
  }
  return sum;
}
