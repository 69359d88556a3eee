/**
 * What a source and a sink have to be: the interfaces that the engine reads from and writes to, and the plain descriptors by which
 * jobs name the built-in ones. Users implement the same interfaces for their own systems (`api/iterable-source.ts` has a short form).
 *
 * Boundary: types only. `connectors/` implements the descriptors (`createSource`, `createSink`), the engine drives the interfaces,
 * `api/` makes the descriptors. Rate limits, retries, batch sizes and the choice of who reads which split belong to the engine.
 *
 * Invariants:
 *   1. Splits, positions and committables are JSON: they go over wires, into records and into checkpoints.
 *   2. Output of a sink is visible whole or not at all, and only after `commit`; `commit` may be repeated.
 *   3. No promise per record: `next` and `write` work on batches and return a promise only when they really wait.
 */
import type { JsonValue } from "../base/json.js";

/** The part of AbortSignal that connectors use; every AbortSignal is one. (This folder names nothing of the platform.) */
export interface CancelSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  addEventListener(type: "abort", listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

// ---------------------------------------------------------------------------------------------------------------- sources

/** A share of an input that one subtask reads. Plain JSON; fields other than these two are the connector's own. */
export interface Split {
  /** Unique within the source and the same on every enumeration of unchanged input. */
  readonly id: string;
  /** Relative cost (bytes or records), for an even distribution. */
  readonly sizeHint: number;
  readonly [key: string]: JsonValue;
}

/** All of an input, cut into shares. */
export interface Enumeration {
  /** In a deterministic order. Any number: less or more than the parallelism, also none. */
  readonly splits: readonly Split[];
  /** Null when not known without reading everything. */
  readonly totalRecords: number | null;
  readonly totalBytes: number | null;
}

/** A record that could not be read. Reported when `onError` is `skip` or `side`; with `fail` the reader throws BAD_RECORD instead. */
export interface BadRecord {
  /** The file (or whatever the connector reads) that it stands in. */
  readonly source: string;
  /** Counted from 1 within the file; null when it would have cost a second read of the file to know. */
  readonly line: number | null;
  /** Where the record starts within the file (of the uncompressed text for `.gz`); null where bytes mean nothing. */
  readonly byteOffset: number | null;
  /** The raw text, at most 200 characters. */
  readonly text: string;
  readonly reason: string;
}

export interface SourceReader<T> {
  /**
   * Reads the next records into `out[0] .. out[count - 1]` and returns `count`: 1 to `limit`, or 0 at the end of the split (then and
   * after that always 0). `out` is the caller's and may be reused; entries past `count` mean nothing. Returns a promise only when it
   * waits; not called again before that promise has settled. A reader of an endless source waits until a record is there, and rejects
   * when its signal is aborted. Rejects or throws SOURCE_FAILED (naming the path and the cause) or BAD_RECORD.
   */
  next(out: T[], limit: number): number | Promise<number>;
  /** Where to resume after the records given out so far: `open(split, position)` yields exactly the rest. */
  position(): JsonValue;
  /** Of the split's `sizeHint`, how much has been read; for progress only. */
  progress(): number;
  /** Frees files and connections. Once settled, nothing of the reader runs. May be called at any time and twice. */
  close(): Promise<void>;
}

export interface EnumerateOptions {
  /** Subtasks that will read; a connector aims at a few splits for each where the input allows it. */
  readonly parallelism: number;
  readonly signal: CancelSignal;
}

export interface OpenSourceOptions {
  readonly signal: CancelSignal;
  /** Told of each bad record that is left out (`onError` `skip` or `side`), in order, before the records that follow it are given out. */
  readonly onBadRecord: (bad: BadRecord) => void;
}

export interface SourceConnector<T> {
  /** False: the input never ends. */
  readonly bounded: boolean;
  /** False: `open` can't go back to a position, and a restart loses what was read and not yet written. The plan shows it. Default true. */
  readonly replayable?: boolean;
  /** Runs once per attempt, in the driver. Rejects with SOURCE_FAILED, naming the path and the cause. */
  enumerate(options: EnumerateOptions): Promise<Enumeration>;
  /** Runs in the executor that reads the split. `position` null: from the start of the split. */
  open(split: Split, position: JsonValue | null, options: OpenSourceOptions): Promise<SourceReader<T>>;
}

// ------------------------------------------------------------------------------------------------------------------ sinks

/** Identifies one try of one application. Two tries never share an attempt; only one of them is ever committed. */
export interface AttemptIdentity {
  readonly applicationId: string;
  /** Unique per try of the application. `[A-Za-z0-9._-]{1,128}`, as is `applicationId`. */
  readonly attempt: string;
}

export interface OpenSinkOptions extends AttemptIdentity {
  readonly subtask: number;
  readonly parallelism: number;
  readonly signal: CancelSignal;
  /**
   * For sinks that roll (an unbounded job): told of each part that was closed, with its committable. Absent: the writer commits each
   * part by itself as soon as it is closed (at-least-once over restarts). Present: the caller commits, e.g. after a checkpoint.
   */
  readonly onRolled?: (committable: JsonValue) => void;
  /** From the checkpoint that the try goes on from: what the writer of this subtask gave as its `state`. */
  readonly restored?: JsonValue;
}

export interface WriterCheckpoint {
  /** Staged since the last call; may be none. */
  readonly committables: readonly JsonValue[];
  readonly state: JsonValue;
}

export interface SinkWriter<T> {
  /** Writes `records[0] .. records[count - 1]`. The array is the caller's again when this returns (or its promise settles). */
  write(records: readonly T[], count: number): void | Promise<void>;
  /**
   * The input has ended: everything written is made durable, not visible. Returns what `commit` needs, null when there is nothing to
   * commit. No `write` follows. Rejects with SINK_FAILED.
   */
  prepare(): Promise<JsonValue>;
  /**
   * A checkpoint's barrier: everything written so far is made durable, not visible, and writing goes on. Calls of `write` may follow before it
   * has settled, and what they write is not in it. Needed when the connector names `appears` or `guarantee`. Each committable is one that no other
   * checkpoint tells, and has at most MAX_COMMITTABLE_CHARS as JSON. Rejects with SINK_FAILED.
   */
  checkpoint?(): Promise<WriterCheckpoint>;
  /** Gives up and removes what this writer has staged. Never rejects. */
  abort(): Promise<void>;
  /** Frees files and connections; without a `prepare` before it the same as `abort`. May be called twice. */
  close(): Promise<void>;
}

export interface BeginSinkOptions extends AttemptIdentity {
  readonly parallelism: number;
  readonly signal: CancelSignal;
}

export interface CommitSinkOptions extends AttemptIdentity {
  readonly parallelism: number;
  /**
   * At `checkpoint`, what a checkpoint held, whose job goes on: other parts follow. It may have been committed before, by a process that died, and what became
   * visible may have been taken away since: what is neither staged nor visible was.
   */
  readonly again?: boolean;
}

/** How often a record stands in the output, whatever died: once; once, because writing it again changes nothing; or at least once. */
export type SinkGuarantee = "exactly-once" | "effectively-once" | "at-least-once";

export interface SinkConnector<T> {
  /**
   * When output of a job with checkpoints becomes visible: with the checkpoint that holds it, or all together with the end of the job. Absent: as it is
   * written; such a sink takes part in checkpoints when it says its `guarantee`.
   */
  readonly appears?: "at-checkpoint" | "at-end";
  /** Default with `appears`: exactly-once. The plan of a job shows it. */
  readonly guarantee?: SinkGuarantee;
  /**
   * Runs in the driver before an attempt starts: refuses early what can't end well (an unwritable directory, output that exists with
   * `ifExists: "fail"`). Not before one subtask restarts without the others: `open` has to do with what it finds. Rejects with SINK_FAILED. Optional.
   */
  begin?(options: BeginSinkOptions): Promise<void>;
  /** Runs in the executor, once per subtask and attempt. Rejects with SINK_FAILED. */
  open(options: OpenSinkOptions): Promise<SinkWriter<T>>;
  /**
   * Makes the output of an attempt visible, given what `prepare` returned for all its subtasks. Runs in the driver once the decision to
   * commit this attempt is durable. Idempotent: may be repeated after a crash in its middle, by another process.
   */
  commit(committables: readonly JsonValue[], options: CommitSinkOptions): Promise<void>;
  /**
   * Removes what attempts other than `keepAttempt` left behind (null: all of them). Never touches what was committed. Call it before
   * a new attempt, after a commit and after a failure. Idempotent.
   */
  cleanUp(options: CleanUpOptions): Promise<void>;
}

export interface CleanUpOptions {
  readonly applicationId: string;
  readonly keepAttempt: string | null;
  /** Tries whose staged output a checkpoint still needs; `isOver` says no of them. */
  readonly needed?: readonly string[];
  /**
   * Whether this attempt is over for certain; only those are removed. A driver that was superseded without knowing it must not remove what its
   * successor stages. Absent: all but `keepAttempt` are.
   */
  readonly isOver?: (attempt: string) => boolean;
}

// ------------------------------------------------------------------------------------------------ descriptors of sources

/** What happens to a record that can't be read: the job fails naming file and line; it is counted; it also goes to a side output. */
export type OnError = "fail" | "skip" | "side";

interface FileSourceFields {
  /**
   * A file, a directory (all files in it and below, but those whose name starts with `.` or `_`), or a glob (`*`, `**`, `?`, `[a-z]`,
   * `{a,b}`), or several of these. Relative paths are relative to the directory that the job was submitted from. No match is an error.
   */
  readonly path: string | readonly string[];
  /** Default `fail`. */
  readonly onError?: OnError;
  /** Records a second over all subtasks. Kept by the engine, not by connectors. Absent: as fast as possible. */
  readonly rate?: number;
  /**
   * The source never ends: directories and globs are looked at every so many milliseconds, and files that have appeared are read. A file has its name when it
   * is complete (renamed into place), and is known by its path; each is read once.
   */
  readonly followEveryMs?: number;
}

interface LineSourceFields extends FileSourceFields {
  /** With `followEveryMs`: files are appended to, and whole lines are read as they come. Files only grow, and are not packed; CSV needs `multiline: false`. */
  readonly growing?: boolean;
  /** A longer line is a bad record. Default 16 MiB; it bounds the memory of a reader. */
  readonly maxLineBytes?: number;
  /** Plain files are cut into splits of about this size. Default: 64 MiB, less for small inputs; `.gz` is never cut. */
  readonly splitBytes?: number;
}

/** Lines of UTF-8 text, as strings without their line end (LF or CRLF). `.gz` is unpacked. Records: string. */
export interface TextSourceDescriptor extends LineSourceFields {
  readonly kind: "text";
}

/** A JSON value a line; empty lines are passed over. Records: what JSON.parse gives. */
export interface NdjsonSourceDescriptor extends LineSourceFields {
  readonly kind: "ndjson";
  /** Only these top-level fields of each object are kept (faster). A record without one of them lacks it. */
  readonly fields?: readonly string[];
}

export type CsvType = "string" | "number" | "boolean";

/** RFC 4180. Records: an object per row, by column name; all values are strings unless `types` says otherwise. */
export interface CsvSourceDescriptor extends LineSourceFields {
  readonly kind: "csv";
  /** One character; default `,` (a tab for `.tsv`). */
  readonly delimiter?: string;
  /** Default true: the first row of each file names the columns. With false `columns` must be given. */
  readonly header?: boolean;
  /** Names of the columns; with a header they replace its names. */
  readonly columns?: readonly string[];
  /** Columns not named here are strings. `number` and `boolean` read an empty field as null. */
  readonly types?: { readonly [column: string]: CsvType };
  /** Only these columns are kept. */
  readonly fields?: readonly string[];
  /** Default true: quoted fields may contain line ends, and a file is read by one subtask. False: they don't; large files are cut. */
  readonly multiline?: boolean;
}

/**
 * Records: an object per row. INT64 is a number where it is a safe integer and a bigint where not; UTF8 a string; dates and timestamps
 * are Date; decimals numbers; missing values null; nested columns as hyparquet gives them.
 */
export interface ParquetSourceDescriptor extends FileSourceFields {
  readonly kind: "parquet";
  /** Only these columns are read (faster). */
  readonly fields?: readonly string[];
}

/** The integers from `from` (default 0) up to but not including `to`; without `to` it never ends. Records: number. */
export interface NumbersSourceDescriptor {
  readonly kind: "numbers";
  readonly from?: number;
  readonly to?: number;
  readonly rate?: number;
}

/** Some values that stand in the job itself. Records: those values, in order within a subtask. */
export interface CollectionSourceDescriptor {
  readonly kind: "collection";
  readonly items: readonly JsonValue[];
  readonly rate?: number;
}

export type SourceDescriptor =
  | TextSourceDescriptor
  | NdjsonSourceDescriptor
  | CsvSourceDescriptor
  | ParquetSourceDescriptor
  | NumbersSourceDescriptor
  | CollectionSourceDescriptor;

// -------------------------------------------------------------------------------------------------- descriptors of sinks

interface FileSinkFields {
  /**
   * With the format's extension and a sink of parallelism 1: this one file. Otherwise a directory of parts `part-00000.ndjson` ... and
   * a `_SUCCESS` that lists them. Missing directories are made.
   */
  readonly path: string;
  /**
   * `replace` (default): at the commit, files of the same name are replaced and, in a directory, the parts that an earlier `_SUCCESS`
   * lists are removed; other files stay. `fail`: SINK_FAILED when the file, or any part in the directory, is there already.
   */
  readonly ifExists?: "replace" | "fail";
  /** For unbounded jobs: a part is closed and appears (`part-00003-000017.ndjson`) after so many milliseconds with records in it ... */
  readonly rollEveryMs?: number;
  /** ... or so many records, whichever comes first. */
  readonly rollRecords?: number;
}

/** A JSON value a line. Date as ISO text, bigint as a number, undefined fields left out. Extensions .ndjson, .jsonl, .json. */
export interface NdjsonSinkDescriptor extends FileSinkFields {
  readonly kind: "ndjson";
}

/** RFC 4180 with LF line ends. Columns: as given, or the keys of the first record. Extensions .csv, .tsv. */
export interface CsvSinkDescriptor extends FileSinkFields {
  readonly kind: "csv";
  readonly columns?: readonly string[];
  /** Default `,` (a tab for `.tsv`). */
  readonly delimiter?: string;
  /** Default true: each file starts with the names of the columns. */
  readonly header?: boolean;
}

/** A record a line: strings as they are, everything else as JSON. Extensions .txt, .text, .log. */
export interface TextSinkDescriptor extends FileSinkFields {
  readonly kind: "text";
}

export type ParquetType = "boolean" | "int32" | "int64" | "float" | "double" | "string" | "json" | "timestamp" | "date" | "bytes";

/**
 * Columns: as given, or inferred from the first row group: every number a double (so that all parts agree), bigint int64, Date a
 * timestamp, objects and arrays JSON; a column without any value a string. Extension .parquet.
 */
export interface ParquetSinkDescriptor extends FileSinkFields {
  readonly kind: "parquet";
  /** Every column may hold null. */
  readonly schema?: { readonly [column: string]: ParquetType };
  /** Rows of a row group; bounds the memory of a writer. Default 100,000. */
  readonly rowGroupRows?: number;
}

/** Lines on the standard output of the process that runs the subtask. Not transactional: a failed attempt's lines stay. */
export interface ConsoleSinkDescriptor {
  readonly kind: "console";
  /** Put before each line. */
  readonly prefix?: string;
}

export type SinkDescriptor =
  | NdjsonSinkDescriptor
  | CsvSinkDescriptor
  | TextSinkDescriptor
  | ParquetSinkDescriptor
  | ConsoleSinkDescriptor;
