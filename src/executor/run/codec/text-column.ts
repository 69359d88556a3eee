/** Columns of strings: codes of a dictionary while that pays, else the strings themselves. */
import { BYTE_CODES, type Column, Dictionary, type EncoderContext } from "./encoder-state.js";
import { Flag, Kind } from "./kinds.js";
import { writeStrings } from "./strings.js";

/** Returns false, with nothing written, when a value is no string. */
export function writeText(context: EncoderContext, column: Column, values: readonly unknown[], count: number): boolean {
  if (!column.plain) {
    column.dictionary ??= new Dictionary(context);
    const written = writeCodes(context, column.dictionary, values, count);
    if (written !== null) return written;
    column.dictionary.release();
    column.dictionary = null;
    column.plain = true;
    column.forgetPending = true;
  }
  for (let i = 0; i < count; i++) if (typeof values[i] !== "string") return false;
  context.writer.head(Kind.TEXT, column.forgetPending ? Flag.FORGET : 0, 0);
  if (column.forgetPending) column.noteForgetWritten(context);
  writeStrings(context.writer, context.text, values as readonly string[], count, context.limitBytes);
  return true;
}

/** null: the dictionary does not pay. */
function writeCodes(context: EncoderContext, dictionary: Dictionary, values: readonly unknown[], count: number): boolean | null {
  const { writer } = context;
  writer.align();
  writer.reserve(8 + count * 2);
  const body = writer.position + 8;
  const escaped: string[] = [];
  const { bytes, u16 } = writer;
  const short = dictionary.size <= BYTE_CODES ? dictionary.encodeBytes(values, count, bytes, body) : 0;
  if (short < count) {
    for (let i = short - 1; i >= 0; i--) u16[(body >> 1) + i] = bytes[body + i] as number;
    if (!dictionary.encodeWords(values, short, count, u16, body >> 1, escaped)) return false;
  }
  if (!dictionary.pays(count, escaped.length)) return null;
  const { added } = dictionary;
  if (added.length > 0) context.journal.push(dictionary);
  if (short === count) {
    writer.head(Kind.DICTIONARY8, 0, added.length);
    writer.position += count;
  } else {
    writer.head(Kind.DICTIONARY16, escaped.length > 0 ? Flag.ESCAPES : 0, added.length);
    writer.position += count * 2;
  }
  if (added.length > 0) writeStrings(writer, context.text, added, added.length, context.limitBytes);
  if (escaped.length > 0) {
    writer.align();
    writer.reserve(8);
    writer.u32(escaped.length);
    writeStrings(writer, context.text, escaped, escaped.length, context.limitBytes);
  }
  return true;
}
