import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { base64ToBytes, bytesToBase64, bytesToHex, equalInConstantTime, hexToBytes } from "../../../src/base/bytes.js";

describe("bytes as text", () => {
  test("are the same as Node's in hex and base64, and come back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(bytesToBase64(bytes)).toBe(Buffer.from(bytes).toString("base64"));
        expect(bytesToHex(bytes)).toBe(Buffer.from(bytes).toString("hex"));
        expect([...base64ToBytes(bytesToBase64(bytes))]).toEqual([...bytes]);
        expect([...hexToBytes(bytesToHex(bytes))]).toEqual([...bytes]);
      }),
    );
    const large = new Uint8Array(100_001).map((_, index) => index);
    expect(bytesToBase64(large)).toBe(Buffer.from(large).toString("base64"));
  });

  test("are refused when they are malformed", () => {
    for (const bad of ["a", "ab", "abc", "ab=c", "=abc", "====", "ab\u00ffc", "a-_b", "ab c", "\u{1f600}ab"])
      expect(() => base64ToBytes(bad)).toThrow(/base64/);
    for (const bad of ["a", "0g", " 00 "]) expect(() => hexToBytes(bad)).toThrow(/hexadecimal/);
  });

  test("are equal only when all of them are", () => {
    expect(equalInConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
    expect(equalInConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
    expect(equalInConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1))).toBe(false);
  });
});
