/**
 * Reads one column of any kind.
 *
 * Invariants: counts come from the payload's head, which is bounded, or are checked against the bytes that are left and against limits.ts;
 * codes are checked against the dictionary; recursion is bounded by MAX_COLUMN_DEPTH.
 */
import { violation } from "./byte-reader.js";
import { type DecoderColumn, type DecoderContext, type DecoderShape, newShape } from "./decoder-state.js";
import { ESCAPE_CODE, Flag, Kind } from "./kinds.js";
import {
  MAX_BATCH_VALUES,
  MAX_COLUMN_DEPTH,
  MAX_PROGRAMS,
  MAX_SHAPE_KEYS,
  MAX_SHAPE_UNITS,
  MAX_SHAPES,
  MAX_UNION_GROUPS,
} from "./limits.js";
import { buildSlowly, generateProgram, type ReadColumn, signatureOf, valueAt } from "./programs.js";
import { readStrings } from "./strings.js";

const NOTHING: readonly never[] = [];
/** Programs of one shape: a column switches between few kinds. */
const MAX_PROGRAMS_OF_SHAPE = 32;

interface Head {
  readonly kind: number;
  readonly flags: number;
  readonly aux: number;
}

function readHead(context: DecoderContext): Head {
  const { reader } = context;
  reader.align();
  const at = reader.take(8);
  return { kind: reader.view.getUint8(at), flags: reader.view.getUint8(at + 1), aux: reader.view.getUint32(at + 4, true) };
}

function whole(kind: number, data: ArrayLike<unknown>, dictionary: readonly string[] = NOTHING): ReadColumn {
  return { kind, data, dictionary, mask: null, absent: null };
}

function countSlots(context: DecoderContext, count: number): void {
  context.slots += count;
  if (context.slots > MAX_BATCH_VALUES) throw violation("it has too many values");
}

/** Reads the column that holds the records themselves, straight into `out`. */
export function readRecords(context: DecoderContext, column: DecoderColumn, count: number, out: unknown[]): void {
  const head = readHead(context);
  countSlots(context, count);
  if (head.kind === Kind.STRUCT) {
    readStruct(context, column, head, count, 0, out, 0);
    return;
  }
  const read = readBody(context, column, head, count, 0, true);
  for (let i = 0; i < count; i++) out[i] = valueAt(read, i);
}

function readColumn(context: DecoderContext, column: DecoderColumn, count: number, depth: number): ReadColumn {
  const head = readHead(context);
  countSlots(context, count);
  return readBody(context, column, head, count, depth, true);
}

function readBody(
  context: DecoderContext,
  column: DecoderColumn,
  head: Head,
  count: number,
  depth: number,
  mayBeNullable: boolean,
): ReadColumn {
  const { reader } = context;
  switch (head.kind) {
    case Kind.I8:
      return whole(Kind.I8, reader.i8s(count));
    case Kind.I16:
      return whole(Kind.I16, reader.i16s(count));
    case Kind.I32:
      return whole(Kind.I32, reader.i32s(count));
    case Kind.F64:
      return whole(Kind.F64, reader.f64s(count));
    case Kind.BOOLEAN:
      return whole(Kind.BOOLEAN, reader.u8s(count));
    case Kind.DATE:
      return whole(Kind.DATE, reader.f64s(count));
    case Kind.NULL:
    case Kind.UNDEFINED:
      return whole(head.kind, NOTHING);
    case Kind.DICTIONARY8:
    case Kind.DICTIONARY16:
      return readCodes(context, column, head, count);
    case Kind.TEXT:
      return readText(context, column, head, count);
    case Kind.NULLABLE:
      if (!mayBeNullable) break;
      return readNullable(context, column, head, count, depth);
    case Kind.STRUCT: {
      const out = new Array<unknown>(count);
      readStruct(context, column, head, count, depth, out, 0);
      return whole(Kind.VALUES, out);
    }
    case Kind.UNION:
      return readUnion(context, column, head, count, depth);
    case Kind.VALUES:
      return readValues(context, head, count);
  }
  throw violation(`it has a column of the unknown kind ${head.kind}`);
}

function readText(context: DecoderContext, column: DecoderColumn, head: Head, count: number): ReadColumn {
  if ((head.flags & Flag.FORGET) !== 0) column.forget(context);
  const out = new Array<unknown>(count);
  readStrings(context.reader, context.text, count, out, 0);
  return whole(Kind.TEXT, out);
}

function readCodes(context: DecoderContext, column: DecoderColumn, head: Head, count: number): ReadColumn {
  const { reader, text } = context;
  const codes = head.kind === Kind.DICTIONARY8 ? reader.u8s(count) : reader.u16s(count);
  if (head.aux > 0) {
    if (head.aux > reader.remaining) throw violation("it ends too early");
    const entries: string[] = [];
    const units = readStrings(reader, text, head.aux, entries, 0);
    column.addEntries(context, entries, units);
  }
  const { dictionary } = column;
  if (head.kind === Kind.DICTIONARY16 && (head.flags & Flag.ESCAPES) !== 0) return readEscapes(context, codes, dictionary);
  if (dictionary.length < 256 || head.kind === Kind.DICTIONARY16) {
    let highest = 0;
    for (let i = 0; i < count; i++) if ((codes[i] as number) > highest) highest = codes[i] as number;
    if (highest >= dictionary.length) throw violation("a code is not in its dictionary");
  }
  return whole(head.kind, codes, dictionary);
}

function readEscapes(context: DecoderContext, codes: ArrayLike<number>, dictionary: readonly string[]): ReadColumn {
  const { reader, text } = context;
  reader.align();
  const count = reader.u32();
  if (count > codes.length) throw violation("it has more strings than values");
  const escaped: string[] = [];
  readStrings(reader, text, count, escaped, 0);
  let next = 0;
  const out = new Array<unknown>(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] as number;
    const value = code === ESCAPE_CODE ? escaped[next++] : dictionary[code];
    if (value === undefined) throw violation("a code is not in its dictionary");
    out[i] = value;
  }
  if (next !== count) throw violation("it has more strings than values");
  return whole(Kind.TEXT, out);
}

function readNullable(context: DecoderContext, column: DecoderColumn, head: Head, count: number, depth: number): ReadColumn {
  const mask = context.reader.u8s((count + 7) >> 3);
  const inner = readHead(context);
  countSlots(context, count);
  const present = readBody(context, column, inner, count, depth, false);
  return { ...present, mask, absent: (head.flags & Flag.UNDEFINED_FILL) !== 0 ? undefined : null };
}

function readStruct(
  context: DecoderContext,
  column: DecoderColumn,
  head: Head,
  count: number,
  depth: number,
  out: unknown[],
  at: number,
): void {
  if (depth >= MAX_COLUMN_DEPTH) throw violation("its columns are nested too deep");
  const shape = shapeOf(context, column, head);
  const columns = shape.columns.map((field) => readColumn(context, field, count, depth + 1));
  const signature = signatureOf(columns);
  let program = shape.programs.get(signature);
  if (program === undefined) {
    if (context.programs >= MAX_PROGRAMS || shape.programs.size >= MAX_PROGRAMS_OF_SHAPE) {
      buildSlowly(shape.keys, shape.tuple, columns, count, out, at);
      return;
    }
    program = generateProgram(shape.keys, shape.tuple, columns);
    shape.programs.set(signature, program);
    context.programs++;
  }
  program(columns, count, out, at);
}

function shapeOf(context: DecoderContext, column: DecoderColumn, head: Head): DecoderShape {
  const id = head.aux;
  if ((head.flags & Flag.ANNOUNCED) === 0) {
    const shape = column.shapes.get(id);
    if (shape === undefined) throw violation("it refers to a shape that was not announced");
    return shape;
  }
  if (id >= MAX_SHAPES || column.shapes.has(id)) throw violation("it announces a shape twice, or too many");
  const { reader, text } = context;
  const keyCount = reader.u32();
  if (keyCount > MAX_SHAPE_KEYS) throw violation("it announces a shape of too many keys");
  const tuple = (head.flags & Flag.TUPLE) !== 0;
  const keys: string[] = [];
  if (tuple) for (let j = 0; j < keyCount; j++) keys.push(String(j));
  else if (readStrings(reader, text, keyCount, keys, 0) > MAX_SHAPE_UNITS) throw violation("it announces a shape of too long keys");
  if (new Set(keys).size !== keys.length) throw violation("it announces a shape with a key twice");
  const shape = newShape(context, keys, tuple);
  column.shapes.set(id, shape);
  return shape;
}

function readUnion(context: DecoderContext, column: DecoderColumn, head: Head, count: number, depth: number): ReadColumn {
  const { reader } = context;
  if (depth >= MAX_COLUMN_DEPTH || head.aux > MAX_UNION_GROUPS + 1) throw violation("its columns are nested too deep");
  const members = reader.u8s(count);
  const groups: (readonly unknown[])[] = [];
  let total = 0;
  for (let g = 0; g < head.aux; g++) {
    reader.align();
    const size = reader.u32();
    total += size;
    if (total > count) throw violation("its groups do not fit its records");
    groups.push(readGroup(context, column, size, depth));
  }
  const next = new Uint32Array(groups.length);
  const out = new Array<unknown>(count);
  for (let i = 0; i < count; i++) {
    const g = members[i] as number;
    const group = groups[g];
    const at = next[g] as number;
    if (group === undefined || at >= group.length) throw violation("its groups do not fit its records");
    out[i] = group[at];
    next[g] = at + 1;
  }
  return whole(Kind.VALUES, out);
}

function readGroup(context: DecoderContext, column: DecoderColumn, size: number, depth: number): unknown[] {
  const head = readHead(context);
  countSlots(context, size);
  const out = new Array<unknown>(size);
  if (head.kind === Kind.STRUCT) {
    readStruct(context, column, head, size, depth, out, 0);
  } else {
    const read = readBody(context, column.restOf(context), head, size, MAX_COLUMN_DEPTH, true);
    for (let i = 0; i < size; i++) out[i] = valueAt(read, i);
  }
  return out;
}

function readValues(context: DecoderContext, head: Head, count: number): ReadColumn {
  const { reader, text, values } = context;
  const start = reader.take(head.aux);
  reader.align();
  const stringCount = reader.u32();
  if (stringCount > reader.remaining) throw violation("it ends too early");
  const strings: string[] = [];
  readStrings(reader, text, stringCount, strings, 0);
  const end = reader.position;
  reader.position = start;
  const read = values.read(count, head.aux, strings);
  reader.position = end;
  return whole(Kind.VALUES, read);
}
