/**
 * Rows of CSV files as objects. Position: `[offset of the next row, 0]`.
 *
 * Boundary: `csv-rows.ts` finds rows and fields; this knows columns and types. Each reader that does not start at the first byte of its
 * file reads the header for itself.
 */
import { CodedError } from "../base/errors.js";
import type { CsvSourceDescriptor, CsvType, SourceConnector } from "../dataflow/connector.js";
import { BAD_TEXT_CHARS, type BadRecords } from "./bad-records.js";
import { openBytes } from "./byte-source.js";
import { CsvRows } from "./csv-rows.js";
import { LineChunks } from "./line-chunks.js";
import { type LineParser, type LinePosition, lineSource, type ParserContext } from "./line-source.js";

type Row = Record<string, unknown>;

export function csvSource(descriptor: CsvSourceDescriptor, baseDir: string): SourceConnector<Row> {
  const delimiter = descriptor.delimiter ?? (isTabbed(descriptor.path) ? "\t" : ",");
  if (delimiter.length !== 1 || /["\r\n]/.test(delimiter)) {
    throw new CodedError("INVALID_ARGUMENT", `the delimiter of a CSV source is one character, not ${JSON.stringify(delimiter)}`);
  }
  if (descriptor.header === false && descriptor.columns === undefined) {
    throw new CodedError("INVALID_ARGUMENT", "a CSV source without a header needs the names of its columns");
  }
  const multiline = descriptor.multiline ?? true;
  return lineSource<Row>({
    path: descriptor.path,
    baseDir,
    onError: descriptor.onError ?? "fail",
    maxLineBytes: descriptor.maxLineBytes,
    splitBytes: descriptor.splitBytes,
    splittable: !multiline,
    makeParser: (context) => makeParser(descriptor, delimiter, multiline, context),
  });
}

function isTabbed(path: string | readonly string[]): boolean {
  return (typeof path === "string" ? [path] : path).every((one) => /\.tsv(\.gz)?$/i.test(one));
}

async function makeParser(
  descriptor: CsvSourceDescriptor,
  delimiter: string,
  multiline: boolean,
  context: ParserContext,
): Promise<CsvParser> {
  const rows = new CsvRows(delimiter, multiline, context.maxLineBytes, context.position[0]);
  const parser = new CsvParser(descriptor, rows, context);
  const hasHeader = descriptor.header ?? true;
  if (!hasHeader) parser.setColumns(descriptor.columns ?? []);
  else if (!context.startsFile) parser.setColumns(await readHeader(delimiter, multiline, context));
  return parser;
}

/** The first row of the file. */
async function readHeader(delimiter: string, multiline: boolean, { path, maxLineBytes, signal }: ParserContext): Promise<string[]> {
  const rows = new CsvRows(delimiter, multiline, maxLineBytes, 0);
  const range = { path, start: 0, end: Number.POSITIVE_INFINITY, startsLine: true, maxLineBytes };
  const chunks = new LineChunks(await openBytes(path, 0), range, signal);
  try {
    for (let piece = await chunks.next(); piece?.kind === "lines"; piece = await chunks.next()) {
      rows.chunk(piece.buffer, piece.start, piece.end, piece.offset);
      if (rows.next() === "row") return rows.cells.slice(0, rows.cellCount);
    }
  } finally {
    await chunks.close();
  }
  throw new CodedError("SOURCE_FAILED", `cannot read ${path}: its first row names no columns`, { details: { path } });
}

class CsvParser implements LineParser<Row> {
  private readonly descriptor: CsvSourceDescriptor;
  private readonly rows: CsvRows;
  private readonly path: string;
  private readonly bad: BadRecords;
  private columnCount = 0;
  private toRow: ((cells: readonly string[]) => Row) | null = null;

  constructor(descriptor: CsvSourceDescriptor, rows: CsvRows, context: ParserContext) {
    this.descriptor = descriptor;
    this.rows = rows;
    this.path = context.path;
    this.bad = context.bad;
  }

  /** The columns of the file by its header; names given in the descriptor replace them. */
  setColumns(header: readonly string[]): void {
    const columns = this.descriptor.columns ?? header;
    const { types = {}, fields } = this.descriptor;
    const failed = (why: string, hint: string): CodedError =>
      new CodedError("SOURCE_FAILED", `cannot read ${this.path}: ${why}`, { details: { path: this.path }, hint });
    if (columns.length !== header.length) {
      throw failed(`it has ${header.length} columns and ${columns.length} names were given`, `Its header is ${header.join(", ")}.`);
    }
    const twice = columns.find((column, i) => columns.indexOf(column) !== i);
    if (twice !== undefined) throw failed(`the column ${twice} comes twice`, "Give the source names for its columns.");
    for (const name of [...Object.keys(types), ...(fields ?? [])]) {
      if (!columns.includes(name)) throw failed(`it has no column ${name}`, `Its columns are ${columns.join(", ")}.`);
    }
    this.columnCount = columns.length;
    const kept = fields === undefined ? columns : [...new Set(fields)];
    this.rows.want(columns.map((column) => kept.includes(column)));
    this.toRow = makeRowBuilder(columns, kept, types);
  }

  chunk(buffer: Buffer, start: number, end: number, offset: number): void {
    this.rows.chunk(buffer, start, end, offset);
  }

  parse(out: Row[], limit: number): number {
    const { rows } = this;
    let count = 0;
    while (count < limit) {
      const kind = rows.next();
      if (kind === "none") break;
      if (kind === "bad") this.report(rows.reason);
      else if (this.toRow === null) this.setColumns(rows.cells.slice(0, rows.cellCount));
      else if (rows.cellCount !== this.columnCount)
        this.report(`the row has ${rows.cellCount} fields instead of ${this.columnCount}`);
      else {
        try {
          out[count] = this.toRow(rows.cells);
          count++;
        } catch (thrown) {
          if (!(thrown instanceof BadCell)) throw thrown;
          this.report(thrown.message);
        }
      }
    }
    return count;
  }

  finish(out: Row[], limit: number): number {
    this.rows.end();
    return this.parse(out, limit);
  }

  oversized(): void {
    this.rows.end();
  }

  position(): LinePosition {
    return [this.rows.offset(), 0];
  }

  private report(reason: string): void {
    this.bad.report(this.rows.rowOffset(), this.rows.rowText(BAD_TEXT_CHARS), reason);
  }
}

/** A field that is not of its column's type. */
class BadCell extends Error {}

/** Generated for the names of the columns: rows of one shape, made at once. Names become code as JSON strings only. */
function makeRowBuilder(
  columns: readonly string[],
  kept: readonly string[],
  types: Readonly<Record<string, CsvType>>,
): (cells: readonly string[]) => Row {
  const fields = kept.map((name) => {
    const cell = `cells[${columns.indexOf(name)}]`;
    const type = Object.hasOwn(types, name) ? types[name] : "string";
    const key = name === "__proto__" ? '["__proto__"]' : JSON.stringify(name);
    if (type === "string") return `${key}:${cell}`;
    return `${key}:${type === "number" ? "toNumber" : "toBoolean"}(${cell},${JSON.stringify(name)})`;
  });
  return new Function("toNumber", "toBoolean", `"use strict";return function toRow(cells){return {${fields.join(",")}};}`)(
    toNumber,
    toBoolean,
  );
}

function toNumber(cell: string, column: string): number | null {
  if (cell === "") return null;
  const number = Number(cell);
  // Number("  ") is 0, which nobody has written.
  if (Number.isNaN(number) || cell.trim() === "")
    throw new BadCell(`${JSON.stringify(cell.slice(0, 50))} in column ${column} is not a number`);
  return number;
}

function toBoolean(cell: string, column: string): boolean | null {
  switch (cell.toLowerCase()) {
    case "":
      return null;
    case "true":
    case "1":
    case "yes":
      return true;
    case "false":
    case "0":
    case "no":
      return false;
    default:
      throw new BadCell(`${JSON.stringify(cell.slice(0, 50))} in column ${column} is neither true nor false`);
  }
}
