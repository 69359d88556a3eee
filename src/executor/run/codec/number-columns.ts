/**
 * Columns of numbers and booleans. Each function writes values into a typed view until one does not fit, and returns how many did.
 * They are alike on purpose: one function for all widths would see several kinds of typed arrays and be several times slower.
 */
import type { Column, EncoderContext } from "./encoder-state.js";
import { Kind } from "./kinds.js";

const BYTES_OF_KIND = [1, 2, 4, 8] as const;

/** Tries the kind that was enough so far, then wider ones. Nothing is written and false returned when a value is no number. */
export function writeNumbers(context: EncoderContext, column: Column, values: readonly unknown[], count: number): boolean {
  const { writer } = context;
  writer.align();
  writer.reserve(8 + count * 8);
  const body = writer.position + 8;
  for (let kind = column.numberKind; ; kind++) {
    const fitted = fill(context, kind, values, count, body);
    if (fitted === count) {
      column.numberKind = kind;
      writer.head(kind, 0, 0);
      writer.position += count * (BYTES_OF_KIND[kind] as number);
      return true;
    }
    if (typeof values[fitted] !== "number") return false;
  }
}

function fill(context: EncoderContext, kind: number, values: readonly unknown[], count: number, body: number): number {
  const { writer } = context;
  switch (kind) {
    case Kind.I8:
      return fillI8(values, count, writer.i8, body);
    case Kind.I16:
      return fillI16(values, count, writer.i16, body >> 1);
    case Kind.I32:
      return fillI32(values, count, writer.i32, body >> 2);
    default:
      return fillF64(values, count, writer.f64, body >> 3);
  }
}

function fillI8(values: readonly unknown[], count: number, out: Int8Array, at: number): number {
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (typeof value !== "number") return i;
    const whole = (value << 24) >> 24;
    if (whole !== value || Object.is(value, -0)) return i;
    out[at + i] = whole;
  }
  return count;
}

function fillI16(values: readonly unknown[], count: number, out: Int16Array, at: number): number {
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (typeof value !== "number") return i;
    const whole = (value << 16) >> 16;
    if (whole !== value || Object.is(value, -0)) return i;
    out[at + i] = whole;
  }
  return count;
}

function fillI32(values: readonly unknown[], count: number, out: Int32Array, at: number): number {
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (typeof value !== "number") return i;
    const whole = value | 0;
    if (whole !== value || Object.is(value, -0)) return i;
    out[at + i] = whole;
  }
  return count;
}

function fillF64(values: readonly unknown[], count: number, out: Float64Array, at: number): number {
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (typeof value !== "number") return i;
    out[at + i] = value;
  }
  return count;
}

export function writeBooleans(context: EncoderContext, values: readonly unknown[], count: number): boolean {
  const { writer } = context;
  writer.align();
  writer.reserve(8 + count);
  const { bytes } = writer;
  const body = writer.position + 8;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (value !== true && value !== false) return false;
    bytes[body + i] = value ? 1 : 0;
  }
  writer.head(Kind.BOOLEAN, 0, 0);
  writer.position += count;
  return true;
}

export function writeDates(context: EncoderContext, values: readonly unknown[], count: number): boolean {
  const { writer } = context;
  writer.align();
  writer.reserve(8 + count * 8);
  const { f64 } = writer;
  const body = (writer.position + 8) >> 3;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (!(value instanceof Date)) return false;
    f64[body + i] = value.getTime();
  }
  writer.head(Kind.DATE, 0, 0);
  writer.position += count * 8;
  return true;
}
