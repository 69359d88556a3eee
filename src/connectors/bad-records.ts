/**
 * What to do with a record that can't be read, and on which line it stands. Boundary: one object per reader of one file.
 *
 * Line numbers are counted only when a bad record asks for them: a plain file is read again up to that place (each part once, and no
 * more than a bound), an unpacked one is counted as it goes by.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { CodedError } from "../base/errors.js";
import type { BadRecord, OnError } from "../dataflow/connector.js";

export const BAD_TEXT_CHARS = 200;
/** What a reader may read again for one line number: about 30 ms; when the job fails anyway, about half a second. */
const RECOUNT_BYTES = 64 * 1024 * 1024;
const RECOUNT_FAILING_BYTES = 1024 * 1024 * 1024;
const RECOUNT_CHUNK_BYTES = 1024 * 1024;
const LF = 10;

export class BadRecords {
  private readonly path: string;
  private readonly onError: OnError;
  private readonly tell: (bad: BadRecord) => void;
  private readonly lines: LineNumbers;

  constructor(path: string, onError: OnError, lines: LineNumbers, tell: (bad: BadRecord) => void) {
    this.path = path;
    this.onError = onError;
    this.lines = lines;
    this.tell = tell;
  }

  /** Throws BAD_RECORD with `onError` `fail`. */
  report(byteOffset: number, rawText: string, reason: string): void {
    const failing = this.onError === "fail";
    const line = this.lines.lineAt(byteOffset, failing ? RECOUNT_FAILING_BYTES : RECOUNT_BYTES);
    const text = rawText.length > BAD_TEXT_CHARS ? rawText.slice(0, BAD_TEXT_CHARS) : rawText;
    const bad: BadRecord = { source: this.path, line, byteOffset, text, reason };
    if (!failing) {
      this.tell(bad);
      return;
    }
    const place = line === null ? `byte ${byteOffset} of ${this.path}` : `line ${line} of ${this.path}`;
    throw new CodedError("BAD_RECORD", `cannot read the record at ${place}: ${reason}`, {
      details: { ...bad },
      hint: 'Repair the input, or give the source onError: "skip" or "side".',
    });
  }
}

export class LineNumbers {
  private readonly path: string;
  /** Unpacked bytes can't be read again. */
  private readonly countsAsItGoes: boolean;
  private at = 0;
  private line: number | null;
  private chunk: { readonly buffer: Buffer; readonly start: number; readonly end: number; readonly offset: number } | null = null;
  private chunkLines = 0;

  constructor(path: string, startsAt: number) {
    this.path = path;
    this.countsAsItGoes = path.endsWith(".gz");
    this.line = this.countsAsItGoes && startsAt > 0 ? null : 1;
  }

  /** A chunk is in use from now on. */
  pass(buffer: Buffer, start: number, end: number, offset: number): void {
    this.chunk = { buffer, start, end, offset };
    if (!this.countsAsItGoes) return;
    if (this.line !== null) this.line += this.chunkLines;
    this.chunkLines = countLines(buffer, start, end);
    this.at = offset;
  }

  /** An oversized line stands at `offset`; no chunk holds it. */
  passOversized(offset: number): void {
    this.chunk = null;
    if (!this.countsAsItGoes) return;
    if (this.line !== null) this.line += this.chunkLines;
    this.chunkLines = 1;
    this.at = offset;
  }

  lineAt(offset: number, recountBytes: number): number | null {
    const { chunk } = this;
    // A CSV row may have begun before the present chunk. What is unpacked can't be looked at again.
    const before = chunk === null || offset < chunk.offset;
    if (this.countsAsItGoes && chunk !== null && before) return null;
    if (!this.countsAsItGoes) this.recount(before ? offset : chunk.offset, recountBytes);
    if (this.line === null || before) return this.line;
    return this.line + countLines(chunk.buffer, chunk.start, Math.min(chunk.end, chunk.start + offset - chunk.offset));
  }

  /** Moves `at` and `line` on to `offset`. */
  private recount(offset: number, recountBytes: number): void {
    if (this.line === null || offset === this.at) return;
    if (offset < this.at || offset - this.at > recountBytes) {
      this.line = null;
      return;
    }
    const buffer = Buffer.allocUnsafe(RECOUNT_CHUNK_BYTES);
    let file: number | null = null;
    try {
      file = openSync(this.path, "r");
      while (this.at < offset) {
        const count = readSync(file, buffer, 0, Math.min(buffer.length, offset - this.at), this.at);
        if (count === 0) break;
        this.line += countLines(buffer, 0, count);
        this.at += count;
      }
    } catch {
      // The line number is a courtesy: the byte offset is told in any case.
      this.line = null;
    } finally {
      if (file !== null) closeSync(file);
    }
  }
}

export function countLines(buffer: Buffer, start: number, end: number): number {
  const bytes = buffer.subarray(0, end);
  let count = 0;
  for (let at = bytes.indexOf(LF, start); at >= 0; at = bytes.indexOf(LF, at + 1)) count++;
  return count;
}
