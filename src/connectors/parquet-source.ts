/**
 * Rows of Parquet files. Splits are row groups; a position is the number of rows given out of one.
 *
 * The libraries are loaded with the first file, so that programs which never see Parquet do not pay for them.
 */
import { type FileHandle, open } from "node:fs/promises";
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type {
  EnumerateOptions,
  Enumeration,
  OpenSourceOptions,
  ParquetSourceDescriptor,
  SourceConnector,
  SourceReader,
  Split,
} from "../dataflow/connector.js";
import { findInputFiles } from "./input-files.js";
import { sourceFailed } from "./io-errors.js";
import type { Column } from "./parquet-column.js";
import type { ParquetFile, RowGroupColumns } from "./parquet-file.js";
import { type RowBuilder, RowBuilders } from "./parquet-rows.js";

/** Files whose metadata is read at once while enumerating. */
const ENUMERATE_AT_ONCE = 8;
/** Files whose metadata a connector remembers between splits. */
const REMEMBERED_FILES = 16;

export function parquetSource(descriptor: ParquetSourceDescriptor, baseDir: string): SourceConnector<unknown> {
  return new ParquetSource(descriptor, baseDir);
}

class ParquetSource implements SourceConnector<unknown> {
  readonly bounded = true;
  private readonly descriptor: ParquetSourceDescriptor;
  private readonly baseDir: string;
  private readonly fields: readonly string[] | null;
  private readonly builders = new RowBuilders();
  private readonly remembered = new Map<string, Promise<ParquetFile>>();

  constructor(descriptor: ParquetSourceDescriptor, baseDir: string) {
    this.descriptor = descriptor;
    this.baseDir = baseDir;
    this.fields = descriptor.fields === undefined ? null : [...new Set(descriptor.fields)];
  }

  async enumerate({ signal }: EnumerateOptions): Promise<Enumeration> {
    const library = await import("./parquet-file.js");
    const paths = (await findInputFiles(this.descriptor.path, this.baseDir, signal)).filter((file) => file.sizeBytes > 0);
    const splits: Split[] = [];
    let totalRecords = 0;
    let totalBytes = 0;
    for (let i = 0; i < paths.length; i += ENUMERATE_AT_ONCE) {
      signal.throwIfAborted();
      const files = await Promise.all(paths.slice(i, i + ENUMERATE_AT_ONCE).map((file) => library.readParquetFile(file.path)));
      for (const file of files) {
        const names = new Set(library.chooseColumns(file, this.fields).map((column) => column.element.name));
        file.metadata.row_groups.forEach((group, index) => {
          const rows = Number(group.num_rows);
          totalRecords += rows;
          for (const column of group.columns) {
            if (names.has(column.meta_data?.path_in_schema[0] ?? ""))
              totalBytes += Number(column.meta_data?.total_compressed_size ?? 0);
          }
          if (rows > 0) splits.push({ id: `${file.path}#${index}`, sizeHint: rows, path: file.path, rowGroup: index, rows });
        });
      }
    }
    return { splits, totalRecords, totalBytes };
  }

  async open(split: Split, position: JsonValue | null, { signal }: OpenSourceOptions): Promise<SourceReader<unknown>> {
    const { path, rowGroup, rows } = split;
    if (typeof path !== "string" || typeof rowGroup !== "number")
      throw new CodedError("INTERNAL", `the split ${split.id} is not a row group`);
    const library = await import("./parquet-file.js");
    const file = await this.remember(path, library.readParquetFile);
    let handle: FileHandle;
    try {
      handle = await open(path, "r");
    } catch (thrown) {
      throw sourceFailed(path, thrown);
    }
    try {
      const group = new library.RowGroupColumns(file, handle, rowGroup);
      if (group.rows !== rows) throw new CodedError("SOURCE_FAILED", `cannot read ${path}: it has changed since the job started`);
      const chosen = library.chooseColumns(file, this.fields);
      const load = (): Promise<Column[]> => loadColumns(group, chosen, signal);
      const names = chosen.map((column) => column.element.name);
      const build = (columns: readonly Column[]): RowBuilder => this.builders.of(names, columns);
      return new ParquetReader({ handle, group, load, build, at: typeof position === "number" ? position : 0 });
    } catch (thrown) {
      await handle.close().catch(() => undefined);
      throw thrown;
    }
  }

  private remember(path: string, read: (path: string) => Promise<ParquetFile>): Promise<ParquetFile> {
    const known = this.remembered.get(path);
    if (known !== undefined) return known;
    const reading = read(path);
    // A failure is not remembered: the file may be there at the next attempt.
    reading.catch(() => this.remembered.delete(path));
    const oldest = this.remembered.keys().next();
    if (this.remembered.size >= REMEMBERED_FILES && oldest.done !== true) this.remembered.delete(oldest.value);
    this.remembered.set(path, reading);
    return reading;
  }
}

/** One after the other: decoding does not wait, so the event loop gets its turn between two columns. */
async function loadColumns(
  group: RowGroupColumns,
  chosen: readonly Parameters<RowGroupColumns["column"]>[0][],
  signal: OpenSourceOptions["signal"],
): Promise<Column[]> {
  const columns: Column[] = [];
  for (const column of chosen) {
    signal.throwIfAborted();
    columns.push(await group.column(column));
  }
  return columns;
}

interface ParquetReaderParts {
  readonly handle: FileHandle;
  readonly group: RowGroupColumns;
  readonly load: () => Promise<Column[]>;
  readonly build: (columns: readonly Column[]) => RowBuilder;
  readonly at: number;
}

class ParquetReader implements SourceReader<unknown> {
  private readonly parts: ParquetReaderParts;
  private readonly rows: number;
  private at: number;
  private columns: readonly Column[] = [];
  private builder: RowBuilder | null = null;
  private loading: Promise<unknown> | null = null;

  constructor(parts: ParquetReaderParts) {
    this.parts = parts;
    this.rows = parts.group.rows;
    this.at = parts.at;
  }

  next(out: unknown[], limit: number): number | Promise<number> {
    if (this.at >= this.rows) return 0;
    return this.builder === null ? this.first(out, limit) : this.take(this.builder, out, limit);
  }

  position(): JsonValue {
    return this.at;
  }

  progress(): number {
    return this.at;
  }

  async close(): Promise<void> {
    this.at = this.rows;
    await this.loading?.catch(() => undefined);
    this.columns = [];
    this.builder = null;
    await this.parts.handle.close().catch(() => undefined);
  }

  private async first(out: unknown[], limit: number): Promise<number> {
    const loading = this.parts.load();
    this.loading = loading;
    this.columns = await loading;
    this.builder = this.parts.build(this.columns);
    return this.take(this.builder, out, limit);
  }

  private take(builder: RowBuilder, out: unknown[], limit: number): number {
    const to = Math.min(this.rows, this.at + limit);
    const count = to - this.at;
    builder(this.columns, this.at, to, out);
    this.at = to;
    return count;
  }
}
