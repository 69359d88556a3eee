/**
 * Values of flat Parquet columns: which of them this reads by itself, and how bytes become JavaScript values.
 *
 * Boundary: decoded (uncompressed) PLAIN values of one page in, values out. What `kindOf` gives null for is read by hyparquet instead.
 * The values are those of hyparquet, but for INT64: a number where it is a safe integer, a bigint where not.
 */
import type { SchemaElement } from "hyparquet";

export type ValueKind =
  | "boolean"
  | "int32"
  | "uint32"
  | "int64"
  | "uint64"
  | "float"
  | "double"
  | "string"
  | "json"
  | "date"
  | "timestampMs"
  | "timestampUs"
  | "timestampNs"
  | "decimal32"
  | "decimal64";

/** In the order in which hyparquet's `convert` decides. */
export function kindOf(element: SchemaElement): ValueKind | null {
  const { type, converted_type: converted, logical_type: logical } = element;
  switch (type) {
    case "BOOLEAN":
      return "boolean";
    case "FLOAT":
      return "float";
    case "DOUBLE":
      return "double";
    case "INT32":
      if (converted === "DECIMAL") return "decimal32";
      if (converted === "DATE" || logical?.type === "DATE") return "date";
      if (converted === "UINT_32" || (logical?.type === "INTEGER" && logical.bitWidth === 32 && !logical.isSigned)) return "uint32";
      return "int32";
    case "INT64":
      if (converted === "DECIMAL") return "decimal64";
      if (converted === "TIMESTAMP_MILLIS") return "timestampMs";
      if (converted === "TIMESTAMP_MICROS") return "timestampUs";
      if (converted === "UINT_64" || (logical?.type === "INTEGER" && logical.bitWidth === 64 && !logical.isSigned)) return "uint64";
      if (logical?.type !== "TIMESTAMP") return "int64";
      return logical.unit === "NANOS" ? "timestampNs" : logical.unit === "MICROS" ? "timestampUs" : "timestampMs";
    case "BYTE_ARRAY":
      if (converted === "JSON") return "json";
      if (converted === "DECIMAL" || converted === "BSON" || converted === "INTERVAL") return null;
      if (logical?.type === "GEOMETRY" || logical?.type === "GEOGRAPHY" || logical?.type === "UUID" || logical?.type === "FLOAT16")
        return null;
      return "string";
    default:
      return null;
  }
}

/** True when every value of this kind is a number for certain, so that a Float64Array can hold a column without nulls. */
export function isNumeric(kind: ValueKind): boolean {
  return (
    kind === "int32" || kind === "uint32" || kind === "float" || kind === "double" || kind === "decimal32" || kind === "decimal64"
  );
}

const WIDTHS: Readonly<Partial<Record<ValueKind, number>>> = {
  int32: 4,
  uint32: 4,
  float: 4,
  date: 4,
  decimal32: 4,
  int64: 8,
  uint64: 8,
  double: 8,
  timestampMs: 8,
  timestampUs: 8,
  timestampNs: 8,
  decimal64: 8,
};

/** What values are written into: an array, or a Float64Array where `isNumeric`. */
export interface ValueTarget {
  [index: number]: unknown;
}

/** Reads `count` values from `page[at ..]` into `out[from ..]`. Throws when the page is too short. */
export function readPlainValues(
  kind: ValueKind,
  scale: number,
  page: Buffer,
  at: number,
  out: ValueTarget,
  from: number,
  count: number,
): void {
  const width = WIDTHS[kind];
  if (width !== undefined && at + count * width > page.length) throw new Error("a page ends before its last value");
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  switch (kind) {
    case "boolean":
      if (at + Math.ceil(count / 8) > page.length) throw new Error("a page ends before its last value");
      for (let i = 0; i < count; i++) out[from + i] = ((page[at + (i >> 3)] ?? 0) & (1 << (i & 7))) !== 0;
      return;
    case "int32":
      for (let i = 0; i < count; i++) out[from + i] = view.getInt32(at + i * 4, true);
      return;
    case "uint32":
      for (let i = 0; i < count; i++) out[from + i] = view.getUint32(at + i * 4, true);
      return;
    case "float":
      for (let i = 0; i < count; i++) out[from + i] = view.getFloat32(at + i * 4, true);
      return;
    case "double":
      for (let i = 0; i < count; i++) out[from + i] = view.getFloat64(at + i * 8, true);
      return;
    case "date":
      for (let i = 0; i < count; i++) out[from + i] = new Date(view.getInt32(at + i * 4, true) * 86_400_000);
      return;
    case "decimal32":
      for (let i = 0; i < count; i++) out[from + i] = view.getInt32(at + i * 4, true) * 10 ** -scale;
      return;
    case "decimal64":
      for (let i = 0; i < count; i++) out[from + i] = Number(view.getBigInt64(at + i * 8, true)) * 10 ** -scale;
      return;
    case "int64":
      for (let i = 0; i < count; i++) out[from + i] = int64(view, at + i * 8);
      return;
    case "uint64":
      for (let i = 0; i < count; i++) out[from + i] = smaller(view.getBigUint64(at + i * 8, true));
      return;
    case "timestampMs":
    case "timestampUs":
    case "timestampNs":
      for (let i = 0; i < count; i++) out[from + i] = timestamp(kind, view, at + i * 8);
      return;
    case "string":
    case "json":
      readStrings(kind, page, at, out, from, count);
      return;
  }
}

/** The value as a number when its upper half says that it is a safe integer. */
function int64(view: DataView, at: number): number | bigint {
  const high = view.getInt32(at + 4, true);
  if (high >= -0x20_0000 && high < 0x20_0000) {
    const value = high * 0x1_0000_0000 + view.getUint32(at, true);
    if (Number.isSafeInteger(value)) return value;
  }
  return view.getBigInt64(at, true);
}

export function smaller(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Milliseconds, cut towards zero as hyparquet does. */
function timestamp(kind: "timestampMs" | "timestampUs" | "timestampNs", view: DataView, at: number): Date {
  const value = int64(view, at);
  if (kind === "timestampMs") return new Date(Number(value));
  const perMs = kind === "timestampUs" ? 1000 : 1_000_000;
  // A safe integer divided by a small one and cut is exact; nanoseconds of today are larger than that.
  return new Date(typeof value === "number" ? Math.trunc(value / perMs) : Number(value / BigInt(perMs)));
}

function readStrings(kind: "string" | "json", page: Buffer, start: number, out: ValueTarget, from: number, count: number): void {
  let at = start;
  for (let i = 0; i < count; i++) {
    const size = at + 4 <= page.length ? page.readUInt32LE(at) : -1;
    if (size < 0 || at + 4 + size > page.length) throw new Error("a page ends before its last value");
    const text = page.toString("utf8", at + 4, at + 4 + size);
    out[from + i] = kind === "json" ? JSON.parse(text) : text;
    at += 4 + size;
  }
}
