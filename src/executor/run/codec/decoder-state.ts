/** What one decoder remembers of a channel: the mirror of encoder-state.ts, filled by announcements only. */
import type { ByteReader } from "./byte-reader.js";
import { violation } from "./byte-reader.js";
import {
  LONGEST_ENTRY_UNITS,
  MAX_CHANNEL_DICTIONARY_UNITS,
  MAX_COLUMNS,
  MAX_DICTIONARY_ENTRIES,
  MAX_DICTIONARY_UNITS,
} from "./limits.js";
import type { Program } from "./programs.js";
import { detachText, type TextCodec } from "./text-codec.js";
import type { ValueReader } from "./value-reader.js";

export interface DecoderContext {
  readonly reader: ByteReader;
  readonly text: TextCodec;
  readonly values: ValueReader;
  /** Column slots read in this batch. */
  slots: number;
  columns: number;
  dictionaryUnits: number;
  /** Functions generated so far. */
  programs: number;
}

export class DecoderColumn {
  dictionary: string[] = [];
  private units = 0;
  readonly shapes = new Map<number, DecoderShape>();
  rest: DecoderColumn | null = null;

  /** Takes over new entries. Each is detached: it must not hold the text of the batch that brought it. */
  addEntries(context: DecoderContext, entries: readonly string[], units: number): void {
    if (this.dictionary.length + entries.length > MAX_DICTIONARY_ENTRIES) throw violation("a dictionary has too many entries");
    this.units += units;
    context.dictionaryUnits += units;
    if (this.units > MAX_DICTIONARY_UNITS + LONGEST_ENTRY_UNITS) throw violation("a dictionary is too large");
    if (context.dictionaryUnits > MAX_CHANNEL_DICTIONARY_UNITS + LONGEST_ENTRY_UNITS)
      throw violation("its dictionaries are too large");
    for (const entry of entries) this.dictionary.push(detachText(entry));
  }

  forget(context: DecoderContext): void {
    context.dictionaryUnits -= this.units;
    this.units = 0;
    this.dictionary = [];
  }

  restOf(context: DecoderContext): DecoderColumn {
    if (this.rest === null) {
      countColumns(context, 1);
      this.rest = new DecoderColumn();
    }
    return this.rest;
  }
}

export interface DecoderShape {
  readonly keys: readonly string[];
  readonly tuple: boolean;
  readonly columns: readonly DecoderColumn[];
  /** Generated constructors by the kinds of the columns. */
  readonly programs: Map<string, Program>;
}

export function newShape(context: DecoderContext, keys: readonly string[], tuple: boolean): DecoderShape {
  countColumns(context, keys.length);
  return { keys, tuple, columns: keys.map(() => new DecoderColumn()), programs: new Map() };
}

function countColumns(context: DecoderContext, count: number): void {
  context.columns += count;
  if (context.columns > MAX_COLUMNS) throw violation("its channel has too many columns");
}
