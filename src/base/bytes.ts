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
/** Characters are joined in pieces of this size, so that no intermediate string has millions of links. */
const PIECE_BYTES = 3 * 4096;

export function bytesToBase64(bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, bytes.length);
    let piece = "";
    for (let index = start; index < end; index += 3) {
      const left = end - index;
      const group = ((bytes[index] ?? 0) << 16) | ((bytes[index + 1] ?? 0) << 8) | (bytes[index + 2] ?? 0);
      piece += BASE64.charAt(group >> 18) + BASE64.charAt((group >> 12) & 63);
      piece += left > 1 ? BASE64.charAt((group >> 6) & 63) : "=";
      piece += left > 2 ? BASE64.charAt(group & 63) : "=";
    }
    pieces.push(piece);
  }
  return pieces.join("");
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
