/** Where a job's records go. Each maker gives a plain description; nothing is opened before the job runs. */
import type { JsonValue } from "../base/json.js";
import type {
  ConsoleSinkDescriptor,
  CsvSinkDescriptor,
  NdjsonSinkDescriptor,
  ParquetSinkDescriptor,
  SinkConnector,
  SinkDescriptor,
  TextSinkDescriptor,
} from "../dataflow/connector.js";
import {
  type AtLeastOnceSink,
  atLeastOnceSink,
  type IdempotentSink,
  idempotentSink,
  type TwoPhaseSink,
  twoPhaseSink,
} from "./own-sinks.js";

/** A described sink that takes records of type T. */
export interface Sink<in T> {
  /** Only for the compiler: says which records the sink takes. */
  readonly accepts?: (record: T) => void;
  readonly holdfast: "sink";
  /** Null for `collect` and for a connector of the user's own. */
  readonly descriptor: SinkDescriptor | null;
  readonly custom: SinkConnector<unknown> | null;
  /** For `collect`: the most records it takes. */
  readonly collectLimit: number | null;
}

type Options<D> = Omit<D, "kind" | "path">;

/** What `sinks.collect()` takes unless told otherwise: all of it is held in the memory of whoever asked. */
export const DEFAULT_COLLECT_LIMIT = 1_000_000;

function described(descriptor: SinkDescriptor): Sink<unknown> {
  return { holdfast: "sink", descriptor, custom: null, collectLimit: null };
}

/** A JSON value a line. One file when the sink has one subtask and the path has the extension, otherwise a directory of parts. */
function ndjson(path: string, options: Options<NdjsonSinkDescriptor> = {}): Sink<unknown> {
  return described({ kind: "ndjson", path, ...options });
}

/** A row a record. */
function csv(path: string, options: Options<CsvSinkDescriptor> = {}): Sink<object> {
  return described({ kind: "csv", path, ...options });
}

/** A line a record: strings as they are, everything else as JSON. */
function text(path: string, options: Options<TextSinkDescriptor> = {}): Sink<unknown> {
  return described({ kind: "text", path, ...options });
}

/** A row a record; column types are given by `schema` or inferred from the first rows. */
function parquet(path: string, options: Options<ParquetSinkDescriptor> = {}): Sink<object> {
  return described({ kind: "parquet", path, ...options });
}

/** Lines on the standard output of the process that runs the subtask. Not transactional. */
function toConsole(options: Omit<ConsoleSinkDescriptor, "kind"> = {}): Sink<unknown> {
  return described({ kind: "console", ...options });
}

/** Back to whoever submitted the job (or to the test), at most `maxRecords`. */
function collect(options: { readonly maxRecords?: number } = {}): Sink<unknown> {
  return { holdfast: "sink", descriptor: null, custom: null, collectLimit: options.maxRecords ?? DEFAULT_COLLECT_LIMIT };
}

/** A sink of your own: see SinkConnector. The shorter forms below do for most. */
function custom<T>(connector: SinkConnector<T>): Sink<T> {
  return { holdfast: "sink", descriptor: null, custom: connector as SinkConnector<unknown>, collectLimit: null };
}

/** Exactly once into a system of your own: prepared with each checkpoint, and committed when that is durable. */
function twoPhase<T, C extends JsonValue = JsonValue>(sink: TwoPhaseSink<T, C>): Sink<T> {
  return custom(twoPhaseSink(sink));
}

/** Effectively once into a system of your own: each record under an id, by which writing it again changes nothing. */
function idempotent<T>(sink: IdempotentSink<T>): Sink<T> {
  return custom(idempotentSink(sink));
}

/** At least once into a system of your own: a restart writes some records again. */
function atLeastOnce<T>(sink: AtLeastOnceSink<T>): Sink<T> {
  return custom(atLeastOnceSink(sink));
}

export const sinks = {
  ndjson,
  csv,
  text,
  parquet,
  console: toConsole,
  collect,
  custom,
  twoPhase,
  idempotent,
  atLeastOnce,
} as const;
