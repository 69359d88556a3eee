/**
 * Records as rows: JSON that PostgreSQL itself takes apart by the types of the table's columns (`json_populate_recordset`). One parameter holds a batch of any
 * size, and every type that can be written as text fits.
 */
import { CodedError } from "../base/errors.js";

/** Rows of one statement, at most ... */
export const BATCH_ROWS = 1_000;
/** ... or so many characters: what a writer holds in memory. */
export const BATCH_CHARS = 1_000_000;

/** Date as ISO text, bigint and numbers that are none in JSON as text, bytes as hex; nested values as JSON (for json columns and arrays). */
export function columnValue(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`;
  if (typeof value !== "object" || value === null) return value ?? null;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? String(value) : value.toISOString();
  if (Array.isArray(value)) return value.map(columnValue);
  return Object.fromEntries(Object.entries(value).map(([key, nested]) => [key, columnValue(nested)]));
}

/** Throws SINK_FAILED when the record is no object. Fields without a column are left out. */
export function rowText(record: unknown, columns: readonly string[], table: string): string {
  if (typeof record !== "object" || record === null) {
    throw new CodedError(
      "SINK_FAILED",
      `The sink to ${table} was given a ${record === null ? "null" : typeof record}: a row is an object.`,
      {
        hint: "Map the records to objects whose fields are the columns.",
      },
    );
  }
  const fields = record as Readonly<Record<string, unknown>>;
  const row: Record<string, unknown> = {};
  for (const column of columns) row[column] = columnValue(fields[column]);
  return JSON.stringify(row);
}

/** Rows that wait to be written. */
export class RowBatch {
  private texts: string[] = [];
  private chars = 0;

  get rows(): number {
    return this.texts.length;
  }

  get isFull(): boolean {
    return this.texts.length >= BATCH_ROWS || this.chars >= BATCH_CHARS;
  }

  add(text: string): void {
    this.texts.push(text);
    this.chars += text.length;
  }

  /** A JSON array; the batch is empty then. */
  take(): string {
    const text = `[${this.texts.join(",")}]`;
    this.texts = [];
    this.chars = 0;
    return text;
  }
}
