/**
 * Writes any values as tokens (see kinds.ts): what no column kind fits, such as lists of varying length, mixed types and Map.
 *
 * Boundary: all text of the values is gathered and written at the end as one piece; shapes of objects are numbered anew in each batch, so
 * the writer carries no state that the other side has to share.
 * Why not msgpackr: it loses -0, lone surrogates and "__proto__", runs native code and process-wide state on bytes that may be hostile, and
 * was slower (bench/codec.mjs, nested lists: 4 against 12 M/s to encode, 13 against 17 to decode).
 * What does not come back as it was: instances of classes and objects without a prototype come back as plain objects, subclasses of
 * Array, Map, Set and Uint8Array as their base, holes in arrays as undefined, an object met twice as two objects; keys that are symbols are left out.
 * Functions, symbols, promises and weak collections are refused with BAD_RECORD, as are cycles.
 */
import type { ByteWriter } from "./byte-writer.js";
import { BINARY_TYPES, SMALL_INT_FIRST, SMALL_INT_LAST, SMALL_INT_ZERO, Token } from "./kinds.js";
import { MAX_VALUE_DEPTH, MAX_VALUE_SHAPE_KEYS, MAX_VALUE_SHAPES } from "./limits.js";
import { PayloadOverflow } from "./overflow.js";
import { classOf, notData } from "./records.js";

/** One key on the way to a shape: objects with the same keys in the same order end at the same step. */
interface Step {
  readonly next: Map<string, Step>;
  /** The batch in which the shape that ends here got its number. */
  batch: number;
  shape: number;
}

/** Steps remembered between batches; past it the table is built anew. */
const MAX_STEPS = 8_192;
/** Longest token with its fixed fields. */
const TOKEN_BYTES = 16;

export class ValueWriter {
  private readonly writer: ByteWriter;
  private root: Step = { next: new Map(), batch: 0, shape: 0 };
  private steps = 0;
  private batch = 0;
  private shapes = 0;
  private strings: string[] = [];
  private limitBytes = 0;

  constructor(writer: ByteWriter) {
    this.writer = writer;
  }

  /** Writes the tokens of `count` values and returns the strings that belong to them, in order. */
  write(values: readonly unknown[], count: number, limitBytes: number): string[] {
    this.batch++;
    this.shapes = 0;
    this.strings = [];
    this.limitBytes = limitBytes;
    if (this.steps > MAX_STEPS) {
      this.root = { next: new Map(), batch: 0, shape: 0 };
      this.steps = 0;
    }
    for (let i = 0; i < count; i++) this.value(values[i], 0);
    const { strings } = this;
    this.strings = [];
    return strings;
  }

  private value(value: unknown, depth: number): void {
    const { writer } = this;
    writer.reserve(TOKEN_BYTES);
    switch (typeof value) {
      case "string":
        writer.u8(Token.STRING);
        this.strings.push(value);
        return;
      case "number":
        this.number(value);
        return;
      case "object":
        if (value === null) writer.u8(Token.NULL);
        else this.object(value, depth);
        return;
      case "boolean":
        writer.u8(value ? Token.TRUE : Token.FALSE);
        return;
      case "undefined":
        writer.u8(Token.UNDEFINED);
        return;
      case "bigint":
        this.bigint(value);
        return;
      default:
        throw notData(`a ${typeof value}`);
    }
  }

  private number(value: number): void {
    const { writer } = this;
    const whole = value | 0;
    if (whole !== value || Object.is(value, -0)) {
      writer.u8(Token.F64);
      writer.double(value);
    } else if (whole >= SMALL_INT_FIRST - SMALL_INT_ZERO && whole <= SMALL_INT_LAST - SMALL_INT_ZERO) {
      writer.u8(whole + SMALL_INT_ZERO);
    } else {
      writer.u8(Token.I32);
      writer.u32(whole);
    }
  }

  private bigint(value: bigint): void {
    const negative = value < 0n;
    const hex = (negative ? -value : value).toString(16);
    const size = (hex.length + 1) >> 1;
    const { writer } = this;
    writer.reserve(TOKEN_BYTES + size);
    writer.u8(Token.BIGINT);
    writer.u8(negative ? 1 : 0);
    writer.varint(size);
    const odd = hex.length & 1;
    for (let i = 0; i < size; i++) writer.u8(Number.parseInt(hex.slice(Math.max(0, i * 2 - odd), i * 2 - odd + 2), 16));
  }

  private object(value: object, depth: number): void {
    if (depth >= MAX_VALUE_DEPTH) throw notData(`objects nested more than ${MAX_VALUE_DEPTH} deep, or a cycle`);
    // Most of what comes here is an array or a plain object, and those are recognised without asking for a name.
    if (Array.isArray(value)) this.array(value, depth);
    else if (Object.getPrototypeOf(value) === Object.prototype) this.fields(value as Record<string, unknown>, depth);
    else this.builtIn(value, depth);
    if (this.writer.position > this.limitBytes) throw new PayloadOverflow();
  }

  private builtIn(value: object, depth: number): void {
    const name = classOf(value);
    switch (name) {
      case "Date":
        this.writer.u8(Token.DATE);
        this.writer.double((value as Date).getTime());
        return;
      case "Map":
        this.map(value as Map<unknown, unknown>, depth);
        return;
      case "Set":
        this.set(value as Set<unknown>, depth);
        return;
      case "Error":
      case "DOMException":
        this.error(value as Error, depth);
        return;
      case "RegExp":
        this.writer.u8(Token.REGEXP);
        this.strings.push((value as RegExp).source, (value as RegExp).flags);
        return;
      case "Number":
      case "String":
      case "Boolean":
      case "BigInt":
        this.value(value.valueOf(), depth);
        return;
      case "Symbol":
      case "Function":
      case "Promise":
      case "WeakMap":
      case "WeakSet":
      case "WeakRef":
        throw notData(`a ${name}`);
      default:
        if (ArrayBuffer.isView(value) || name === "ArrayBuffer" || name === "SharedArrayBuffer") this.binary(value, name);
        else this.fields(value as Record<string, unknown>, depth);
    }
  }

  private array(items: readonly unknown[], depth: number): void {
    this.writer.u8(Token.ARRAY);
    this.writer.varint(items.length);
    for (let i = 0; i < items.length; i++) this.value(items[i], depth + 1);
  }

  // The methods of the language itself, so that a subclass that iterates otherwise can't make the count wrong.
  private set(set: Set<unknown>, depth: number): void {
    this.writer.u8(Token.SET);
    this.writer.varint(set.size);
    Set.prototype.forEach.call(set, (item) => this.value(item, depth + 1));
  }

  private map(map: Map<unknown, unknown>, depth: number): void {
    this.writer.u8(Token.MAP);
    this.writer.varint(map.size);
    Map.prototype.forEach.call(map, (value, key) => {
      this.value(key, depth + 1);
      this.value(value, depth + 1);
    });
  }

  private binary(value: object, name: string): void {
    const type = BINARY_TYPES.indexOf((name === "SharedArrayBuffer" ? "ArrayBuffer" : name) as (typeof BINARY_TYPES)[number]);
    if (type < 0) throw notData(`a ${name}`);
    const bytes = ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value as ArrayBuffer);
    if (bytes.length > this.limitBytes) throw new PayloadOverflow();
    const { writer } = this;
    writer.reserve(TOKEN_BYTES + bytes.length);
    writer.u8(Token.BYTES);
    writer.u8(type);
    writer.varint(bytes.length);
    writer.bytes.set(bytes, writer.position);
    writer.position += bytes.length;
  }

  private error(error: Error, depth: number): void {
    const hasCause = Object.hasOwn(error, "cause");
    this.writer.u8(Token.ERROR);
    this.writer.u8(hasCause ? 1 : 0);
    this.strings.push(String(error.name), String(error.message), String(error.stack ?? ""));
    if (hasCause) this.value(error.cause, depth + 1);
    const own = error as unknown as Record<string, unknown>;
    const keys = Object.keys(own).filter((key) => key !== "name" && key !== "message" && key !== "stack" && key !== "cause");
    this.writer.reserve(TOKEN_BYTES);
    this.pairs(own, keys, depth);
  }

  private fields(record: Record<string, unknown>, depth: number): void {
    const keys = Object.keys(record);
    if (keys.length > MAX_VALUE_SHAPE_KEYS) {
      this.pairs(record, keys, depth);
      return;
    }
    const { writer } = this;
    const step = this.stepOf(keys);
    if (step.batch === this.batch) {
      writer.u8(Token.OBJECT);
      writer.varint(step.shape);
    } else if (this.shapes < MAX_VALUE_SHAPES) {
      step.batch = this.batch;
      step.shape = this.shapes++;
      writer.u8(Token.NEW_SHAPE);
      writer.varint(keys.length);
      for (const key of keys) this.strings.push(key);
    } else {
      this.pairs(record, keys, depth);
      return;
    }
    for (const key of keys) this.value(record[key], depth + 1);
  }

  private pairs(record: Record<string, unknown>, keys: readonly string[], depth: number): void {
    this.writer.u8(Token.PAIRS);
    this.writer.varint(keys.length);
    for (const key of keys) {
      this.strings.push(key);
      this.value(record[key], depth + 1);
    }
  }

  private stepOf(keys: readonly string[]): Step {
    let step = this.root;
    for (const key of keys) {
      let next = step.next.get(key);
      if (next === undefined) {
        next = { next: new Map(), batch: 0, shape: 0 };
        step.next.set(key, next);
        this.steps++;
      }
      step = next;
    }
    return step;
  }
}
