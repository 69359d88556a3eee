import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeFrame, FrameReader } from "../../../src/wire/frames.js";

function readAll(reader: FrameReader): { frames: Uint8Array[]; failed: boolean } {
  const frames: Uint8Array[] = [];
  for (;;) {
    const result = reader.next();
    if (result.kind === "frame") frames.push(result.frame);
    else return { frames, failed: result.kind === "too-large" };
  }
}

const join = (parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

function cut(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (let index = 0; at < bytes.length; index += 1) {
    const size = sizes[index % Math.max(1, sizes.length)] ?? 1;
    chunks.push(bytes.slice(at, at + size));
    at += size;
  }
  return chunks;
}

describe("frames", () => {
  test("come out as they went in, however the stream is cut", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 20 }), sizes, (payloads, cuts) => {
        const reader = new FrameReader(100);
        const out: Uint8Array[] = [];
        for (const chunk of cut(join(payloads.map(encodeFrame)), cuts)) {
          reader.push(chunk);
          out.push(...readAll(reader).frames);
        }
        expect(out.map((frame) => [...frame])).toEqual(payloads.map((payload) => [...payload]));
        expect(reader.heldBytes).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test("of random bytes never make the reader crash, hand out more than the bound, or hold more than twice what came", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 40 }),
        fc.integer({ min: 0, max: 1 << 24 }),
        (chunks, bound) => {
          const reader = new FrameReader(bound);
          let received = 0;
          for (const chunk of chunks) {
            reader.push(chunk);
            received += chunk.length;
            for (const frame of readAll(reader).frames) expect(frame.length).toBeLessThanOrEqual(bound);
            expect(reader.allocatedBytes).toBeLessThanOrEqual(Math.max(1024, 2 * received));
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("above the bound fail with their header alone, and nothing comes out afterwards", () => {
    const reader = new FrameReader(16);
    reader.push(encodeFrame(new Uint8Array(16)));
    reader.push(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(reader.next().kind).toBe("frame");
    expect(reader.next()).toEqual({ kind: "too-large", lengthBytes: 0xffffffff, maxFrameBytes: 16 });
    reader.push(encodeFrame(new Uint8Array(1)));
    expect(reader.next().kind).toBe("too-large");
    expect(reader.heldBytes).toBe(0);
  });

  test("with a large allowed length allocate only by what was received", () => {
    const reader = new FrameReader(1 << 30);
    reader.push(Uint8Array.of(0x3f, 0xff, 0xff, 0xff, 1, 2, 3));
    expect(reader.next().kind).toBe("more");
    expect(reader.allocatedBytes).toBeLessThanOrEqual(1024);
  });

  test("of many bytes in tiny chunks take time and copies in proportion to their size", () => {
    const reader = new FrameReader(1 << 22);
    const frame = encodeFrame(new Uint8Array(1 << 20).fill(9));
    let out: Uint8Array | null = null;
    for (let at = 0; at < frame.length; at += 3) {
      reader.push(frame.subarray(at, at + 3));
      const result = reader.next();
      if (result.kind === "frame") out = result.frame;
    }
    expect(out?.length).toBe(1 << 20);
    expect(out?.every((byte) => byte === 9)).toBe(true);
  });

  test("obey another bound from the next header on", () => {
    const reader = new FrameReader(4);
    reader.push(join([encodeFrame(new Uint8Array(4)), encodeFrame(new Uint8Array(100))]));
    expect(reader.next().kind).toBe("frame");
    reader.limit(100);
    expect(reader.next().kind).toBe("frame");
  });

  test("that lie whole in a chunk are views of it", () => {
    const reader = new FrameReader(100);
    const chunk = encodeFrame(Uint8Array.of(1, 2, 3));
    reader.push(chunk);
    const result = reader.next();
    expect(result.kind === "frame" && result.frame.buffer === chunk.buffer).toBe(true);
  });
});
