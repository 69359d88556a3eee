/**
 * Hashing of keys: which key group a key belongs to is decided by this, in every process and in every version that shares checkpoints, so
 * the results are part of the format and never change (golden values in the tests).
 *
 * What are equal keys: values that a Map takes for equal (0 and -0, NaN and NaN); Dates of equal time; arrays and objects whose contents
 * are equal, whatever the order of their keys. 1, "1", 1n and true are four different keys.
 */
import { CodedError } from "../base/errors.js";

/** A primitive, so a Map finds it again: `keyIdentity` gives equal ones for equal keys and different ones for different keys. */
export type KeyIdentity = string | number | bigint | boolean | null | undefined;

const C1 = 0xcc9e2d51;
const C2 = 0x1b873593;

/** The last steps of murmur3: every bit of the hash depends on every bit of the input. */
function finish(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function block(hash: number, word: number): number {
  let k = Math.imul(word, C1);
  k = (k << 15) | (k >>> 17);
  let h = hash ^ Math.imul(k, C2);
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe6546b64) | 0;
}

/**
 * murmur3 (32 bits, seed 0) of a text: for ASCII the hash of its bytes. Wider UTF-16 units are folded into the four that make a word
 * (their high bytes fall on the neighbours), so no bit is lost and no encoding is needed. A signed 32-bit integer.
 */
export function hashText(text: string): number {
  const length = text.length;
  const whole = length & ~3;
  let h = 0;
  let i = 0;
  for (; i < whole; i += 4) {
    const last = text.charCodeAt(i + 3);
    const word =
      text.charCodeAt(i) ^ (text.charCodeAt(i + 1) << 8) ^ (text.charCodeAt(i + 2) << 16) ^ ((last << 24) | (last >>> 8));
    let k = Math.imul(word, C1);
    k = (k << 15) | (k >>> 17);
    h ^= Math.imul(k, C2);
    h = (h << 13) | (h >>> 19);
    h = (Math.imul(h, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let shift = 0; i < length; i++, shift += 8) tail ^= text.charCodeAt(i) << shift;
  let k = Math.imul(tail, C1);
  k = (k << 15) | (k >>> 17);
  return finish(h ^ Math.imul(k, C2) ^ length);
}

const double = new DataView(new ArrayBuffer(8));
/** Keys of different types get different hashes. */
const NUMBER_SEED = 0x4e554d42;
const TRUE_HASH = finish(0x54525545);
const FALSE_HASH = finish(0x46414c53);
const NULL_HASH = finish(0x4e554c4c);
const UNDEFINED_HASH = finish(0x554e4445);

export function hashNumber(value: number): number {
  const whole = value | 0;
  if (whole === value) return finish(block(NUMBER_SEED, whole) ^ 4);
  double.setFloat64(0, Number.isNaN(value) ? Number.NaN : value, true);
  return finish(block(block(NUMBER_SEED, double.getInt32(0, true)), double.getInt32(4, true)) ^ 8);
}

/** Stable hash of any key, a signed 32-bit integer. Throws BAD_RECORD for what is no data (functions, symbols). */
export function hashKey(key: unknown): number {
  switch (typeof key) {
    case "string":
      return hashText(key);
    case "number":
      return hashNumber(key);
    case "boolean":
      return key ? TRUE_HASH : FALSE_HASH;
    case "undefined":
      return UNDEFINED_HASH;
    default:
      return key === null ? NULL_HASH : hashText(canonicalText(key, 0));
  }
}

/** Marks texts that stand for something else. A string that itself begins with it is marked as well, so the two never meet. */
const MARK = "\u0000";
const MAX_KEY_DEPTH = 32;

/** What a Map of state uses in place of the key: the key itself when it is primitive. */
export function keyIdentity(key: unknown): KeyIdentity {
  if (typeof key === "string") return key.charCodeAt(0) === 0 ? `${MARK}s${key}` : key;
  if (key === null || (typeof key !== "object" && typeof key !== "function" && typeof key !== "symbol")) return key as KeyIdentity;
  return MARK + canonicalText(key, 0);
}

/** One text for each value: type marks, lengths before texts, keys of objects in ascending order. */
function canonicalText(value: unknown, depth: number): string {
  switch (typeof value) {
    case "string":
      return `s${value.length}:${value}`;
    case "number":
      return `n${value === 0 ? 0 : value};`;
    case "bigint":
      return `i${value};`;
    case "boolean":
      return value ? "t" : "f";
    case "undefined":
      return "u";
    case "object":
      return value === null ? "0" : canonicalObject(value, depth);
    default:
      throw notAKey(`a ${typeof value}`);
  }
}

function canonicalObject(value: object, depth: number): string {
  if (depth >= MAX_KEY_DEPTH) throw notAKey(`objects nested more than ${MAX_KEY_DEPTH} deep, or a cycle`);
  if (Array.isArray(value)) {
    let text = `[${value.length}:`;
    for (let i = 0; i < value.length; i++) text += canonicalText(value[i], depth + 1);
    return text;
  }
  const kind = Object.prototype.toString.call(value);
  if (kind === "[object Date]") return `d${(value as Date).getTime()};`;
  if (ArrayBuffer.isView(value)) return canonicalBytes(value, kind);
  if (BUILT_INS.has(kind)) throw notAKey(`a ${kind.slice(8, -1)}`);
  const record = value as Record<string, unknown>;
  const keys = Object.keys(record).sort();
  let text = `{${keys.length}:`;
  for (const key of keys) text += canonicalText(key, depth) + canonicalText(record[key], depth + 1);
  return text;
}

/** They have a content beyond their keys, so two different ones would be taken for equal. */
const BUILT_INS: ReadonlySet<string> = new Set(
  [
    "Map",
    "Set",
    "Promise",
    "WeakMap",
    "WeakSet",
    "WeakRef",
    "RegExp",
    "Error",
    "ArrayBuffer",
    "Function",
    "Number",
    "String",
    "Boolean",
  ].map((name) => `[object ${name}]`),
);

function canonicalBytes(view: ArrayBufferView, kind: string): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  let text = `b${kind.slice(8, -1)}:${bytes.length}:`;
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function notAKey(what: string): CodedError {
  return new CodedError("BAD_RECORD", `a key is or holds ${what}, which can't be compared with keys in other processes`, {
    hint: "return text, a number, a BigInt, a boolean, a Date, bytes, or arrays and plain objects of these from keyBy",
  });
}
