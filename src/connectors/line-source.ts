/**
 * What text, NDJSON and CSV have in common: files cut into byte ranges, and readers that hand chunks of whole lines to a parser.
 *
 * Invariants:
 *   1. `next` is synchronous while a chunk lasts, and waits only for bytes.
 *   2. A position is `[offset, count]`: go to byte `offset`, which starts a line, and pass over `count` records or lines (the parser's unit).
 */
import { stat } from "node:fs/promises";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type {
  CancelSignal,
  EnumerateOptions,
  Enumeration,
  OnError,
  OpenSourceOptions,
  SourceConnector,
  SourceReader,
  Split,
} from "../dataflow/connector.js";
import { BadRecords, LineNumbers } from "./bad-records.js";
import { openBytes } from "./byte-source.js";
import { findInputFiles, type InputFile } from "./input-files.js";
import { sourceFailed } from "./io-errors.js";
import { firstByteOf, LineChunks, type LineRange, MAX_LINE_BYTES_DEFAULT } from "./line-chunks.js";

export type LinePosition = readonly [offset: number, count: number];

/** Turns chunks of whole lines into records. Throws what `bad.report` throws. */
export interface LineParser<T> {
  /** The chunk before is used up. The buffer stays valid until the next call. */
  chunk(buffer: Buffer, start: number, end: number, offset: number): void;
  /** Up to `limit` records of the present chunk; 0 when it is used up. */
  parse(out: T[], limit: number): number;
  /** A line was too long and left out before the next chunk. */
  oversized(): void;
  /** There are no more chunks: what was held back, as `parse`. */
  finish(out: T[], limit: number): number;
  position(): LinePosition;
}

export interface ParserContext {
  readonly path: string;
  readonly bad: BadRecords;
  readonly position: LinePosition;
  /** Whether this reader starts at the first byte of the file (a CSV header stands there). */
  readonly startsFile: boolean;
  readonly maxLineBytes: number;
  readonly signal: CancelSignal;
}

export interface LineFormat<T> {
  readonly path: string | readonly string[];
  readonly baseDir: string;
  readonly onError: OnError;
  readonly maxLineBytes: number | undefined;
  readonly splitBytes: number | undefined;
  /** False: every file is one split. */
  readonly splittable: boolean;
  readonly makeParser: (context: ParserContext) => LineParser<T> | Promise<LineParser<T>>;
}

const MAX_SPLIT_BYTES = 64 * 1024 * 1024;
const MIN_SPLIT_BYTES = 1024 * 1024;
/** A few splits for each subtask, so that a slow one does not hold up the others for long. */
const SPLITS_PER_SUBTASK = 4;

export function lineSource<T>(format: LineFormat<T>): SourceConnector<T> {
  return {
    bounded: true,
    enumerate: (options) => enumerateRanges(format, options),
    open: (split, position, options) => openRange(format, split, position, options),
  };
}

async function enumerateRanges<T>(format: LineFormat<T>, { parallelism, signal }: EnumerateOptions): Promise<Enumeration> {
  const files = await findInputFiles(format.path, format.baseDir, signal);
  let totalBytes = 0;
  for (const file of files) totalBytes += file.sizeBytes;
  const fair = Math.ceil(totalBytes / (Math.max(1, parallelism) * SPLITS_PER_SUBTASK));
  const splitBytes = format.splitBytes ?? Math.min(MAX_SPLIT_BYTES, Math.max(MIN_SPLIT_BYTES, fair));
  return { splits: files.flatMap((file) => rangesOf(file, splitBytes, format.splittable)), totalRecords: null, totalBytes };
}

function rangesOf(file: InputFile, splitBytes: number, splittable: boolean): Split[] {
  if (file.sizeBytes === 0) return [];
  const whole = !splittable || file.path.endsWith(".gz");
  const count = whole ? 1 : Math.max(1, Math.round(file.sizeBytes / splitBytes));
  const splits: Split[] = [];
  for (let i = 0; i < count; i++) {
    const start = Math.floor((file.sizeBytes * i) / count);
    const end = Math.floor((file.sizeBytes * (i + 1)) / count);
    splits.push({ id: `${file.path}:${start}-${end}`, sizeHint: end - start, path: file.path, start, end, whole });
  }
  return splits;
}

async function openRange<T>(
  format: LineFormat<T>,
  split: Split,
  position: JsonValue | null,
  options: OpenSourceOptions,
): Promise<SourceReader<T>> {
  const { path, start, end, whole } = split;
  if (typeof path !== "string" || typeof start !== "number" || typeof end !== "number") {
    throw new CodedError("INTERNAL", `the split ${split.id} is not a range of a file`);
  }
  await checkSize(path, end);
  const resume = positionOf(position, start);
  const maxLineBytes = format.maxLineBytes ?? MAX_LINE_BYTES_DEFAULT;
  const packed = whole === true && path.endsWith(".gz");
  const startsLine = position !== null || start === 0;
  const range: LineRange = { path, start: resume[0], end: packed ? Number.POSITIVE_INFINITY : end, startsLine, maxLineBytes };
  const lines = new LineNumbers(path, resume[0]);
  const bad = new BadRecords(path, format.onError, lines, options.onBadRecord);
  const startsFile = resume[0] === 0;
  const parser = await format.makeParser({ path, bad, position: resume, startsFile, maxLineBytes, signal: options.signal });
  const chunks = new LineChunks(await openBytes(path, firstByteOf(range)), range, options.signal);
  return new LineReader({ chunks, parser, bad, lines, initial: position, sizeHint: split.sizeHint });
}

function positionOf(position: JsonValue | null, start: number): LinePosition {
  if (position === null) return [start, 0];
  if (Array.isArray(position) && typeof position[0] === "number" && typeof position[1] === "number")
    return [position[0], position[1]];
  throw new CodedError("INTERNAL", `${JSON.stringify(position)} is not a position in a file of lines`);
}

/** A file that became shorter since it was enumerated would be read wrongly without a word. */
async function checkSize(path: string, end: number): Promise<void> {
  let sizeBytes: number;
  try {
    sizeBytes = (await stat(path)).size;
  } catch (thrown) {
    throw sourceFailed(path, thrown);
  }
  if (sizeBytes >= end) return;
  throw new CodedError("SOURCE_FAILED", `cannot read ${path}: it is shorter (${sizeBytes} bytes) than when the job started`, {
    details: { path },
  });
}

interface LineReaderParts<T> {
  readonly chunks: LineChunks;
  readonly parser: LineParser<T>;
  readonly bad: BadRecords;
  readonly lines: LineNumbers;
  readonly initial: JsonValue | null;
  readonly sizeHint: number;
}

class LineReader<T> implements SourceReader<T> {
  private readonly chunks: LineChunks;
  private readonly parser: LineParser<T>;
  private readonly bad: BadRecords;
  private readonly lines: LineNumbers;
  private readonly initial: JsonValue | null;
  private readonly sizeHint: number;
  /** Until then the place where this reader starts is not known to be the start of a line. */
  private sawLines = false;
  private ended = false;

  constructor({ chunks, parser, bad, lines, initial, sizeHint }: LineReaderParts<T>) {
    this.chunks = chunks;
    this.parser = parser;
    this.bad = bad;
    this.lines = lines;
    this.initial = initial;
    this.sizeHint = sizeHint;
  }

  next(out: T[], limit: number): number | Promise<number> {
    const count = this.ended ? this.parser.finish(out, limit) : this.parser.parse(out, limit);
    return count > 0 || this.ended ? count : this.nextChunk(out, limit);
  }

  position(): JsonValue {
    return this.sawLines ? this.parser.position() : this.initial;
  }

  progress(): number {
    // Bytes are read ahead, and past the end of the range to the end of its last line.
    return Math.min(this.sizeHint, this.chunks.consumedBytes());
  }

  close(): Promise<void> {
    this.ended = true;
    return this.chunks.close();
  }

  private async nextChunk(out: T[], limit: number): Promise<number> {
    for (;;) {
      const piece = await this.chunks.next();
      if (piece === null) {
        this.ended = true;
        return this.parser.finish(out, limit);
      }
      if (piece.kind === "lines") {
        this.sawLines = true;
        this.lines.pass(piece.buffer, piece.start, piece.end, piece.offset);
        this.parser.chunk(piece.buffer, piece.start, piece.end, piece.offset);
      } else {
        this.parser.oversized();
        this.lines.passOversized(piece.offset);
        this.bad.report(piece.offset, piece.head, "the line is longer than maxLineBytes");
      }
      const count = this.parser.parse(out, limit);
      if (count > 0) return count;
    }
  }
}
