/**
 * One Parquet file: its metadata, and row groups as columns.
 *
 * Boundary: flat columns in common encodings are decoded here (`parquet-column.ts`), all others by hyparquet, column by column.
 * Memory: the needed columns of one row group at a time.
 */
import { type FileHandle, open } from "node:fs/promises";
import {
  type AsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type RowGroup,
  type SchemaTree,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { CodedError } from "../base/errors.js";
import { errnoOf, sourceFailed } from "./io-errors.js";
import { type Column, decodeColumn } from "./parquet-column.js";
import { kindOf, smaller } from "./parquet-values.js";

export interface ParquetFile {
  readonly path: string;
  readonly metadata: FileMetaData;
  /** Top-level columns in the order of the file. */
  readonly columns: readonly SchemaTree[];
}

export async function readParquetFile(path: string): Promise<ParquetFile> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(path, "r");
    const { size } = await handle.stat();
    const metadata = await parquetMetadataAsync(asyncBuffer(handle, size));
    return { path, metadata, columns: parquetSchema(metadata).children };
  } catch (thrown) {
    if (errnoOf(thrown) !== null || thrown instanceof CodedError) throw sourceFailed(path, thrown);
    const cause = thrown instanceof Error ? thrown.message : String(thrown);
    throw new CodedError("SOURCE_FAILED", `cannot read ${path}: it is not a Parquet file (${cause})`, {
      cause: thrown,
      details: { path },
    });
  } finally {
    await handle?.close().catch(() => undefined);
  }
}

/** The columns to read, in the order in which they were asked for. SOURCE_FAILED names one that the file does not have. */
export function chooseColumns(file: ParquetFile, fields: readonly string[] | null): readonly SchemaTree[] {
  if (fields === null) return file.columns;
  return fields.map((field) => {
    const column = file.columns.find((one) => one.element.name === field);
    if (column !== undefined) return column;
    const names = file.columns.map((one) => one.element.name).join(", ");
    throw new CodedError("SOURCE_FAILED", `cannot read ${file.path}: it has no column ${field}`, {
      details: { path: file.path, field },
      hint: `Its columns are ${names}.`,
    });
  });
}

/** Reads whole columns of one row group through an open file. */
export class RowGroupColumns {
  private readonly file: ParquetFile;
  private readonly handle: FileHandle;
  private readonly group: RowGroup;
  private readonly groupIndex: number;
  readonly rows: number;

  constructor(file: ParquetFile, handle: FileHandle, groupIndex: number) {
    const group = file.metadata.row_groups[groupIndex];
    if (group === undefined) throw new CodedError("SOURCE_FAILED", `cannot read ${file.path}: it has no row group ${groupIndex}`);
    this.file = file;
    this.handle = handle;
    this.group = group;
    this.groupIndex = groupIndex;
    this.rows = Number(group.num_rows);
  }

  async column(tree: SchemaTree): Promise<Column> {
    try {
      return (await this.flat(tree)) ?? (await this.byHyparquet(tree.element.name));
    } catch (thrown) {
      throw sourceFailed(`row group ${this.groupIndex}, column ${tree.element.name} of ${this.file.path}`, thrown);
    }
  }

  private async flat(tree: SchemaTree): Promise<Column | null> {
    const { element } = tree;
    const valueKind = tree.children.length > 0 || element.repetition_type === "REPEATED" ? null : kindOf(element);
    const facts = this.group.columns.find((one) => one.meta_data?.path_in_schema[0] === element.name)?.meta_data;
    if (valueKind === null || facts === undefined) return null;
    const pages = Number(facts.data_page_offset);
    const dictionary = Number(facts.dictionary_page_offset ?? 0);
    // Some writers put 0 or an offset behind the pages where there is no dictionary.
    const start = dictionary > 0 && dictionary < pages ? dictionary : pages;
    const chunk = await readBytes(this.handle, start, Number(facts.total_compressed_size));
    return decodeColumn(chunk, { element, valueKind, codec: facts.codec, rows: this.rows });
  }

  private async byHyparquet(name: string): Promise<Column> {
    let rowStart = 0;
    for (let i = 0; i < this.groupIndex; i++) rowStart += Number(this.file.metadata.row_groups[i]?.num_rows ?? 0);
    const { size } = await this.handle.stat();
    const rows = await parquetReadObjects({
      file: asyncBuffer(this.handle, size),
      metadata: this.file.metadata,
      compressors,
      columns: [name],
      rowStart,
      rowEnd: rowStart + this.rows,
    });
    return { kind: "values", values: rows.map((row) => normal(row[name])) };
  }
}

async function readBytes(handle: FileHandle, start: number, sizeBytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(sizeBytes);
  let have = 0;
  while (have < sizeBytes) {
    const { bytesRead } = await handle.read(buffer, have, sizeBytes - have, start + have);
    if (bytesRead === 0) throw new Error("the file ends within the column");
    have += bytesRead;
  }
  return buffer;
}

function asyncBuffer(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      const bytes = await readBytes(handle, start, end - start);
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
    },
  };
}

/** hyparquet's values in the terms of this source: null for what is missing, numbers for bigints where they are safe. */
function normal(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return smaller(value);
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, normal(inner)]));
}
