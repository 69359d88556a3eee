/** What the tests of sources share: temporary directories, and reading a source through its interface. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";
import { createSource } from "../../../src/connectors/index.js";
import type { BadRecord, SourceConnector, SourceDescriptor } from "../../../src/dataflow/connector.js";

export const signal = new AbortController().signal;

/** Removed when the test ends. */
export function temporaryDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "holdfast-connectors-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function writeFile(dir: string, name: string, content: string | Uint8Array): string {
  const file = path.join(dir, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}

export interface ReadOptions {
  readonly parallelism?: number;
  readonly limit?: number;
  /** After so many records of each split the reader is closed and a new one opened at its position. */
  readonly resumeAfter?: number;
}

export interface ReadResult<T> {
  readonly records: T[];
  readonly bad: BadRecord[];
  readonly splits: number;
}

export async function readDescriptor(descriptor: SourceDescriptor, options: ReadOptions = {}): Promise<ReadResult<unknown>> {
  return readAll(createSource(descriptor), options);
}

/** The records of all splits, in the order of the splits. */
export async function readAll<T>(source: SourceConnector<T>, options: ReadOptions = {}): Promise<ReadResult<T>> {
  const { splits } = await source.enumerate({ parallelism: options.parallelism ?? 1, signal });
  const records: T[] = [];
  const bad: BadRecord[] = [];
  const limit = options.limit ?? 100;
  const out = new Array<T>(limit);
  for (const split of splits) {
    let reader = await source.open(split, null, { signal, onBadRecord: (one) => bad.push(one) });
    try {
      let given = 0;
      for (;;) {
        const asked = options.resumeAfter === undefined ? limit : Math.min(limit, options.resumeAfter - given || limit);
        const count = await reader.next(out, asked);
        if (count === 0) break;
        for (let i = 0; i < count; i++) records.push(out[i] as T);
        given += count;
        if (given !== options.resumeAfter) continue;
        const position = JSON.parse(JSON.stringify(reader.position()));
        await reader.close();
        reader = await source.open(split, position, { signal, onBadRecord: (one) => bad.push(one) });
        given = Number.NaN;
      }
      if ((await reader.next(out, limit)) !== 0) throw new Error("a reader went on after its end");
    } finally {
      await reader.close();
    }
  }
  return { records, bad, splits: splits.length };
}
