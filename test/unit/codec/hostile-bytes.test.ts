import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { BatchDecoder, BatchEncoder, MAX_BATCH_RECORDS } from "../../../src/executor/run/codec/index.js";
import { Flag, Kind, MAGIC, VERSION } from "../../../src/executor/run/codec/kinds.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { channel } from "./coders.js";

const text = createNodeTextCodec();
const repeat = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

/** Batches that use every kind of column and every token. */
const BATCHES: readonly (readonly unknown[])[] = [
  repeat(40, (i) => ({
    a: i,
    b: i * 1_000,
    c: i * 1e6,
    d: i / 3,
    e: i % 2 === 0,
    s: `s${i % 5}`,
    t: new Date(i),
    n: null,
    u: undefined,
  })),
  repeat(300, (i) => `word-${i}`),
  repeat(40, (i) => ({ x: i % 3 ? i : null, y: i % 4 ? `é${i}` : undefined, z: { p: i, q: [i] } })),
  repeat(40, (i) => (i % 2 ? { l: i } : { r: `r${i}`, l: [i] })),
  repeat(40, (i) => [`t${i}`, i]),
  repeat(
    20,
    (i) =>
      [new Map([[i, new Set([{ i }])]]), new Error("e"), 5n ** 30n, /a/g, new Float64Array([i]), { a: -0, b: [1, 70_000] }][i % 6],
  ),
  ["\ud800", "x"],
  [[{ k: 1 }, { k: 2 }], []],
  [Object.fromEntries(repeat(100, (i) => [`k${i}`, i])), 1],
];

/** Either records or a PROTOCOL_VIOLATION; anything else fails the test. */
function decodeHostile(decoder: BatchDecoder, payload: Uint8Array): readonly unknown[] | null {
  try {
    const records = decoder.decode(payload);
    expect(records.length).toBeLessThanOrEqual(MAX_BATCH_RECORDS);
    return records;
  } catch (thrown) {
    if (!(thrown instanceof CodedError)) throw thrown;
    expect(thrown.code).toBe("PROTOCOL_VIOLATION");
    return null;
  }
}

function encoded(): Uint8Array[] {
  const encoder = new BatchEncoder({ text });
  return [...BATCHES, ...BATCHES].map((batch) => encoder.encode(batch, 0, batch.length).bytes);
}

describe("hostile bytes", () => {
  test("any bytes changed in any payload of a channel", () => {
    const payloads = encoded();
    fc.assert(
      fc.property(
        fc.nat(payloads.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 127, 128, 255))), { minLength: 1, maxLength: 4 }),
        (damaged, changes) => {
          const decoder = new BatchDecoder({ text });
          for (let i = 0; i <= damaged; i++) {
            const payload = (payloads[i] as Uint8Array).slice();
            if (i === damaged) for (const [at, byte] of changes) payload[at % payload.length] = byte;
            const records = decodeHostile(decoder, payload);
            if (i < damaged) expect(records).toEqual([...BATCHES, ...BATCHES][i]);
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("every single byte of the heads of every payload, set to every edge value", () => {
    const payloads = encoded();
    payloads.forEach((original, damaged) => {
      for (let at = 0; at < Math.min(original.length, 64); at++) {
        for (const byte of [0, 1, 12, 14, 255]) {
          const decoder = new BatchDecoder({ text });
          for (let i = 0; i < damaged; i++) decoder.decode(payloads[i] as Uint8Array);
          const payload = original.slice();
          payload[at] = byte;
          decodeHostile(decoder, payload);
        }
      }
    });
  });

  test("a payload cut short, anywhere, is a violation; so is one with bytes behind it", () => {
    const payloads = encoded();
    payloads.forEach((original, damaged) => {
      const sent = [...BATCHES, ...BATCHES][damaged] as readonly unknown[];
      for (const payload of [
        ...repeat(Math.min(original.length, 100), (cut) => original.subarray(0, original.length - 1 - cut)),
        grown(original),
      ]) {
        const decoder = new BatchDecoder({ text });
        for (let i = 0; i < damaged; i++) decoder.decode(payloads[i] as Uint8Array);
        expect(decodeHostile(decoder, payload)).toBeNull();
      }
      expect(sent.length).toBeGreaterThan(0);
    });
  });

  test("random bytes behind a good head", () => {
    fc.assert(
      fc.property(
        fc.nat(2_000),
        fc.uint8Array({ maxLength: 300 }),
        fc.constantFrom(...Object.values(Kind)),
        (count, tail, kind) => {
          decodeHostile(new BatchDecoder({ text }), payloadOf(count, [kind, ...tail]));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("payloads out of order, missing or repeated never give an error of another kind", () => {
    const payloads = encoded();
    fc.assert(
      fc.property(fc.array(fc.nat(payloads.length - 1), { maxLength: 12 }), (order) => {
        const decoder = new BatchDecoder({ text });
        for (const i of order) if (decodeHostile(decoder, payloads[i] as Uint8Array) === null) break;
      }),
    );
  });

  test("after a violation the decoder refuses all further bytes", () => {
    const { encoder, decoder } = channel();
    const good = encoder.encode([1, 2], 0, 2).bytes;
    expect(decodeHostile(decoder, good.subarray(0, 9))).toBeNull();
    expect(decodeHostile(decoder, good)).toBeNull();
  });
});

describe("counts that promise more than the bytes hold", () => {
  const head = (kind: number, flags: number, aux: number): number[] => [kind, flags, 0, 0, ...u32(aux)];

  test.each<readonly [string, Uint8Array]>([
    ["records", payloadOf(0xffffffff, head(Kind.NULL, 0, 0))],
    ["records of nothing, one too many", payloadOf(MAX_BATCH_RECORDS + 1, head(Kind.NULL, 0, 0))],
    ["numbers", payloadOf(60_000, head(Kind.F64, 0, 0))],
    ["keys", payloadOf(1, [...head(Kind.STRUCT, Flag.ANNOUNCED, 0), ...u32(0xffffff), 0, 0, 0, 0])],
    ["fields of tuples", payloadOf(1, [...head(Kind.STRUCT, Flag.ANNOUNCED | Flag.TUPLE, 0), ...u32(1_025)])],
    ["shapes", payloadOf(1, [...head(Kind.STRUCT, Flag.ANNOUNCED, 64), ...u32(0)])],
    ["entries of a dictionary", payloadOf(1, [...head(Kind.DICTIONARY8, 0, 0xffffffff), 0])],
    ["text", payloadOf(1, [...head(Kind.TEXT, 0, 0), 1, 0, 0, 0, ...u32(0xfffffff0), 5])],
    ["strings of values", payloadOf(1, [...head(Kind.VALUES, 0, 1), 64, 0, 0, 0, 0, 0, 0, 0, ...u32(0xffffffff)])],
    [
      "items of an array",
      payloadOf(1, [...head(Kind.VALUES, 0, 6), 10, 255, 255, 255, 255, 7, 0, 0, ...u32(0), 0, 0, 0, 0, 1, 0, 0, 0, ...u32(0)]),
    ],
    ["groups", payloadOf(2, [...head(Kind.UNION, 0, 200), 0, 0])],
    [
      "a nullable of a nullable",
      payloadOf(1, [...head(Kind.NULLABLE, 0, 0), 1, 0, 0, 0, 0, 0, 0, 0, ...head(Kind.NULLABLE, 0, 0), 1]),
    ],
  ])("%s", (_, payload) => {
    expect(decodeHostile(new BatchDecoder({ text }), payload)).toBeNull();
  });

  test("wide tuples of many records, from few bytes, are stopped by the bound on values", () => {
    const columns = repeat(1_024, () => head(Kind.NULL, 0, 0)).flat();
    const payload = payloadOf(60_000, [
      ...head(Kind.STRUCT, Flag.ANNOUNCED | Flag.TUPLE, 0),
      ...u32(1_024),
      0,
      0,
      0,
      0,
      ...columns,
    ]);
    expect(decodeHostile(new BatchDecoder({ text }), payload)).toBeNull();
  });

  test("a code that is not in the dictionary is a violation, not undefined", () => {
    const payload = payloadOf(2, [...head(Kind.DICTIONARY8, 0, 1), 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, ...u32(1), 1, 97]);
    expect(decodeHostile(new BatchDecoder({ text }), payload)).toBeNull();
    payload[8 + 8 + 1] = 0;
    expect(decodeHostile(new BatchDecoder({ text }), payload)).toEqual(["a", "a"]);
  });

  test("values nested too deep are a violation", () => {
    const depth = 5_000;
    const stream = [...repeat(depth, () => [10, 1]).flat(), 0];
    const padding = repeat((8 - (stream.length % 8)) % 8, () => 0);
    const payload = payloadOf(1, [
      ...head(Kind.VALUES, 0, stream.length),
      ...stream,
      ...padding,
      ...u32(0),
      0,
      0,
      0,
      0,
      1,
      0,
      0,
      0,
      ...u32(0),
    ]);
    expect(decodeHostile(new BatchDecoder({ text }), payload)).toBeNull();
  });

  test("keys can't become code", () => {
    const { send } = channel();
    const key = '"}];globalThis.hacked=true;[{"';
    send([
      { [key]: 1, v: [{ [key]: 2 }, "`;globalThis.hacked=true;`"] },
      { [key]: 2, v: [] },
    ]);
    expect((globalThis as { hacked?: boolean }).hacked).toBeUndefined();
  });
});

function u32(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

function payloadOf(count: number, body: readonly number[]): Uint8Array {
  return new Uint8Array([MAGIC, VERSION, 0, 0, ...u32(count), ...body]);
}

function grown(bytes: Uint8Array): Uint8Array {
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  return longer;
}
