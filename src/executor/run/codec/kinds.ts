/**
 * What the first byte of a column says, and how the bytes after it are laid out. Both sides import this file.
 *
 * payload  u8 MAGIC, u8 VERSION, u16 0, u32 records; then, when there are records, one column that holds them
 * column   aligned to 8: u8 kind, u8 flags, u16 0, u32 aux; then the body of its kind for n values
 */
export const MAGIC = 0xb7;
export const VERSION = 1;
export const PAYLOAD_HEAD_BYTES = 8;

export const Kind = {
  /** Whole numbers (never -0) and doubles: n numbers of that width. */
  I8: 0,
  I16: 1,
  I32: 2,
  F64: 3,
  /** n bytes, 0 or 1. */
  BOOLEAN: 4,
  /** n codes into the dictionary of the column. aux: number of new entries, which follow the codes as strings, then the strings not in it. */
  DICTIONARY8: 5,
  DICTIONARY16: 6,
  /** n strings. FORGET: the dictionary of this column is used no more. */
  TEXT: 7,
  /** n doubles: milliseconds of a Date, NaN when invalid. */
  DATE: 8,
  /** Every value is null, or undefined: no body. */
  NULL: 9,
  UNDEFINED: 10,
  /** A bitmap of n bits (1: present), then a column in which the absent ones hold some other value. UNDEFINED_FILL: absent means undefined. */
  NULLABLE: 11,
  /** Objects of one shape. aux: its id. ANNOUNCED: u32 number of keys and the keys come first. Then a column for each key. */
  STRUCT: 12,
  /** Objects of several shapes. aux: number of groups. n bytes: the group of each; then for each group u32 count and its column. */
  UNION: 13,
  /** Anything. aux: bytes of tokens; then the tokens, u32 number of strings and the strings. */
  VALUES: 14,
} as const;

export const Flag = {
  /** DICTIONARY16: code 65,535 stands for the next of the strings after the new entries. */
  ESCAPES: 1,
  /** TEXT */
  FORGET: 1,
  /** NULLABLE */
  UNDEFINED_FILL: 1,
  /** STRUCT */
  ANNOUNCED: 1,
  /** STRUCT: arrays of one length, which stands in place of the number of keys. */
  TUPLE: 2,
} as const;

/** The code that is no entry of a dictionary. */
export const ESCAPE_CODE = 65_535;

/** The tokens of VALUES. From SMALL_INT_FIRST on a token is itself a whole number: token - SMALL_INT_ZERO. */
export const Token = {
  NULL: 0,
  UNDEFINED: 1,
  TRUE: 2,
  FALSE: 3,
  I32: 4,
  F64: 5,
  /** The next string. */
  STRING: 6,
  /** f64 milliseconds. */
  DATE: 7,
  /** u8 sign, varint bytes, magnitude with the highest byte first. */
  BIGINT: 8,
  /** u8 type, varint bytes, the bytes. */
  BYTES: 9,
  /** varint count, the items. */
  ARRAY: 10,
  /** varint count, the items. */
  SET: 11,
  /** varint count, keys and values in turn. */
  MAP: 12,
  /** varint shape, the values. */
  OBJECT: 13,
  /** varint number of keys; the keys are the next strings; the values. The shape gets the next number. */
  NEW_SHAPE: 14,
  /** varint number of keys; then a key (the next string) and a value in turn. */
  PAIRS: 15,
  /** Next strings: name, message, stack. u8 has a cause; the cause; then PAIRS of its own fields. */
  ERROR: 16,
  /** Next strings: source, flags. */
  REGEXP: 17,
} as const;

export const SMALL_INT_FIRST = 32;
export const SMALL_INT_ZERO = 64;
export const SMALL_INT_LAST = 255;

/** Names of binary types by code; Buffer travels as Uint8Array. */
export const BINARY_TYPES = [
  "Uint8Array",
  "Int8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
  "ArrayBuffer",
  "DataView",
] as const;
