/** Bytes as text and back (hex, base64), concatenation, and a comparison whose time does not depend on where two secrets differ. */
import { CodedError } from "./errors.js";

const HEX = "0123456789abcdef";

export function bytesToHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (HEX[byte >> 4] ?? "") + (HEX[byte & 15] ?? "");
  return text;
}

/** Rejects anything but pairs of hexadecimal digits with INVALID_ARGUMENT. */
export function hexToBytes(text: string): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text))
    throw new CodedError("INVALID_ARGUMENT", "a hexadecimal text was expected");
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  return bytes;
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FROM_BASE64 = new Int8Array(128).fill(-1);
for (let index = 0; index < BASE64.length; index += 1) FROM_BASE64[BASE64.charCodeAt(index)] = index;
const TO_BASE64 = Uint8Array.from(BASE64, (character) => character.charCodeAt(0));
const PADDING = "=".charCodeAt(0);
/** Texts are made in pieces of this many bytes: a call takes so many arguments everywhere, and appending single characters is 100 times slower. */
const PIECE_BYTES = 3 * 2048;

export function bytesToBase64(bytes: Uint8Array): string {
  const codes = new Uint8Array((PIECE_BYTES / 3) * 4);
  let text = "";
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, bytes.length);
    let at = 0;
    for (let index = start; index < end; index += 3) {
      const left = end - index;
      const group =
        ((bytes[index] ?? 0) << 16) | (left > 1 ? (bytes[index + 1] ?? 0) << 8 : 0) | (left > 2 ? (bytes[index + 2] ?? 0) : 0);
      codes[at] = TO_BASE64[group >> 18] ?? 0;
      codes[at + 1] = TO_BASE64[(group >> 12) & 63] ?? 0;
      codes[at + 2] = left > 1 ? (TO_BASE64[(group >> 6) & 63] ?? 0) : PADDING;
      codes[at + 3] = left > 2 ? (TO_BASE64[group & 63] ?? 0) : PADDING;
      at += 4;
    }
    // A typed array is a list of arguments to the engine, and spreading it is slower.
    text += String.fromCharCode.apply(null, codes.subarray(0, at) as unknown as number[]);
  }
  return text;
}

/** Standard base64 with padding; rejects everything else with INVALID_ARGUMENT. */
export function base64ToBytes(text: string): Uint8Array {
  const malformed = () => new CodedError("INVALID_ARGUMENT", "a base64 text was expected");
  if (text.length % 4 !== 0) throw malformed();
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  let at = 0;
  for (let index = 0; index < text.length; index += 4) {
    let group = 0;
    for (let offset = 0; offset < 4; offset += 1) {
      const isPadding = index + offset >= text.length - padding;
      const code = text.charCodeAt(index + offset);
      const value = isPadding ? 0 : (FROM_BASE64[code] ?? -1);
      if (value < 0) throw malformed();
      group = (group << 6) | value;
    }
    if (at < bytes.length) bytes[at++] = group >> 16;
    if (at < bytes.length) bytes[at++] = (group >> 8) & 255;
    if (at < bytes.length) bytes[at++] = group & 255;
  }
  return bytes;
}

/** True when equal; takes the same time wherever they differ. Lengths are not secret. */
export function equalInConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index += 1) difference |= (a[index] ?? 0) ^ (b[index] ?? 0);
  return difference === 0;
}
