/**
 * Text to bytes and back: the one thing where the platform decides the speed of the codec, so it is injected.
 *
 * `node/text-codec.ts` implements it with Buffer's native methods; the one here needs nothing but TextEncoder and TextDecoder and is
 * for tests and for platforms without Buffer. Both give the same bytes.
 * Not asked of it: lone surrogates (the codec writes such text as UTF-16) and bounds (the codec has checked them).
 */
export interface TextCodec {
  /** Writes all of `text` as UTF-8 at `offset` (the caller has left 3 bytes a UTF-16 unit) and returns the number of bytes written. */
  writeUtf8(text: string, bytes: Uint8Array, offset: number): number;
  /** Decodes UTF-8; malformed bytes become U+FFFD, a byte order mark is kept. */
  readUtf8(bytes: Uint8Array, start: number, end: number): string;
  /** Writes the low byte of every UTF-16 unit. */
  writeLatin1(text: string, bytes: Uint8Array, offset: number): number;
  /** Every byte becomes the UTF-16 unit of the same number. */
  readLatin1(bytes: Uint8Array, start: number, end: number): string;
}

/** Units handed to one call of String.fromCharCode: well below the limit of arguments. */
const UNITS_PER_CALL = 8_192;

export function createPortableTextCodec(): TextCodec {
  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    writeUtf8(text, bytes, offset) {
      const encoded = encoder.encode(text);
      bytes.set(encoded, offset);
      return encoded.length;
    },
    readUtf8: (bytes, start, end) => decoder.decode(bytes.subarray(start, end)),
    writeLatin1(text, bytes, offset) {
      for (let i = 0; i < text.length; i++) bytes[offset + i] = text.charCodeAt(i);
      return text.length;
    },
    readLatin1: (bytes, start, end) => textOfUnits(bytes.subarray(start, end)),
  };
}

/** The text of UTF-16 units, lone surrogates included. */
export function textOfUnits(units: Uint8Array | Uint16Array): string {
  let text = "";
  for (let i = 0; i < units.length; i += UNITS_PER_CALL) {
    text += String.fromCharCode.apply(null, units.subarray(i, i + UNITS_PER_CALL) as unknown as number[]);
  }
  return text;
}

/** V8 copies shorter slices, longer ones point into the text they were cut from. */
const SHORTEST_POINTING_SLICE = 13;

/**
 * The same text, not held by a larger one. A slice keeps alive what it was cut from (a whole chunk of a file, the text of a whole
 * batch): call this on text that is to be kept longer than the batch it came with, such as a new key of a state.
 */
export function detachText(text: string): string {
  return text.length < SHORTEST_POINTING_SLICE ? text : ` ${text}`.slice(1);
}
