/**
 * What one encoder remembers of a channel: columns with their dictionaries, and shapes with the code generated for them.
 *
 * Invariant: what the other side has not been told is undone when a batch fails (too large, or a getter of the user throws). Everything
 * that changes in a way the decoder has to learn of enters itself in the journal of the batch, to be committed or rolled back.
 */
import type { ByteWriter } from "./byte-writer.js";
import { ESCAPE_CODE } from "./kinds.js";
import {
  LONGEST_ENTRY_UNITS,
  MAX_CHANNEL_DICTIONARY_UNITS,
  MAX_COLUMNS,
  MAX_DICTIONARY_ENTRIES,
  MAX_DICTIONARY_UNITS,
  MAX_SHAPE_KEYS,
  MAX_SHAPE_UNITS,
} from "./limits.js";
import { isRecord } from "./records.js";
import { detachText, type TextCodec } from "./text-codec.js";
import type { ValueWriter } from "./value-writer.js";

export interface Undoable {
  commit(): void;
  rollback(): void;
}

/** What the functions that write columns share while a batch is encoded. */
export interface EncoderContext {
  readonly writer: ByteWriter;
  readonly text: TextCodec;
  readonly values: ValueWriter;
  /** Position in the writer that the payload must not pass. */
  readonly limitBytes: number;
  readonly journal: Undoable[];
  /** Column slots written in this batch. */
  slots: number;
  /** Columns and UTF-16 units in dictionaries of the whole channel. */
  columns: number;
  dictionaryUnits: number;
}

/** Strings looked at before a dictionary is judged, and again after each such number. */
const JUDGED_STRINGS = 4_096;

/** Codes of one byte are enough for this many entries. */
export const BYTE_CODES = 256;

/** Strings of one column that both sides know by number. Grows until it is full, then stays; dropped when it does not pay. */
export class Dictionary implements Undoable {
  private readonly context: EncoderContext;
  private readonly codes = new Map<string, number>();
  /** Entries that the decoder does not know yet, and their units. */
  added: string[] = [];
  private addedUnits = 0;
  private units = 0;
  private looked = 0;
  private missed = 0;

  constructor(context: EncoderContext) {
    this.context = context;
  }

  get size(): number {
    return this.codes.size;
  }

  /**
   * Puts codes of one byte into `out` from `at` on, as long as the values are strings and their codes fit. Returns the index of the first
   * value for which that does not hold.
   */
  encodeBytes(values: readonly unknown[], count: number, out: Uint8Array, at: number): number {
    const { codes } = this;
    for (let i = 0; i < count; i++) {
      const value = values[i];
      let code = codes.get(value as string);
      if (code === undefined) {
        if (typeof value !== "string" || codes.size >= BYTE_CODES || !this.takes(value)) return i;
        code = this.add(value);
      } else if (code >= BYTE_CODES) {
        return i;
      }
      out[at + i] = code;
    }
    return count;
  }

  /**
   * The same from value `from` on with codes of two bytes; strings that are not taken in go to `escaped`. Returns false at the first value
   * that is no string, with nothing added.
   */
  encodeWords(values: readonly unknown[], from: number, count: number, out: Uint16Array, at: number, escaped: string[]): boolean {
    const { codes } = this;
    for (let i = from; i < count; i++) {
      const value = values[i];
      let code = codes.get(value as string);
      if (code === undefined) {
        if (typeof value !== "string") {
          this.rollback();
          return false;
        }
        code = this.takes(value) ? this.add(value) : ESCAPE_CODE;
        if (code === ESCAPE_CODE) escaped.push(value);
      }
      out[at + i] = code;
    }
    return true;
  }

  /** Whether a new string is taken in: the bounds allow it, and it is not so long that a few of its kind would fill the dictionary. */
  private takes(text: string): boolean {
    return (
      text.length <= LONGEST_ENTRY_UNITS &&
      this.codes.size < MAX_DICTIONARY_ENTRIES &&
      this.units < MAX_DICTIONARY_UNITS &&
      this.context.dictionaryUnits < MAX_CHANNEL_DICTIONARY_UNITS
    );
  }

  private add(text: string): number {
    // Detached: an entry lives as long as the connection and must not hold the chunk that it was cut from.
    const own = detachText(text);
    const code = this.codes.size;
    this.codes.set(own, code);
    this.added.push(own);
    this.addedUnits += own.length;
    this.units += own.length;
    this.context.dictionaryUnits += own.length;
    return code;
  }

  /** False when most strings are new ones: then the dictionary costs more than it saves. */
  pays(count: number, escaped: number): boolean {
    this.looked += count;
    this.missed += this.added.length + escaped;
    if (this.looked < JUDGED_STRINGS) return true;
    const pays = this.missed * 2 < this.looked;
    this.looked = 0;
    this.missed = 0;
    return pays;
  }

  commit(): void {
    this.added = [];
    this.addedUnits = 0;
  }

  rollback(): void {
    for (const text of this.added) this.codes.delete(text);
    this.units -= this.addedUnits;
    this.context.dictionaryUnits -= this.addedUnits;
    this.commit();
  }

  /** For another decoder, which knows nothing: empty, but for how well it has paid so far. */
  restart(): void {
    const { looked, missed } = this;
    this.release();
    this.codes.clear();
    this.looked = looked;
    this.missed = missed;
  }

  /** Gives back its share of the channel's bound. */
  release(): void {
    this.rollback();
    this.context.dictionaryUnits -= this.units;
    this.units = 0;
  }
}

/** State of one column: one field of one shape, or the records themselves. */
export class Column implements Undoable {
  /** The values of this column in the batch being encoded; generated code fills it. */
  values: unknown[] = [];
  /** Narrowest kind of number that has been enough so far: it only widens, so that the decoder needs few variants of its code. */
  numberKind = 0;
  /** null: dropped, or not yet made (`plain` tells). */
  dictionary: Dictionary | null = null;
  plain = false;
  /** The decoder still holds a dictionary that was dropped here. */
  forgetPending = false;
  private forgetWritten = false;
  /** Shapes of the objects in this column, by the JSON of their keys. */
  readonly shapes = new Map<string, Shape>();
  /** null or undefined was met in the last batch: look for them first. */
  nullable = false;
  /** Several shapes in the last batch: do not try with one. */
  mixed = false;
  /** Too many shapes to be worth columns. */
  valuesOnly = false;
  /** What is no object, or of a shape without columns, among objects of several shapes. */
  rest: Column | null = null;

  /** For another decoder: it is told everything again, in the way that was found to fit. */
  restart(): void {
    this.dictionary?.restart();
    this.forgetPending = false;
    for (const shape of this.shapes.values()) shape.restart();
    this.rest?.restart();
  }

  reserve(count: number): void {
    if (this.values.length < count) this.values = new Array<unknown>(Math.max(count, 1024));
  }

  noteForgetWritten(context: EncoderContext): void {
    this.forgetWritten = true;
    context.journal.push(this);
  }

  commit(): void {
    if (this.forgetWritten) this.forgetPending = false;
    this.forgetWritten = false;
  }

  rollback(): void {
    this.forgetWritten = false;
  }
}

type Scatter = (
  records: readonly unknown[],
  count: number,
  columns: readonly Column[],
  isRecord: (value: unknown) => boolean,
  getPrototypeOf: (value: unknown) => unknown,
) => number;

/** Keys in order, or the length of arrays; with a column for each and generated code that takes records apart. */
export class Shape implements Undoable {
  readonly id: number;
  readonly keys: readonly string[];
  readonly tuple: boolean;
  readonly columns: readonly Column[];
  announced = false;
  private announcing = false;
  private readonly scatterInto: Scatter;

  constructor(id: number, keys: readonly string[], tuple: boolean) {
    this.id = id;
    this.keys = keys;
    this.tuple = tuple;
    this.columns = keys.map(() => new Column());
    this.scatterInto = generateScatter(keys, tuple);
  }

  matches(record: unknown): boolean {
    return (this.tuple || isRecord(record)) && hasKeys(record, this.keys, this.tuple);
  }

  /** Copies the fields of the leading records that have exactly this shape into the columns; returns how many there were. */
  scatter(records: readonly unknown[], count: number): number {
    for (const column of this.columns) column.reserve(count);
    return this.scatterInto(records, count, this.columns, isRecord, Object.getPrototypeOf);
  }

  restart(): void {
    this.announced = false;
    for (const column of this.columns) column.restart();
  }

  announce(context: EncoderContext): void {
    this.announced = true;
    this.announcing = true;
    context.journal.push(this);
  }

  commit(): void {
    this.announcing = false;
  }

  rollback(): void {
    if (this.announcing) this.announced = false;
    this.announcing = false;
  }
}

function hasKeys(record: unknown, keys: readonly string[], tuple: boolean): boolean {
  if (tuple) return Array.isArray(record) && record.length === keys.length;
  let at = 0;
  for (const key in record as object) {
    if (key !== keys[at]) return false;
    at++;
  }
  return at === keys.length;
}

function generateScatter(keys: readonly string[], tuple: boolean): Scatter {
  const declare = keys.map((_, j) => `const v${j}=columns[${j}].values;`).join("");
  const check = tuple
    ? `if(!Array.isArray(r)||r.length!==${keys.length})return i;`
    : "if(typeof r!=='object'||r===null)return i;" +
      "const p=getPrototypeOf(r);if(p!==proto){if(!isRecord(r))return i;proto=p;}" +
      `let k=0;for(const key in r){if(key!==K[k]){k=-1;break;}k++;}if(k!==${keys.length})return i;`;
  const copy = keys.map((key, j) => `v${j}[i]=r[${tuple ? j : JSON.stringify(key)}];`).join("");
  const source =
    `"use strict";return function scatter(records,count,columns,isRecord,getPrototypeOf){${declare}let proto=Object.prototype;` +
    `for(let i=0;i<count;i++){const r=records[i];${check}${copy}}return count;}`;
  return new Function("K", source)(keys) as Scatter;
}

/** The shape of a record in the table of its column, new ones included; null when it can't or may not have columns. */
export function shapeOf(context: EncoderContext, column: Column, record: object, maxShapes: number): Shape | null {
  const tuple = Array.isArray(record);
  if (!tuple && !isRecord(record)) return null;
  const keys = tuple
    ? Array.from({ length: Math.min(record.length, MAX_SHAPE_KEYS + 1) }, (_, j) => String(j))
    : Object.keys(record);
  if (keys.length > MAX_SHAPE_KEYS || (tuple && keys.length === 0)) return null;
  const name = tuple ? `[${keys.length}]` : JSON.stringify(keys);
  if (name.length > MAX_SHAPE_UNITS) return null;
  const known = column.shapes.get(tuple ? `tuple ${name}` : name);
  if (known !== undefined) return known;
  if (column.shapes.size >= maxShapes || context.columns + keys.length > MAX_COLUMNS) return null;
  if (!hasKeys(record, keys, tuple)) return null;
  const shape = new Shape(column.shapes.size, keys, tuple);
  context.columns += keys.length;
  column.shapes.set(tuple ? `tuple ${name}` : name, shape);
  return shape;
}
