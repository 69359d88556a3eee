/**
 * Where a job's records come from. Each maker gives a plain description; nothing is opened before the job runs.
 *
 * Types: `sources.ndjson<Order>(path)` states the type of the records that are read (with `fields`: of these fields), `{ schema }` (any
 * Standard Schema) states and checks it, and without either the fields of a record are `any`.
 */
import type { JsonValue } from "../base/json.js";
import type {
  BadRecord,
  CancelSignal,
  CsvSourceDescriptor,
  CsvType,
  NdjsonSourceDescriptor,
  ParquetSourceDescriptor,
  SourceConnector,
  SourceDescriptor,
  TextSourceDescriptor,
} from "../dataflow/connector.js";
import { fromAsyncIterable, type IterableSourceOptions } from "./iterable-source.js";
import type { SchemaOutput, StandardSchemaV1 } from "./schema.js";

declare const recordType: unique symbol;

/** A described source of records of type T. */
export interface Source<T> {
  readonly [recordType]?: T;
  readonly holdfast: "source";
  readonly bounded: boolean;
  /** Null for a connector of the user's own. */
  readonly descriptor: SourceDescriptor | null;
  readonly custom: SourceConnector<unknown> | null;
  readonly schema: StandardSchemaV1 | null;
  readonly onError: "fail" | "skip" | "side";
  /** Records a second over all subtasks. */
  readonly rate: number | null;
}

/** The side output of every source: records that could not be read, when `onError` is `"side"`. */
export interface SourceSides {
  readonly errors: BadRecord;
}

/** A record whose type was not stated: its fields may be used freely, unchecked. State a type or a schema where mistakes would hurt. */
// biome-ignore lint/suspicious/noExplicitAny: a file's columns are not known when the job is compiled, and the job must be writable without annotations
export type UntypedRecord = Readonly<Record<string, any>>;

interface SchemaOption<S extends StandardSchemaV1> {
  /** Checks (and may convert) each record; one that does not fit is a bad record. Costs time for every record. */
  readonly schema: S;
}

interface RateOption {
  /** At most so many records a second, over all subtasks together. */
  readonly rate?: number;
}

type Options<D> = Omit<D, "kind" | "path">;

/** Names of the string keys of a record type; any name for an untyped record. */
type FieldOf<T> = keyof T & string;

type CsvValue<Type> = Type extends "number" ? number | null : Type extends "boolean" ? boolean | null : string;
/** Columns named in `fields` or `types`; when neither is given, any column, as a string. */
type CsvRecord<Types, F extends string> = [F | keyof Types] extends [never]
  ? Readonly<Record<string, string>>
  : { readonly [C in F | (keyof Types & string)]: C extends keyof Types ? CsvValue<Types[C]> : string };

function source<T>(descriptor: SourceDescriptor, bounded: boolean, schema?: StandardSchemaV1): Source<T> {
  const onError = "onError" in descriptor ? (descriptor.onError ?? "fail") : "fail";
  return { holdfast: "source", bounded, descriptor, custom: null, schema: schema ?? null, onError, rate: descriptor.rate ?? null };
}

/** A directory that is followed never ends. */
const isBounded = ({ followEveryMs }: { readonly followEveryMs?: number }): boolean => followEveryMs === undefined;

/** Lines of text files, directories or globs; `.gz` is unpacked. */
function text(path: string | readonly string[], options: Options<TextSourceDescriptor> = {}): Source<string> {
  return source({ kind: "text", path, ...options }, isBounded(options));
}

/** A JSON value a line. `fields` keeps only these fields (faster). */
function ndjson<S extends StandardSchemaV1>(
  path: string | readonly string[],
  options: Options<NdjsonSourceDescriptor> & SchemaOption<S>,
): Source<SchemaOutput<S>>;
function ndjson<const F extends string>(
  path: string | readonly string[],
  options: Options<NdjsonSourceDescriptor> & { readonly fields: readonly F[] },
): Source<Pick<UntypedRecord, F>>;
function ndjson<T = UntypedRecord>(
  path: string | readonly string[],
  options?: Options<NdjsonSourceDescriptor> & { readonly fields?: readonly FieldOf<T>[] },
): Source<T>;
function ndjson(
  path: string | readonly string[],
  options: Options<NdjsonSourceDescriptor> & { readonly schema?: StandardSchemaV1 } = {},
): Source<unknown> {
  const { schema, ...rest } = options;
  return source({ kind: "ndjson", path, ...rest }, isBounded(rest), schema);
}

/** Rows of CSV files. Values are strings unless `types` says otherwise: `types: { delay: "number" }`. */
function csv<S extends StandardSchemaV1>(
  path: string | readonly string[],
  options: Options<CsvSourceDescriptor> & SchemaOption<S>,
): Source<SchemaOutput<S>>;
function csv<const Types extends Readonly<Record<string, CsvType>> = Record<never, never>, const F extends string = never>(
  path: string | readonly string[],
  options?: Omit<Options<CsvSourceDescriptor>, "types" | "fields"> & { readonly types?: Types; readonly fields?: readonly F[] },
): Source<CsvRecord<Types, F>>;
function csv<T>(path: string | readonly string[], options?: Options<CsvSourceDescriptor>): Source<T>;
function csv(
  path: string | readonly string[],
  options: Options<CsvSourceDescriptor> & { readonly schema?: StandardSchemaV1 } = {},
): Source<unknown> {
  const { schema, ...rest } = options;
  return source({ kind: "csv", path, ...rest }, isBounded(rest), schema);
}

/** Rows of Parquet files. `fields` reads only these columns (faster). */
function parquet<S extends StandardSchemaV1>(
  path: string | readonly string[],
  options: Options<ParquetSourceDescriptor> & SchemaOption<S>,
): Source<SchemaOutput<S>>;
function parquet<const F extends string>(
  path: string | readonly string[],
  options: Options<ParquetSourceDescriptor> & { readonly fields: readonly F[] },
): Source<Pick<UntypedRecord, F>>;
function parquet<T = UntypedRecord>(
  path: string | readonly string[],
  options?: Options<ParquetSourceDescriptor> & { readonly fields?: readonly FieldOf<T>[] },
): Source<T>;
function parquet(
  path: string | readonly string[],
  options: Options<ParquetSourceDescriptor> & { readonly schema?: StandardSchemaV1 } = {},
): Source<unknown> {
  const { schema, ...rest } = options;
  return source({ kind: "parquet", path, ...rest }, isBounded(rest), schema);
}

/** The integers from `from` (default 0) up to but not including `to`; without `to` it never ends. */
function numbers(options: { readonly from?: number; readonly to?: number } & RateOption = {}): Source<number> {
  return source({ kind: "numbers", ...options }, options.to !== undefined);
}

/** Some JSON values that stand in the job itself; for tests and small tables. */
function collection<T>(items: readonly T[], options: RateOption = {}): Source<T> {
  return source({ kind: "collection", items: items as unknown as readonly JsonValue[], ...options }, true);
}

/** A source of your own: see SourceConnector. It may be split, and knows its position, so that several subtasks read it. */
function custom<T>(
  connector: SourceConnector<T>,
  options: RateOption & { readonly schema?: StandardSchemaV1<unknown, T> } = {},
): Source<T> {
  return {
    holdfast: "source",
    bounded: connector.bounded,
    descriptor: null,
    custom: connector,
    schema: options.schema ?? null,
    onError: "fail",
    rate: options.rate ?? null,
  };
}

/** The short form of a source of your own: an (async) iterable, read by one subtask. `make` is called once for each attempt. */
function iterable<T>(
  make: (options: { readonly signal: CancelSignal }) => AsyncIterable<T> | Iterable<T>,
  options: IterableSourceOptions & RateOption = {},
): Source<T> {
  const { rate, ...rest } = options;
  return custom(fromAsyncIterable(make, rest), rate === undefined ? {} : { rate });
}

export const sources = { text, ndjson, csv, parquet, numbers, collection, custom, iterable } as const;
