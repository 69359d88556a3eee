/**
 * What counts as a record: an object that travels as its own enumerable string keys. Plain objects, objects without a prototype, and
 * instances of classes of the user; not arrays, and not what the language itself gives a content beyond its keys (Map, Date, Error ...).
 */
import { CodedError } from "../../../base/errors.js";

const OBJECT_PROTOTYPE = Object.prototype;
/** By `Object.prototype.toString`, which also knows objects of another realm (a vm context). */
const BUILT_INS: ReadonlySet<string> = new Set([
  "Array",
  "Map",
  "Set",
  "Date",
  "RegExp",
  "Error",
  "DOMException",
  "Number",
  "String",
  "Boolean",
  "BigInt",
  "Symbol",
  "Function",
  "ArrayBuffer",
  "SharedArrayBuffer",
  "DataView",
  "Promise",
  "WeakMap",
  "WeakSet",
  "WeakRef",
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
]);

/** The name of the built-in class: "Map" of `[object Map]`. */
export function classOf(value: object): string {
  return OBJECT_PROTOTYPE.toString.call(value).slice(8, -1);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === OBJECT_PROTOTYPE || prototype === null || !BUILT_INS.has(classOf(value));
}

export function notData(what: string): CodedError {
  return new CodedError("BAD_RECORD", `a record holds ${what}, which can't be sent to another subtask`, {
    hint: "emit data only: numbers, text, booleans, null, dates, bytes, BigInt, arrays, Map, Set and objects of these",
  });
}
