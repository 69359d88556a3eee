/**
 * Learns the shape of flat JSON lines: which text stands between the values, and which types the values have.
 *
 * Boundary: a line of text in, a description out; `json-scanner.ts` makes code of it. Only lines that JSON.parse accepts are learned.
 */

/** Bits of a set of types. */
export const STRING = 1;
export const NUMBER = 2;
export const BOOLEAN = 4;
export const NULL = 8;

export interface ShapeField {
  readonly name: string;
  /** The exact text in front of the value: `{"a":` for the first, `, "b": ` and the like for the others. */
  readonly before: string;
  readonly types: number;
}

export interface JsonShape {
  /** What all lines of this shape have in common but their values and types. */
  readonly signature: string;
  readonly fields: readonly ShapeField[];
  /** From the last value to the line feed: `}`, or `}` and a carriage return. */
  readonly after: string;
}

/** A larger object makes a function that V8 would not optimise. */
const MAX_FIELDS = 64;

/** Null: not a flat object of plain keys, strings, numbers, booleans and nulls, or one whose text this can't follow. */
export function shapeOf(line: string, value: unknown): JsonShape | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const names = Object.keys(value);
  if (names.length === 0 || names.length > MAX_FIELDS || names.includes("__proto__")) return null;
  // Keys, values and what stands between them, in the order of the text. JSON.parse has accepted the line, so this need not check it.
  const token = /\s*([{,])\s*("(?:[^"\\]|\\.)*")\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;
  const fields: ShapeField[] = [];
  for (;;) {
    const start = token.lastIndex;
    const match = token.exec(line);
    if (match === null) return finish(fields, line.slice(start), names.length);
    const [, , key = "", raw = ""] = match;
    const before = line.slice(start, token.lastIndex - raw.length);
    if (!isPlain(before)) return null;
    const name: unknown = JSON.parse(key);
    if (typeof name !== "string") return null;
    fields.push({ name, before, types: typeOf(raw) });
    if (fields.length > MAX_FIELDS) return null;
  }
}

function finish(fields: readonly ShapeField[], after: string, names: number): JsonShape | null {
  // Nested values end the scan early; a key that comes twice gives fewer names than fields.
  if (fields.length !== names || !/^\s*\}\s*$/.test(after) || !isPlain(after)) return null;
  return { signature: JSON.stringify([fields.map((field) => field.before), after]), fields, after };
}

/** The same shape with the types of both. */
export function widen(shape: JsonShape, other: JsonShape): JsonShape {
  const fields = shape.fields.map((field, i) => ({ ...field, types: field.types | (other.fields[i]?.types ?? 0) }));
  return { ...shape, fields };
}

function typeOf(raw: string): number {
  const first = raw.charCodeAt(0);
  if (first === 0x22) return STRING;
  if (first === 0x74 || first === 0x66) return BOOLEAN;
  if (first === 0x6e) return NULL;
  return NUMBER;
}

/** ASCII without a line feed: one byte a character. */
function isPlain(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 126 || code === 10) return false;
  }
  return true;
}
