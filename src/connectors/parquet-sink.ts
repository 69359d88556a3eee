/**
 * Parquet files: rows are gathered into columns and written as row groups, so memory is bounded by one of them.
 *
 * The columns of a file are given, or inferred from its first row group. The inference gives equal types to all parts of an output as far
 * as it can: every number is a double, whether or not the first ones are integers.
 */
import type { SchemaElement } from "hyparquet";
import type { Writer } from "hyparquet-writer/src/types.js";
import { CodedError } from "../base/errors.js";
import type { ParquetSinkDescriptor, ParquetType, SinkConnector } from "../dataflow/connector.js";
import { type FileFormat, fileSink, type PartsAppear, type RecordEncoder } from "./file-sink.js";
import { converterOf, inferTypes } from "./parquet-types.js";
import type { StagedFile } from "./staged-file.js";

const ROW_GROUP_ROWS = 100_000;

export function parquetSink(descriptor: ParquetSinkDescriptor, baseDir: string, parts?: PartsAppear): SinkConnector<unknown> {
  const rows = descriptor.rowGroupRows ?? ROW_GROUP_ROWS;
  if (!Number.isSafeInteger(rows) || rows < 1)
    throw new CodedError("INVALID_ARGUMENT", `rowGroupRows is a positive integer, not ${rows}`);
  const format: FileFormat = {
    extensions: ["parquet"],
    // Loaded with the first file, so that programs which never see Parquet do not pay for it.
    encode: async (file) => new ParquetEncoder(file, descriptor.schema ?? null, rows, await import("hyparquet-writer")),
  };
  return fileSink(format, { ...descriptor, baseDir, parts });
}

type Library = typeof import("hyparquet-writer");

interface OutputColumn {
  readonly name: string;
  readonly type: ParquetType;
  readonly convert: (value: unknown) => unknown;
  values: unknown[];
}

class ParquetEncoder implements RecordEncoder {
  private readonly file: StagedFile;
  private readonly library: Library;
  private readonly rowGroupRows: number;
  private readonly schema: Readonly<Record<string, ParquetType>> | null;
  /** Rows that wait for the columns to be inferred. */
  private waiting: Readonly<Record<string, unknown>>[] = [];
  private columns: OutputColumn[] | null = null;
  private rows = 0;
  private writer: Library["ParquetWriter"]["prototype"] | null = null;

  constructor(file: StagedFile, schema: Readonly<Record<string, ParquetType>> | null, rowGroupRows: number, library: Library) {
    this.file = file;
    this.schema = schema;
    this.rowGroupRows = rowGroupRows;
    this.library = library;
    if (schema !== null) this.begin(Object.entries(schema));
  }

  write(records: readonly unknown[], count: number): void | Promise<void> {
    let at = 0;
    while (at < count) {
      const taken = Math.min(count - at, this.rowGroupRows - this.rows);
      for (let i = at; i < at + taken; i++) this.add(asObject(records[i]));
      at += taken;
      if (this.rows < this.rowGroupRows) continue;
      const flushed = this.flush();
      if (flushed instanceof Promise) return flushed.then(() => this.write(records.slice(at, count), count - at));
    }
  }

  async finish(): Promise<void> {
    await this.flush();
    if (this.columns === null) this.begin([]);
    await this.writer?.finish();
  }

  private add(record: Readonly<Record<string, unknown>>): void {
    this.rows++;
    if (this.columns === null) {
      this.waiting.push(record);
      return;
    }
    if (this.schema === null) this.refuseNewColumns(record, this.columns);
    for (const column of this.columns) column.values.push(this.valueOf(column, record));
  }

  private valueOf(column: OutputColumn, record: Readonly<Record<string, unknown>>): unknown {
    const value = record[column.name];
    if (value === null || value === undefined) return null;
    const converted = column.convert(value);
    if (converted !== undefined) return converted;
    const shown = typeof value === "bigint" ? `${value}n` : String(JSON.stringify(value)).slice(0, 100);
    throw new CodedError(
      "SINK_FAILED",
      `cannot write ${this.file.final}: ${shown} in column ${column.name} is not of type ${column.type}`,
      {
        hint:
          this.schema === null
            ? "The type was inferred from the first rows: give the sink a schema."
            : "Correct the schema of the sink, or the value.",
      },
    );
  }

  private refuseNewColumns(record: Readonly<Record<string, unknown>>, columns: readonly OutputColumn[]): void {
    for (const key of Object.keys(record)) {
      if (columns.some((column) => column.name === key)) continue;
      throw new CodedError(
        "SINK_FAILED",
        `cannot write ${this.file.final}: a record has the field ${key}, which the first rows did not have`,
        {
          hint: "Give the sink a schema.",
        },
      );
    }
  }

  private begin(types: readonly (readonly [string, ParquetType])[]): void {
    this.columns = types.map(([name, type]) => ({ name, type, convert: converterOf(type), values: [] }));
    const schema: SchemaElement[] = [
      { name: "root", num_children: types.length },
      ...types.map(([name, type]) => elementOf(name, type)),
    ];
    this.writer = new this.library.ParquetWriter({ writer: stagedWriter(this.library, this.file), schema });
  }

  /** Writes the gathered rows as one row group. */
  private flush(): void | Promise<void> {
    if (this.rows === 0) return;
    if (this.columns === null) {
      const { waiting } = this;
      this.waiting = [];
      this.begin([...inferTypes(waiting, this.file.final)]);
      this.rows = 0;
      for (const record of waiting) this.add(record);
    }
    const columnData = (this.columns ?? []).map(({ name, values }) => ({ name, data: values }));
    const rowGroupSize = this.rows;
    for (const column of this.columns ?? []) column.values = [];
    this.rows = 0;
    return this.writer?.write({ columnData, rowGroupSize });
  }
}

/** hyparquet's buffer, emptied into the staged file after every row group. */
function stagedWriter(library: Library, file: StagedFile): Writer {
  const buffer = new library.ByteWriter();
  const writer: Writer & { index: number } = buffer;
  const flush = (): void | Promise<void> => {
    const bytes = new Uint8Array(writer.buffer.slice(0, writer.index));
    writer.index = 0;
    return file.appendBytes(bytes);
  };
  writer.flush = flush;
  writer.finish = flush;
  return writer;
}

function elementOf(name: string, type: ParquetType): SchemaElement {
  const optional = { name, repetition_type: "OPTIONAL" } as const;
  switch (type) {
    case "boolean":
      return { ...optional, type: "BOOLEAN" };
    case "int32":
      return { ...optional, type: "INT32" };
    case "int64":
      return { ...optional, type: "INT64" };
    case "float":
      return { ...optional, type: "FLOAT" };
    case "double":
      return { ...optional, type: "DOUBLE" };
    case "string":
      return { ...optional, type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } };
    case "json":
      return { ...optional, type: "BYTE_ARRAY", converted_type: "JSON" };
    case "timestamp":
      return {
        ...optional,
        type: "INT64",
        converted_type: "TIMESTAMP_MILLIS",
        logical_type: { type: "TIMESTAMP", isAdjustedToUTC: true, unit: "MILLIS" },
      };
    case "date":
      return { ...optional, type: "INT32", converted_type: "DATE" };
    case "bytes":
      return { ...optional, type: "BYTE_ARRAY" };
  }
}

function asObject(record: unknown): Readonly<Record<string, unknown>> {
  if (typeof record === "object" && record !== null && !Array.isArray(record)) return record as Readonly<Record<string, unknown>>;
  return { value: record };
}
