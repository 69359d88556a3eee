/**
 * Code generated per shape: object literals of fixed keys, so that all records of a shape have the same hidden class. Source text holds
 * generated names, JSON.stringify'd keys and nothing else, so a key can never become code.
 */
import { Kind } from "./kinds.js";

/** A column as it was read: how to get the value at i. */
export interface ReadColumn {
  /** A kind that has an access expression below; VALUES and TEXT hold the values themselves in `data`. */
  readonly kind: number;
  readonly data: ArrayLike<unknown>;
  readonly dictionary: readonly string[];
  /** Bit i says whether value i is there; null: all are. */
  readonly mask: Uint8Array | null;
  readonly absent: null | undefined;
}

/** Puts records 0..count-1 into `out` from `at` on. */
export type Program = (columns: readonly ReadColumn[], count: number, out: unknown[], at: number) => void;

/** The key as it stands in an object literal. A bare "__proto__" there would set the prototype; a computed one makes a field. */
export function literalKey(key: string): string {
  return key === "__proto__" ? '["__proto__"]' : JSON.stringify(key);
}

/** `record[key] = value` for any key. */
export function setField(record: object, key: string, value: unknown): void {
  if (key === "__proto__") Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true });
  else (record as Record<string, unknown>)[key] = value;
}

function access(column: ReadColumn, j: number): string {
  const value = presentAccess(column.kind, j);
  if (column.mask === null) return value;
  return `(m${j}[i>>3]&(1<<(i&7)))!==0?${value}:${column.absent === null ? "null" : "undefined"}`;
}

function presentAccess(kind: number, j: number): string {
  switch (kind) {
    case Kind.BOOLEAN:
      return `c${j}[i]===1`;
    case Kind.DICTIONARY8:
    case Kind.DICTIONARY16:
      return `d${j}[c${j}[i]]`;
    case Kind.DATE:
      return `new Date(c${j}[i])`;
    case Kind.NULL:
      return "null";
    case Kind.UNDEFINED:
      return "undefined";
    default:
      return `c${j}[i]`;
  }
}

/** Equal for columns that the same program can read at full speed. */
export function signatureOf(columns: readonly ReadColumn[]): string {
  let signature = "";
  for (const { kind, mask, absent } of columns) {
    signature += String.fromCharCode(97 + kind);
    if (mask !== null) signature += absent === null ? "0" : "1";
  }
  return signature;
}

export function generateProgram(keys: readonly string[], tuple: boolean, columns: readonly ReadColumn[]): Program {
  const declare = columns
    .map((column, j) => `const c${j}=C[${j}].data,d${j}=C[${j}].dictionary${column.mask === null ? "" : `,m${j}=C[${j}].mask`};`)
    .join("");
  const fields = columns.map((column, j) => (tuple ? "" : `${literalKey(keys[j] as string)}:`) + access(column, j)).join(",");
  const record = tuple ? `[${fields}]` : `{${fields}}`;
  return new Function("C", "n", "out", "at", `"use strict";${declare}for(let i=0;i<n;i++)out[at+i]=${record};`) as Program;
}

/** The value at i without generated code. */
export function valueAt(column: ReadColumn, i: number): unknown {
  const { kind, data, mask } = column;
  if (mask !== null && ((mask[i >> 3] as number) & (1 << (i & 7))) === 0) return column.absent;
  switch (kind) {
    case Kind.BOOLEAN:
      return data[i] === 1;
    case Kind.DICTIONARY8:
    case Kind.DICTIONARY16:
      return column.dictionary[data[i] as number];
    case Kind.DATE:
      return new Date(data[i] as number);
    case Kind.NULL:
      return null;
    case Kind.UNDEFINED:
      return undefined;
    default:
      return data[i];
  }
}

/** What a program does, by a loop over the keys. */
export function buildSlowly(
  keys: readonly string[],
  tuple: boolean,
  columns: readonly ReadColumn[],
  count: number,
  out: unknown[],
  at: number,
): void {
  for (let i = 0; i < count; i++) {
    const record: object = tuple ? [] : {};
    for (let j = 0; j < keys.length; j++) setField(record, keys[j] as string, valueAt(columns[j] as ReadColumn, i));
    out[at + i] = record;
  }
}
