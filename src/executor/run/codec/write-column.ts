/**
 * Chooses for each column the kind that fits its values, by trying what its first value suggests.
 *
 * Invariants: a column of a batch is written once; a failed try leaves the writer where it was. The choice is remembered in the column, so
 * a steady stream is tried once.
 */
import { type Column, Column as ColumnState, type EncoderContext, type Shape, shapeOf } from "./encoder-state.js";
import { Flag, Kind } from "./kinds.js";
import { MAX_BATCH_VALUES, MAX_COLUMN_DEPTH, MAX_COLUMNS, MAX_NESTED_SHAPES, MAX_SHAPES, MAX_UNION_GROUPS } from "./limits.js";
import { writeBooleans, writeDates, writeNumbers } from "./number-columns.js";
import { PayloadOverflow } from "./overflow.js";
import { writeStrings } from "./strings.js";
import { writeText } from "./text-column.js";

export function writeColumn(
  context: EncoderContext,
  column: Column,
  values: readonly unknown[],
  count: number,
  depth: number,
): void {
  context.slots += count;
  if (context.slots > MAX_BATCH_VALUES) throw new PayloadOverflow();
  const done =
    (column.nullable && writeNullable(context, column, values, count, depth)) ||
    writeAlike(context, column, values, count, depth) ||
    (!column.nullable && writeNullable(context, column, values, count, depth)) ||
    writeUnion(context, column, values, count, depth);
  if (!done) writeValues(context, values, count);
  if (context.writer.position > context.limitBytes) throw new PayloadOverflow();
}

/** Values of one type, that of the first. */
function writeAlike(context: EncoderContext, column: Column, values: readonly unknown[], count: number, depth: number): boolean {
  const first = values[0];
  switch (typeof first) {
    case "number":
      return writeNumbers(context, column, values, count);
    case "string":
      return writeText(context, column, values, count);
    case "boolean":
      return writeBooleans(context, values, count);
    case "object":
      if (first === null) return writeAbsent(context, values, count, null, Kind.NULL);
      if (first instanceof Date) return writeDates(context, values, count);
      return writeStructs(context, column, values, count, first, depth);
    case "undefined":
      return writeAbsent(context, values, count, undefined, Kind.UNDEFINED);
    default:
      return false;
  }
}

function writeAbsent(
  context: EncoderContext,
  values: readonly unknown[],
  count: number,
  absent: null | undefined,
  kind: number,
): boolean {
  for (let i = 0; i < count; i++) if (values[i] !== absent) return false;
  context.writer.head(kind, 0, 0);
  return true;
}

/** Some values are null, or some are undefined (not both): a bitmap, and a column in which they repeat the first value that is there. */
function writeNullable(context: EncoderContext, column: Column, values: readonly unknown[], count: number, depth: number): boolean {
  const { writer } = context;
  let nulls = 0;
  let undefineds = 0;
  let first: unknown = null;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (value === null) nulls++;
    else if (value === undefined) undefineds++;
    else if (first === null) first = value;
  }
  column.nullable = nulls + undefineds > 0;
  if (!column.nullable || first === null || (nulls > 0 && undefineds > 0)) return false;
  const start = writer.position;
  const maskBytes = (count + 7) >> 3;
  writer.head(Kind.NULLABLE, undefineds > 0 ? Flag.UNDEFINED_FILL : 0, 0);
  writer.reserve(maskBytes);
  writer.bytes.fill(0, writer.position, writer.position + maskBytes);
  const dense = new Array<unknown>(count);
  for (let i = 0; i < count; i++) {
    const value = values[i];
    const present = value !== null && value !== undefined;
    if (present) (writer.bytes[writer.position + (i >> 3)] as number) |= 1 << (i & 7);
    dense[i] = present ? value : first;
  }
  writer.position += maskBytes;
  context.slots += count;
  if (writeAlike(context, column, dense, count, depth)) return true;
  writer.position = start;
  return false;
}

function writeStructs(
  context: EncoderContext,
  column: Column,
  values: readonly unknown[],
  count: number,
  first: object,
  depth: number,
): boolean {
  if (column.mixed || column.valuesOnly || depth >= MAX_COLUMN_DEPTH) return false;
  const shape = shapeOf(context, column, first, depth === 0 ? MAX_SHAPES : MAX_NESTED_SHAPES);
  if (shape === null || shape.scatter(values, count) !== count) return false;
  writeStruct(context, shape, count, depth);
  return true;
}

/** The fields of `count` objects that `shape.scatter` has just taken apart. */
function writeStruct(context: EncoderContext, shape: Shape, count: number, depth: number): void {
  const { writer } = context;
  const announce = !shape.announced;
  writer.head(Kind.STRUCT, (announce ? Flag.ANNOUNCED : 0) | (shape.tuple ? Flag.TUPLE : 0), shape.id);
  if (announce) {
    writer.u32(shape.keys.length);
    if (!shape.tuple) writeStrings(writer, context.text, shape.keys, shape.keys.length, context.limitBytes);
    shape.announce(context);
  }
  for (const column of shape.columns) writeColumn(context, column, column.values, count, depth + 1);
}

/** A batch of fewer records does not decide how the next ones are written. */
const SAMPLE_RECORDS = 64;

interface Group {
  /** null: the rest. */
  readonly shape: Shape | null;
  readonly values: unknown[];
}

/** Objects of several shapes, and what stands between them: the group of each value, then each group by itself. */
function writeUnion(context: EncoderContext, column: Column, values: readonly unknown[], count: number, depth: number): boolean {
  if (column.valuesOnly || depth >= MAX_COLUMN_DEPTH) return false;
  const { writer } = context;
  writer.align();
  const start = writer.position;
  writer.reserve(8 + count);
  const groups: Group[] = [];
  // Grouping asks the user's objects for their keys only, so nothing else is written meanwhile.
  const rest = group(context, column, values, count, depth, groups, writer.bytes, start + 8);
  column.mixed = groups.length > 1;
  const only = groups.length === 1 ? groups[0] : undefined;
  if (only?.shape && only.shape.scatter(values, count) === count) {
    writeStruct(context, only.shape, count, depth);
    return true;
  }
  if (rest * 2 > count || groups.length === 1 || (rest > 0 && column.rest === null && context.columns >= MAX_COLUMNS)) {
    // Mostly without columns: remembered once the sample is large enough, so that it is not tried with every batch.
    column.valuesOnly = count >= SAMPLE_RECORDS;
    return false;
  }
  writer.head(Kind.UNION, 0, groups.length);
  writer.position += count;
  for (const { shape, values: members } of groups) writeGroup(context, column, shape, members, depth);
  return true;
}

function writeGroup(
  context: EncoderContext,
  column: Column,
  shape: Shape | null,
  members: readonly unknown[],
  depth: number,
): void {
  const { writer } = context;
  writer.align();
  writer.reserve(8);
  writer.u32(members.length);
  if (shape === null) {
    if (column.rest === null) {
      column.rest = new ColumnState();
      context.columns++;
    }
    writeColumn(context, column.rest, members, members.length, MAX_COLUMN_DEPTH);
    return;
  }
  context.slots += members.length;
  // A getter that changes what keys its object has could make this fail; then nothing is sent.
  if (shape.scatter(members, members.length) !== members.length) throw new PayloadOverflow();
  writeStruct(context, shape, members.length, depth);
}

/** Fills `groups` and writes the number of each value's group; returns how many are in none of a shape. */
function group(
  context: EncoderContext,
  column: Column,
  values: readonly unknown[],
  count: number,
  depth: number,
  groups: Group[],
  out: Uint8Array,
  at: number,
): number {
  const maxShapes = depth === 0 ? MAX_SHAPES : MAX_NESTED_SHAPES;
  let last = 0;
  let restAt = -1;
  let rest = 0;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    let found = groups[last]?.shape?.matches(value) ? last : groups.findIndex((candidate) => candidate.shape?.matches(value));
    if (found < 0) {
      const room = groups.length < MAX_UNION_GROUPS && typeof value === "object" && value !== null && !Array.isArray(value);
      const shape = room ? shapeOf(context, column, value, maxShapes) : null;
      if (shape === null && restAt >= 0) {
        found = restAt;
      } else {
        found = groups.length;
        if (shape === null) restAt = found;
        groups.push({ shape, values: [] });
      }
      if (shape === null) rest++;
    }
    (groups[found] as Group).values.push(value);
    out[at + i] = found;
    last = found;
  }
  return rest;
}

/** The kind that takes everything. */
function writeValues(context: EncoderContext, values: readonly unknown[], count: number): void {
  const { writer } = context;
  writer.align();
  const head = writer.position;
  writer.head(Kind.VALUES, 0, 0);
  const start = writer.position;
  const strings = context.values.write(values, count, context.limitBytes);
  writer.i32[(head >> 2) + 1] = writer.position - start;
  writer.align();
  writer.reserve(8);
  writer.u32(strings.length);
  writeStrings(writer, context.text, strings, strings.length, context.limitBytes);
}
