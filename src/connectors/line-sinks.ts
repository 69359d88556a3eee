/** Sinks that write lines: NDJSON, text and CSV. Boundary: records to text; `file-sink.ts` does the rest. */
import { CodedError } from "../base/errors.js";
import type { CsvSinkDescriptor, NdjsonSinkDescriptor, SinkConnector, TextSinkDescriptor } from "../dataflow/connector.js";
import { type FileFormat, fileSink, type PartsAppear, type RecordEncoder } from "./file-sink.js";
import { jsonText } from "./json-text.js";
import type { StagedFile } from "./staged-file.js";

export function ndjsonSink(descriptor: NdjsonSinkDescriptor, baseDir: string, parts?: PartsAppear): SinkConnector<unknown> {
  return fileSink(lineFormat(["ndjson", "jsonl", "json"], jsonText), { ...descriptor, baseDir, parts });
}

export function textSink(descriptor: TextSinkDescriptor, baseDir: string, parts?: PartsAppear): SinkConnector<unknown> {
  return fileSink(lineFormat(["txt", "text", "log"], plainText), { ...descriptor, baseDir, parts });
}

export function csvSink(descriptor: CsvSinkDescriptor, baseDir: string, parts?: PartsAppear): SinkConnector<unknown> {
  const delimiter = descriptor.delimiter ?? (descriptor.path.toLowerCase().endsWith(".tsv") ? "\t" : ",");
  if (delimiter.length !== 1 || /["\r\n]/.test(delimiter)) {
    throw new CodedError("INVALID_ARGUMENT", `the delimiter of a CSV sink is one character, not ${JSON.stringify(delimiter)}`);
  }
  const format: FileFormat = {
    extensions: ["csv", "tsv"],
    encode: (file) => new CsvEncoder(file, descriptor.columns ?? null, delimiter, descriptor.header ?? true),
  };
  return fileSink(format, { ...descriptor, baseDir, parts });
}

export function plainText(record: unknown): string {
  return typeof record === "string" ? record : jsonText(record);
}

function lineFormat(extensions: readonly [string, ...string[]], toLine: (record: unknown) => string): FileFormat {
  return {
    extensions,
    encode: (file) => ({
      write(records, count) {
        // One concatenated text per batch: appending it line by line takes three times as long.
        let text = "";
        for (let i = 0; i < count; i++) text += `${toLine(records[i])}\n`;
        return file.appendText(text);
      },
      finish() {
        // Lines have no end mark.
      },
    }),
  };
}

class CsvEncoder implements RecordEncoder {
  private readonly file: StagedFile;
  private readonly delimiter: string;
  private readonly special: RegExp;
  private readonly given: boolean;
  private columns: readonly string[] | null;
  private headerDue: boolean;

  constructor(file: StagedFile, columns: readonly string[] | null, delimiter: string, header: boolean) {
    this.file = file;
    this.delimiter = delimiter;
    this.special = new RegExp(`["\\r\\n${delimiter.replace(/[\\\]^-]/, "\\$&")}]`);
    this.given = columns !== null;
    this.columns = columns;
    this.headerDue = header;
  }

  write(records: readonly unknown[], count: number): void | Promise<void> {
    let text = "";
    for (let i = 0; i < count; i++) {
      const record = asObject(records[i]);
      this.columns ??= Object.keys(record);
      if (this.headerDue) text += this.header(this.columns);
      text += this.row(record, this.columns);
    }
    return this.file.appendText(text);
  }

  finish(): void | Promise<void> {
    if (this.headerDue && this.columns !== null) return this.file.appendText(this.header(this.columns));
  }

  private header(columns: readonly string[]): string {
    this.headerDue = false;
    return `${columns.map((column) => this.cell(column)).join(this.delimiter)}\n`;
  }

  private row(record: Readonly<Record<string, unknown>>, columns: readonly string[]): string {
    if (!this.given) this.refuseNewColumns(record, columns);
    let text = "";
    for (let i = 0; i < columns.length; i++) text += (i === 0 ? "" : this.delimiter) + this.cell(record[columns[i] ?? ""]);
    // An empty line would be read as no row at all.
    return `${text === "" ? '""' : text}\n`;
  }

  private cell(value: unknown): string {
    if (value === null || value === undefined) return "";
    const text =
      typeof value === "string"
        ? value
        : value instanceof Date
          ? value.toISOString()
          : typeof value === "object"
            ? jsonText(value)
            : String(value);
    return this.special.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  /** A value without a column would be lost without a word. */
  private refuseNewColumns(record: Readonly<Record<string, unknown>>, columns: readonly string[]): void {
    const keys = Object.keys(record);
    if (keys.length <= columns.length && keys.every((key, i) => key === columns[i])) return;
    const extra = keys.find((key) => !columns.includes(key));
    if (extra === undefined) return;
    throw new CodedError(
      "SINK_FAILED",
      `cannot write ${this.file.final}: a record has the field ${extra}, which the first record did not have`,
      {
        hint: "Give the sink its columns.",
      },
    );
  }
}

function asObject(record: unknown): Readonly<Record<string, unknown>> {
  if (typeof record === "object" && record !== null && !Array.isArray(record)) return record as Readonly<Record<string, unknown>>;
  return { value: record };
}
