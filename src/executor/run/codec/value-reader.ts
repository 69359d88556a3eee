/**
 * Reads what value-writer.ts wrote.
 *
 * Invariants: counts are checked against the bytes that are left (every item takes at least one), so nothing is allocated for what is not
 * there; generated code holds keys through JSON.stringify only; "__proto__" becomes an own field, never a prototype.
 */
import type { ByteReader } from "./byte-reader.js";
import { violation } from "./byte-reader.js";
import { BINARY_TYPES, SMALL_INT_FIRST, SMALL_INT_ZERO, Token } from "./kinds.js";
import { MAX_SHAPE_UNITS, MAX_VALUE_DEPTH, MAX_VALUE_SHAPE_KEYS, MAX_VALUE_SHAPES } from "./limits.js";
import { literalKey, setField } from "./programs.js";

type Build = (reader: ValueReader, depth: number) => unknown;
interface ValueShape {
  readonly keys: readonly string[];
  readonly build: Build | null;
}

const PREALLOCATED_ITEMS = 1_024;
/** Generated constructors kept; objects of other shapes are built by a loop. */
const MAX_BUILDERS = 512;

const ERROR_CLASSES: Readonly<Record<string, ErrorConstructor>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

export class ValueReader {
  private readonly reader: ByteReader;
  private readonly builders = new Map<string, Build>();
  private shapes: ValueShape[] = [];
  private strings: readonly string[] = [];
  private nextString = 0;
  private limit = 0;

  constructor(reader: ByteReader) {
    this.reader = reader;
  }

  /** Reads `count` values from the `size` bytes at the reader's position. */
  read(count: number, size: number, strings: readonly string[]): unknown[] {
    const { reader } = this;
    if (count > size) throw violation("it has fewer values than it says");
    this.shapes = [];
    this.strings = strings;
    this.nextString = 0;
    this.limit = reader.position + size;
    const values = new Array<unknown>(count);
    for (let i = 0; i < count; i++) values[i] = this.value(0);
    if (reader.position !== this.limit || this.nextString !== strings.length) throw violation("its values do not fill their bytes");
    this.strings = [];
    this.shapes = [];
    return values;
  }

  /** Called by generated code, too. */
  value(depth: number): unknown {
    const { reader } = this;
    const token = reader.u8();
    if (token >= SMALL_INT_FIRST) return token - SMALL_INT_ZERO;
    switch (token) {
      case Token.STRING:
        return this.string();
      case Token.NULL:
        return null;
      case Token.UNDEFINED:
        return undefined;
      case Token.TRUE:
        return true;
      case Token.FALSE:
        return false;
      case Token.I32:
        return reader.u32() | 0;
      case Token.F64:
        return reader.double();
      case Token.DATE:
        return new Date(reader.double());
      case Token.BIGINT:
        return this.bigint();
      case Token.BYTES:
        return this.binary();
      case Token.REGEXP:
        return new RegExp(this.string(), this.string());
      default:
        if (depth >= MAX_VALUE_DEPTH) throw violation("its values are nested too deep");
        return this.container(token, depth);
    }
  }

  private container(token: number, depth: number): unknown {
    switch (token) {
      case Token.ARRAY:
        return this.array(depth);
      case Token.OBJECT:
        return this.shaped(this.shapes[this.reader.varint()], depth);
      case Token.NEW_SHAPE:
        return this.shaped(this.newShape(), depth);
      case Token.PAIRS:
        return this.pairs({}, depth);
      case Token.SET:
        return new Set(this.array(depth));
      case Token.MAP:
        return this.map(depth);
      case Token.ERROR:
        return this.error(depth);
      default:
        throw violation(`it holds the unknown token ${token}`);
    }
  }

  private string(): string {
    const text = this.strings[this.nextString++];
    if (text === undefined) throw violation("it has fewer strings than its values need");
    return text;
  }

  private count(bytesEach: number): number {
    const count = this.reader.varint();
    if (count * bytesEach > this.limit - this.reader.position) throw violation("it has fewer values than it says");
    return count;
  }

  private array(depth: number): unknown[] {
    const count = this.count(1);
    // Longer ones grow as their items come: arrays in arrays could otherwise each claim all of the bytes that are left.
    const items = count <= PREALLOCATED_ITEMS ? new Array<unknown>(count) : [];
    for (let i = 0; i < count; i++) items[i] = this.value(depth + 1);
    return items;
  }

  private map(depth: number): Map<unknown, unknown> {
    const map = new Map<unknown, unknown>();
    for (let left = this.count(2); left > 0; left--) map.set(this.value(depth + 1), this.value(depth + 1));
    return map;
  }

  private newShape(): ValueShape {
    const count = this.reader.varint();
    if (count > MAX_VALUE_SHAPE_KEYS || this.shapes.length >= MAX_VALUE_SHAPES)
      throw violation("it has too many shapes of objects");
    const keys: string[] = [];
    for (let i = 0; i < count; i++) keys.push(this.string());
    const shape = { keys, build: this.builderOf(keys) };
    this.shapes.push(shape);
    return shape;
  }

  private builderOf(keys: readonly string[]): Build | null {
    const name = JSON.stringify(keys);
    let build = this.builders.get(name);
    if (build === undefined) {
      if (this.builders.size >= MAX_BUILDERS || name.length > MAX_SHAPE_UNITS) return null;
      const fields = keys.map((key) => `${literalKey(key)}:r.value(d)`).join(",");
      build = new Function("r", "d", `"use strict";return {${fields}};`) as Build;
      this.builders.set(name, build);
    }
    return build;
  }

  private shaped(shape: ValueShape | undefined, depth: number): unknown {
    if (shape === undefined) throw violation("it refers to an unknown shape");
    if (shape.build !== null) return shape.build(this, depth + 1);
    const record = {};
    for (const key of shape.keys) setField(record, key, this.value(depth + 1));
    return record;
  }

  private pairs<T extends object>(record: T, depth: number): T {
    for (let left = this.count(1); left > 0; left--) {
      const key = this.string();
      setField(record, key, this.value(depth + 1));
    }
    return record;
  }

  private error(depth: number): Error {
    const hasCause = this.reader.u8() === 1;
    const name = this.string();
    const message = this.string();
    const stack = this.string();
    const Class = Object.hasOwn(ERROR_CLASSES, name) ? (ERROR_CLASSES[name] ?? Error) : Error;
    const error = hasCause ? new Class(message, { cause: this.value(depth + 1) }) : new Class(message);
    if (error.name !== name) hide(error, "name", name);
    hide(error, "stack", stack);
    if (this.reader.u8() !== Token.PAIRS) throw violation("an error in it has no fields");
    return this.pairs(error, depth);
  }

  private bigint(): bigint {
    const negative = this.reader.u8() === 1;
    const size = this.reader.varint();
    const start = this.reader.take(size);
    let hex = "0x0";
    for (let i = 0; i < size; i++) hex += (this.reader.bytes[start + i] as number).toString(16).padStart(2, "0");
    const magnitude = BigInt(hex);
    return negative ? -magnitude : magnitude;
  }

  private binary(): unknown {
    const type = BINARY_TYPES[this.reader.u8()];
    const size = this.reader.varint();
    const start = this.reader.take(size);
    // A copy, so that the value does not hold the payload, and so that wider numbers are aligned.
    const bytes = this.reader.bytes.slice(start, start + size);
    if (type === "Uint8Array") return bytes;
    if (type === "ArrayBuffer") return bytes.buffer;
    if (type === "DataView") return new DataView(bytes.buffer);
    if (type === undefined) throw violation("it holds bytes of an unknown type");
    const Class = BINARY_CLASSES[type];
    if (size % Class.BYTES_PER_ELEMENT !== 0) throw violation("it holds bytes of an impossible number");
    return new Class(bytes.buffer);
  }
}

const BINARY_CLASSES = {
  Int8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
};

function hide(error: Error, key: "name" | "stack", value: string): void {
  Object.defineProperty(error, key, { value, enumerable: false, configurable: true, writable: true });
}
