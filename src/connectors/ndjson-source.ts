/**
 * JSON values, one a line. Flat objects of a shape seen before are read by a generated scanner, everything else by JSON.parse.
 *
 * Position: `[offset of the next line, 0]`. Records are fresh objects; equal short strings may be one string.
 */
import { CodedError } from "../base/errors.js";
import type { NdjsonSourceDescriptor, SourceConnector } from "../dataflow/connector.js";
import type { BadRecords } from "./bad-records.js";
import { type JsonScanner, makeScanner, type ScanState } from "./json-scanner.js";
import { type JsonShape, shapeOf, widen } from "./json-shape.js";
import { type LineParser, type LinePosition, lineSource } from "./line-source.js";

export function ndjsonSource(descriptor: NdjsonSourceDescriptor, baseDir: string): SourceConnector<unknown> {
  const fields = descriptor.fields ?? null;
  if (fields?.includes("__proto__") === true)
    throw new CodedError("INVALID_ARGUMENT", 'a source can\'t keep the field "__proto__"');
  return lineSource<unknown>({
    path: descriptor.path,
    baseDir,
    onError: descriptor.onError ?? "fail",
    maxLineBytes: descriptor.maxLineBytes,
    splitBytes: descriptor.splitBytes,
    splittable: true,
    makeParser: ({ bad, position }) =>
      new NdjsonParser(bad, new JsonLineReader(fields === null ? null : [...new Set(fields)]), position),
  });
}

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;

class NdjsonParser implements LineParser<unknown> {
  private readonly bad: BadRecords;
  private readonly reader: JsonLineReader;
  private readonly state: ScanState = { at: 0, count: 0 };
  private buffer: Buffer = Buffer.alloc(0);
  private end = 0;
  /** Offset in the file of `buffer[0]`. */
  private base: number;

  constructor(bad: BadRecords, reader: JsonLineReader, position: LinePosition) {
    this.bad = bad;
    this.reader = reader;
    this.base = position[0];
  }

  chunk(buffer: Buffer, start: number, end: number, offset: number): void {
    this.buffer = buffer;
    this.state.at = start;
    this.end = end;
    this.base = offset - start;
  }

  parse(out: unknown[], limit: number): number {
    const { state, buffer, end } = this;
    state.count = 0;
    while (state.at < end && state.count < limit) {
      this.reader.scan(buffer, end, out, limit, state);
      if (state.at < end && state.count < limit) this.line(out);
    }
    return state.count;
  }

  finish(): number {
    return 0;
  }

  oversized(): void {
    // Lines do not depend on each other.
  }

  position(): LinePosition {
    return [this.base + this.state.at, 0];
  }

  /** The line at `state.at`, which no scanner knows. */
  private line(out: unknown[]): void {
    const { state, buffer } = this;
    const start = state.at;
    const feed = buffer.indexOf(LF, start);
    state.at = feed + 1;
    if (isBlank(buffer, start, feed)) return;
    const text = buffer.toString("utf8", start, feed);
    try {
      out[state.count] = this.reader.read(text);
      state.count++;
    } catch (thrown) {
      this.bad.report(this.base + start, text, reasonOf(thrown));
    }
  }
}

function isBlank(buffer: Buffer, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = buffer[i];
    if (byte !== CR && byte !== SPACE && byte !== TAB) return false;
  }
  return true;
}

/** V8 repeats the text in its message; the bad record has it already. */
function reasonOf(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return `not JSON: ${message.replace(/, (\.\.\.)?".*$/s, "").replace(/ \(line 1 column \d+\)$/, "")}`;
}

/** Lines to learn from before the first scanner is made: their types are then mostly known. */
const LEARNING_LINES = 64;
/** Shapes that get a scanner at once; beyond that input is too mixed to gain. */
const MAX_SCANNERS = 4;
/** Scanners made in all, so that input that changes all the time does not keep the compiler busy. */
const MAX_MAKES = 16;

interface Learned {
  readonly shape: JsonShape;
  /** Lines of this shape (with types not known before) seen since its scanner was last made. */
  readonly seen: number;
  readonly scanner: JsonScanner | null;
}

/** Chooses between scanners and JSON.parse, and learns from what JSON.parse had to read. */
export class JsonLineReader {
  private readonly fields: readonly string[] | null;
  private readonly learned = new Map<string, Learned>();
  private scanners: JsonScanner[] = [];
  private makesLeft = MAX_MAKES;

  constructor(fields: readonly string[] | null) {
    this.fields = fields;
  }

  /** Lets scanners read on from `state.at` as far as they can. */
  scan(bytes: Buffer, end: number, out: unknown[], limit: number, state: ScanState): void {
    const scanners = this.scanners;
    for (let i = 0; i < scanners.length && state.at < end && state.count < limit; i++) {
      const before = state.at;
      scanners[i]?.(bytes, end, out, limit, state);
      // After a line that another scanner could read, the first one, which reads most lines, goes on.
      if (i > 0 && state.at > before) i = -1;
    }
  }

  /** Throws what JSON.parse throws. */
  read(text: string): unknown {
    const value: unknown = JSON.parse(text);
    if (this.makesLeft > 0) this.learn(text, value);
    return this.fields === null ? value : project(value, this.fields);
  }

  private learn(text: string, value: unknown): void {
    const shape = shapeOf(text, value);
    if (shape === null) return;
    const known = this.learned.get(shape.signature);
    if (known === undefined && this.learned.size >= MAX_SCANNERS) return;
    const merged = known === undefined ? shape : widen(known.shape, shape);
    const news =
      known === undefined || known.scanner === null || merged.fields.some((f, i) => f.types !== known.shape.fields[i]?.types);
    // A line whose types are known was refused for its values (an escape, an exponent): there is nothing to learn from it.
    if (!news) return;
    const seen = (known?.seen ?? 0) + 1;
    const make = seen >= LEARNING_LINES || known?.scanner != null;
    const scanner = make ? makeScanner(merged, this.fields) : (known?.scanner ?? null);
    if (make) this.makesLeft--;
    this.learned.set(shape.signature, { shape: merged, seen, scanner });
    if (make) this.scanners = [...this.learned.values()].flatMap((one) => (one.scanner === null ? [] : [one.scanner]));
  }
}

/** The kept fields in the order in which they were asked for, as the scanner gives them. */
function project(value: unknown, fields: readonly string[]): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const source = value as Readonly<Record<string, unknown>>;
  const kept: Record<string, unknown> = {};
  for (const field of fields) if (Object.hasOwn(source, field)) kept[field] = source[field];
  return kept;
}
