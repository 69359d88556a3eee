import { crc32 as ofZlib } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32 } from "../../../src/zookeeper-store/crc32.js";

test("the checksum of records is zlib's, of any bytes at any place in memory", () => {
  expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(16), (bytes, from) => {
      const part = bytes.subarray(Math.min(from, bytes.length));
      expect(crc32(part)).toBe(ofZlib(part));
    }),
  );
});
