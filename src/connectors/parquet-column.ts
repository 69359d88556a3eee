/**
 * Decodes the pages of one flat column of one row group, without a call per value.
 *
 * Boundary: the bytes of a column chunk in, a whole column out; page headers are parsed by hyparquet. An encoding that is not read here
 * gives null, and hyparquet reads the column instead. Corrupt pages throw.
 *
 * Invariant: the column has exactly the rows that the metadata of the row group names.
 */
import type { CompressionCodec, PageHeader, SchemaElement } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { decompress } from "./parquet-codecs.js";
import { isNumeric, readPlainValues, type ValueKind } from "./parquet-values.js";

/** A column ready to be read by row: either codes into a dictionary (whose last entry may stand for null), or values. */
export type Column =
  | { readonly kind: "coded"; readonly codes: Int32Array; readonly dictionary: readonly unknown[] }
  | { readonly kind: "values"; readonly values: readonly unknown[] | Float64Array };

export interface FlatColumn {
  readonly element: SchemaElement;
  readonly valueKind: ValueKind;
  readonly codec: CompressionCodec;
  readonly rows: number;
}

/** Wider codes do not fit the arithmetic below; they would need a dictionary of 16 million entries. */
const MAX_CODE_BITS = 24;

interface DataPage {
  readonly bytes: Buffer;
  readonly encoding: string;
  /** Rows of this page, and where its values start. */
  readonly rows: number;
  readonly at: number;
  /** A byte a row, 0 for null; null: there are no nulls. */
  readonly present: Uint8Array | null;
}

export function decodeColumn(chunk: Buffer, column: FlatColumn): Column | null {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
  const reader = { view, offset: 0 };
  const builder = new ColumnBuilder(column);
  while (builder.filled < column.rows) {
    if (reader.offset >= chunk.length) throw new Error("the column has fewer values than rows");
    const header = parquetHeader(reader);
    const body = chunk.subarray(reader.offset, reader.offset + header.compressed_page_size);
    if (body.length < header.compressed_page_size) throw new Error("the column ends within a page");
    reader.offset += header.compressed_page_size;
    if (header.type === "DICTIONARY_PAGE") {
      builder.dictionaryPage(header, decompress(column.codec, body, header.uncompressed_page_size));
      continue;
    }
    const page =
      header.type === "DATA_PAGE"
        ? pageV1(header, body, column)
        : header.type === "DATA_PAGE_V2"
          ? pageV2(header, body, column)
          : null;
    if (page === null || !builder.dataPage(page)) return null;
  }
  return builder.finish();
}

function pageV1(header: PageHeader, body: Buffer, column: FlatColumn): DataPage | null {
  const facts = header.data_page_header;
  if (facts === undefined) throw new Error("a data page lacks its header");
  const bytes = decompress(column.codec, body, header.uncompressed_page_size);
  const rows = facts.num_values;
  if (column.element.repetition_type === "REQUIRED") return { bytes, encoding: facts.encoding, rows, at: 0, present: null };
  if (facts.definition_level_encoding !== "RLE" || bytes.length < 4) return null;
  const levelsEnd = 4 + bytes.readUInt32LE(0);
  return { bytes, encoding: facts.encoding, rows, at: levelsEnd, present: presentRows(bytes, 4, levelsEnd, rows) };
}

function pageV2(header: PageHeader, body: Buffer, column: FlatColumn): DataPage | null {
  const facts = header.data_page_header_v2;
  if (facts === undefined) throw new Error("a data page lacks its header");
  const levelsEnd = facts.repetition_levels_byte_length + facts.definition_levels_byte_length;
  const packed = body.subarray(levelsEnd);
  const codec = facts.is_compressed === false ? "UNCOMPRESSED" : column.codec;
  const bytes = decompress(codec, packed, header.uncompressed_page_size - levelsEnd);
  const rows = facts.num_values;
  const present = facts.num_nulls === 0 ? null : presentRows(body, facts.repetition_levels_byte_length, levelsEnd, rows);
  return { bytes, encoding: facts.encoding, rows, at: 0, present };
}

/** Definition levels of a flat column are 0 (null) and 1. Null when all are 1, which one run usually says. */
function presentRows(bytes: Buffer, start: number, end: number, rows: number): Uint8Array | null {
  const levels = new Uint8Array(rows);
  readHybrid(bytes, start, end, 1, levels, 0, rows);
  return levels.includes(0) ? levels : null;
}

class ColumnBuilder {
  filled = 0;
  private readonly column: FlatColumn;
  private dictionary: unknown[] | null = null;
  /** In use until the first page that is not coded. */
  private codes: Int32Array | null;
  private hasNullCode = false;
  private values: unknown[] | Float64Array | null = null;

  constructor(column: FlatColumn) {
    this.column = column;
    this.codes = new Int32Array(column.rows);
  }

  dictionaryPage(header: PageHeader, bytes: Buffer): void {
    const count = header.dictionary_page_header?.num_values ?? 0;
    const dictionary = new Array<unknown>(count);
    readPlainValues(this.column.valueKind, this.column.element.scale ?? 0, bytes, 0, dictionary, 0, count);
    this.dictionary = dictionary;
  }

  /** False: an encoding that is not known here. */
  dataPage(page: DataPage): boolean {
    if (this.filled + page.rows > this.column.rows) throw new Error("the column has more values than rows");
    if (page.encoding === "RLE_DICTIONARY" || page.encoding === "PLAIN_DICTIONARY") {
      if (!this.codedPage(page)) return false;
    } else if (page.encoding === "PLAIN" || (page.encoding === "RLE" && this.column.valueKind === "boolean")) this.plainPage(page);
    else return false;
    this.filled += page.rows;
    return true;
  }

  finish(): Column {
    if (this.values !== null || this.codes === null) return { kind: "values", values: this.values ?? [] };
    const dictionary = this.dictionary ?? [];
    if (this.hasNullCode) dictionary.push(null);
    return { kind: "coded", codes: this.codes, dictionary };
  }

  private codedPage(page: DataPage): boolean {
    const dictionary = this.dictionary;
    if (dictionary === null) throw new Error("a page refers to a dictionary that is not there");
    const nullCode = dictionary.length;
    const count = presentCount(page);
    const bits = count === 0 ? 0 : (page.bytes[page.at] ?? 0);
    if (bits > MAX_CODE_BITS) return false;
    const target = this.codes ?? new Int32Array(page.rows);
    const from = this.codes === null ? 0 : this.filled;
    if (bits === 0) target.fill(0, from, from + count);
    else readHybrid(page.bytes, page.at + 1, page.bytes.length, bits, target, from, count);
    for (let i = from; i < from + count; i++) if ((target[i] ?? 0) >= nullCode) throw new Error("a value is not in the dictionary");
    if (page.present !== null) {
      spread(target, from, page.present, count, nullCode);
      this.hasNullCode = true;
    }
    if (this.codes !== null) return true;
    const values = this.asArray();
    for (let i = 0; i < page.rows; i++) values[this.filled + i] = dictionary[target[i] ?? 0] ?? null;
    return true;
  }

  private plainPage(page: DataPage): void {
    const count = presentCount(page);
    this.leaveCodes(page.present === null);
    const values = page.present === null ? (this.values ?? this.asArray()) : this.asArray();
    if (page.encoding === "RLE") {
      const bits = new Uint8Array(count);
      readHybrid(page.bytes, page.at + 4, page.bytes.length, 1, bits, 0, count);
      for (let i = 0; i < count; i++) values[this.filled + i] = bits[i] !== 0;
    } else readPlainValues(this.column.valueKind, this.column.element.scale ?? 0, page.bytes, page.at, values, this.filled, count);
    if (page.present !== null) spread(values, this.filled, page.present, count, null);
  }

  /** From codes to values, with what was filled so far. */
  private leaveCodes(withoutNulls: boolean): void {
    if (this.codes === null) return;
    const dictionary = this.dictionary ?? [];
    const numbers = withoutNulls && !this.hasNullCode && isNumeric(this.column.valueKind);
    const values: unknown[] | Float64Array = numbers ? new Float64Array(this.column.rows) : new Array<unknown>(this.column.rows);
    for (let i = 0; i < this.filled; i++) (values as unknown[])[i] = dictionary[this.codes[i] ?? 0] ?? null;
    this.values = values;
    this.codes = null;
  }

  private asArray(): unknown[] {
    if (Array.isArray(this.values)) return this.values;
    const array: unknown[] = this.values === null ? new Array<unknown>(this.column.rows) : Array.from(this.values);
    this.values = array;
    return array;
  }
}

function presentCount(page: DataPage): number {
  if (page.present === null) return page.rows;
  let count = 0;
  for (const level of page.present) count += level;
  return count;
}

/** Moves the `count` values at `target[from ..]` to the rows where they belong, from the back so that none is overwritten unread. */
function spread<T>(target: { [index: number]: T }, from: number, present: Uint8Array, count: number, none: T): void {
  let next = from + count - 1;
  for (let row = present.length - 1; row >= 0; row--) {
    if (present[row] === 0) target[from + row] = none;
    else {
      const value = target[next--];
      if (value !== undefined) target[from + row] = value;
    }
  }
}

/** Parquet's mix of runs and bit-packed groups of eight. Throws when `count` values are not there. */
export function readHybrid(
  bytes: Buffer,
  start: number,
  end: number,
  bits: number,
  out: Int32Array | Uint8Array,
  from: number,
  count: number,
): void {
  const mask = (1 << bits) - 1;
  const until = from + count;
  const limit = Math.min(end, bytes.length);
  let at = start;
  let next = from;
  while (next < until) {
    let header = 0;
    let shift = 0;
    let byte = 0;
    do {
      if (at >= limit || shift > 28) throw new Error("a page ends within its levels or codes");
      byte = bytes[at++] ?? 0;
      header |= (byte & 127) << shift;
      shift += 7;
    } while (byte >= 128);
    if ((header & 1) === 0) {
      const run = Math.min(header >>> 1, until - next);
      let value = 0;
      for (let i = 0; i < bits; i += 8) value |= (bytes[at++] ?? 0) << i;
      if (at > limit) throw new Error("a page ends within its levels or codes");
      out.fill(value, next, next + run);
      next += run;
      continue;
    }
    const packedEnd = at + (header >>> 1) * bits;
    const stop = Math.min(until, next + (header >>> 1) * 8);
    // The last group may be cut short by writers that leave out its padding.
    if (at + Math.ceil(((stop - next) * bits) / 8) > limit) throw new Error("a page ends within its levels or codes");
    let pending = 0;
    let pendingBits = 0;
    while (next < stop) {
      while (pendingBits < bits) {
        pending |= (bytes[at++] ?? 0) << pendingBits;
        pendingBits += 8;
      }
      out[next++] = pending & mask;
      pending >>>= bits;
      pendingBits -= bits;
    }
    at = packedEnd;
  }
}
