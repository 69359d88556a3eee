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

/** Knows one place and its line, and moves on from there: a file full of bad records is counted once, not once for each. */
export class LineNumbers {
  private readonly path: string;
  /** Unpacked bytes can't be read again, so chunks are counted as they go by. */
  private readonly countsAsItGoes: boolean;
  private at = 0;
  private line: number | null;
  private chunk: { readonly buffer: Buffer; readonly start: number; readonly end: number; readonly offset: number } | null = null;
  /** Where the present chunk (or oversized line) ends, when chunks are counted. */
  private lineAtEnd: number | null;

  constructor(path: string, startsAt: number) {
    this.path = path;
    this.countsAsItGoes = path.endsWith(".gz");
    this.line = this.countsAsItGoes && startsAt > 0 ? null : 1;
    this.lineAtEnd = this.line;
  }

  /** A chunk is in use from now on. */
  pass(buffer: Buffer, start: number, end: number, offset: number): void {
    this.chunk = { buffer, start, end, offset };
    if (this.countsAsItGoes) this.moveTo(offset, countLines(buffer, start, end));
  }

  /** An oversized line stands at `offset`; no chunk holds it. */
  passOversized(offset: number): void {
    this.chunk = null;
    if (this.countsAsItGoes) this.moveTo(offset, 1);
  }

  /** Offsets only grow from call to call. Null: not known, or not without reading more than `recountBytes` again. */
  lineAt(offset: number, recountBytes: number): number | null {
    const { chunk } = this;
    // A CSV row may have begun before the present chunk.
    const chunkOffset = chunk === null || offset < chunk.offset ? offset : chunk.offset;
    if (this.at < chunkOffset) this.recount(chunkOffset, recountBytes);
    if (this.line === null || offset < this.at) return null;
    if (chunk === null || offset === this.at) return this.line;
    const base = chunk.start - chunk.offset;
    this.line += countLines(chunk.buffer, base + this.at, Math.min(chunk.end, base + offset));
    this.at = offset;
    return this.line;
  }

  private moveTo(offset: number, lines: number): void {
    this.at = offset;
    this.line = this.lineAtEnd;
    this.lineAtEnd = this.line === null ? null : this.line + lines;
  }

  /** Moves `at` and `line` on to `offset`. */
  private recount(offset: number, recountBytes: number): void {
    if (this.line === null) return;
    if (this.countsAsItGoes || offset - this.at > recountBytes) {
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
      // The file has become shorter.
      if (this.at < offset) this.line = null;
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
