/**
 * A copy of a value of state that later changes of the value don't reach: what a snapshot keeps of an entry that a record is about to change.
 *
 * Boundary: copies what the batch codec writes, and comes back as that does (instances of classes as plain objects). What it refuses is handed on as it is.
 */
import { MAX_VALUE_DEPTH } from "../codec/limits.js";

export function copyValue(value: unknown, depth = 0): unknown {
  // Deeper values, and cycles, are refused when they are encoded.
  if (typeof value !== "object" || value === null || depth > MAX_VALUE_DEPTH) return value;
  if (Array.isArray(value)) return copyItems(value, depth);
  if (Object.getPrototypeOf(value) === Object.prototype) return copyFields(value as Record<string, unknown>, depth);
  if (value instanceof Map) return new Map([...value].map(([key, one]) => [copyValue(key, depth + 1), copyValue(one, depth + 1)]));
  if (value instanceof Set) return new Set(copyItems([...value], depth));
  return copyBuiltIn(value, depth);
}

function copyItems(items: readonly unknown[], depth: number): unknown[] {
  const copy = items.slice();
  for (let i = 0; i < copy.length; i++) if (isObject(copy[i])) copy[i] = copyValue(copy[i], depth + 1);
  return copy;
}

function copyFields(value: Record<string, unknown>, depth: number): unknown {
  const copy: Record<string, unknown> = { ...value };
  for (const key in copy) if (isObject(copy[key])) copy[key] = copyValue(copy[key], depth + 1);
  return copy;
}

function copyBuiltIn(value: object, depth: number): unknown {
  if (value instanceof Date) return new Date(value);
  if (value instanceof ArrayBuffer) return value.slice(0);
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, byteLength } = value;
    const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
    if (value instanceof DataView) return new DataView(bytes);
    return new (value.constructor as new (buffer: ArrayBufferLike) => unknown)(bytes);
  }
  const name = Object.prototype.toString.call(value);
  return name === "[object Object]" ? copyFields(value as Record<string, unknown>, depth) : value;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}
