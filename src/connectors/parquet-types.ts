/** Which Parquet type a JavaScript value gets, and how a value becomes what the Parquet writer takes. */
import { CodedError } from "../base/errors.js";
import type { ParquetType } from "../dataflow/connector.js";

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
const INT64_MAX = 2n ** 63n - 1n;

/** Undefined: the value is not of this type. Null and undefined never come here. */
export function converterOf(type: ParquetType): (value: unknown) => unknown {
  switch (type) {
    case "boolean":
      return (value) => (typeof value === "boolean" ? value : undefined);
    case "int32":
      return (value) => {
        const number = typeof value === "bigint" ? Number(value) : value;
        return typeof number === "number" && Number.isInteger(number) && number >= INT32_MIN && number <= INT32_MAX
          ? number
          : undefined;
      };
    case "int64":
      return (value) => {
        if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : undefined;
        return typeof value === "bigint" && value <= INT64_MAX && value >= -INT64_MAX - 1n ? value : undefined;
      };
    case "float":
    case "double":
      return (value) => (typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : undefined);
    case "string":
      return (value) => (typeof value === "string" ? value : undefined);
    case "json":
      return (value) => value;
    case "timestamp":
      return (value) => instantOf(value);
    case "date":
      return (value) => instantOf(value);
    case "bytes":
      return (value) => (value instanceof Uint8Array ? value : undefined);
  }
}

/** Dates, and the text that JSON makes of them. */
function instantOf(value: unknown): Date | undefined {
  const date = value instanceof Date ? value : typeof value === "string" ? new Date(value) : undefined;
  return date === undefined || Number.isNaN(date.getTime()) ? undefined : date;
}

/** The columns of some rows in order of appearance. A column that is null in all of them is a string column. */
export function inferTypes(rows: readonly Readonly<Record<string, unknown>>[], path: string): ReadonlyMap<string, ParquetType> {
  const types = new Map<string, ParquetType | null>();
  for (const row of rows) {
    for (const key of Object.keys(row)) {
      const type = typeOf(row[key]);
      const known = types.get(key);
      if (known === undefined || known === null) types.set(key, type);
      else if (type !== null && type !== known) types.set(key, merge(known, type, key, path));
    }
  }
  return new Map([...types].map(([key, type]) => [key, type ?? "string"]));
}

function typeOf(value: unknown): ParquetType | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "number") return "double";
  if (typeof value === "bigint") return "int64";
  if (typeof value === "boolean") return "boolean";
  if (typeof value === "string") return "string";
  if (value instanceof Date) return "timestamp";
  if (value instanceof Uint8Array) return "bytes";
  return "json";
}

function merge(known: ParquetType, type: ParquetType, key: string, path: string): ParquetType {
  // Large integers come as bigints among numbers.
  if ((known === "double" && type === "int64") || (known === "int64" && type === "double")) return "double";
  throw new CodedError("SINK_FAILED", `cannot write ${path}: column ${key} holds ${known} and ${type} values`, {
    hint: "Give the sink a schema; the type json takes values of every kind.",
  });
}
