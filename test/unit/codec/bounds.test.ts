import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { hasCode } from "../../../src/base/errors.js";
import { BatchDecoder, BatchEncoder, MAX_BATCH_RECORDS } from "../../../src/executor/run/codec/index.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { channel } from "./coders.js";

const text = createNodeTextCodec();
const repeat = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const sizeOf = (encoder: BatchEncoder, records: readonly unknown[]): number =>
  encoder.encode(records, 0, records.length).bytes.length;

describe("sizes", () => {
  test("a repeated batch of flat records takes the bytes of its columns, without names", () => {
    const { encoder, send } = channel();
    const batch = repeat(1_024, (i) => ({ delay: i % 100, distance: i, origin: `A${i % 200}` }));
    send(batch);
    expect(sizeOf(encoder, batch)).toBeLessThan(1_024 * 4 + 64);
  });

  test("shapes in turn cost one byte a record more than the shapes by themselves", () => {
    const { encoder, send } = channel();
    const left = repeat(512, (i) => ({ l: i % 100 }));
    const right = repeat(512, (i) => ({ r: i % 100 }));
    const mixed = repeat(1_024, (i) => (i % 2 ? left[i >> 1] : right[i >> 1]));
    send(mixed);
    send(left);
    expect(sizeOf(encoder, mixed)).toBeLessThan(1_024 * 2 + 128);
  });

  test("one field that is null now and then costs one bit a record", () => {
    const { encoder, send } = channel();
    const batch = repeat(1_024, (i) => ({ n: i % 9 ? i % 100 : null }));
    send(batch);
    expect(sizeOf(encoder, batch)).toBeLessThan(1_024 + 128 + 64);
  });

  test("a batch of one record is small", () => {
    const { encoder, send } = channel();
    send([{ word: "hello", count: 1 }]);
    expect(sizeOf(encoder, [{ word: "hello", count: 1 }])).toBeLessThanOrEqual(48);
  });
});

describe("dictionaries", () => {
  test("a column of unique strings stops using one, and both sides forget it", () => {
    const { encoder, decoder, send } = channel();
    let next = 0;
    const batch = (): unknown[] => repeat(1_024, () => ({ id: `identifier-number-${next++}` }));
    for (let i = 0; i < 8; i++) {
      const records = batch();
      expect(send(records)).toEqual(records);
    }
    expect(unitsOf(encoder)).toBe(0);
    expect(unitsOf(decoder)).toBe(0);
    const records = batch();
    expect(sizeOf(encoder, records)).toBeLessThan(1_024 * 26);
  });

  test("a dictionary that is dropped in a batch that had to be split is forgotten on both sides, too", () => {
    const { encoder, decoder, send } = channel(text, 30_000);
    for (let b = 0; b < 5; b++) send(repeat(1_024, (i) => `${b}-${i}-`.padEnd(b < 3 ? 20 : 60, "x")));
    expect([unitsOf(encoder), unitsOf(decoder)]).toEqual([0, 0]);
  });

  test("more strings than a dictionary holds: those in it go by number, the others as they are", () => {
    const { encoder, send } = channel();
    // Each new string stands beside three known ones, so the dictionary pays until it is full, and after that.
    let fresh = 0;
    const batch = (): string[] => repeat(2_048, (i) => (i % 4 === 0 ? `new-${fresh++}` : `known-${i % 50}`));
    for (let i = 0; i < 150; i++) {
      const records = batch();
      expect(send(records)).toEqual(records);
    }
    expect(fresh).toBeGreaterThan(65_536);
    expect(sizeOf(encoder, batch())).toBeLessThan(2_048 * 2 + 512 * 12);
  });

  test("long strings are not kept", () => {
    const { encoder, send } = channel();
    send(["x".repeat(100_000), "short"]);
    expect(unitsOf(encoder)).toBe(5);
  });

  test("the units of all dictionaries of a channel are bounded", () => {
    const { encoder, decoder, send } = channel();
    const long = "y".repeat(60_000);
    for (let b = 0; b < 3; b++) {
      const batch = repeat(60, (i) => Object.fromEntries(repeat(12, (k) => [`k${k}`, `${b}-${i}-${long}`])));
      expect(send(batch)).toEqual(batch);
    }
    expect(unitsOf(encoder)).toBeLessThan(33 * 1024 * 1024);
    expect(unitsOf(decoder)).toBe(unitsOf(encoder));
  });
});

describe("bounds of a payload", () => {
  test("a batch that is too large goes in parts, each within the bound", () => {
    const maxPayloadBytes = 10_000;
    const encoder = new BatchEncoder({ text, maxPayloadBytes });
    const decoder = new BatchDecoder({ text });
    const records = repeat(500, (i) => ({ id: i, text: `${i} ${"z".repeat(i % 200)}`, list: [i, `t${i}`] }));
    const arrived: unknown[] = [];
    let parts = 0;
    while (arrived.length < records.length) {
      const { bytes } = encoder.encode(records, arrived.length, records.length - arrived.length);
      expect(bytes.length).toBeLessThanOrEqual(maxPayloadBytes);
      arrived.push(...decoder.decode(bytes));
      parts++;
    }
    expect(arrived).toEqual(records);
    expect(parts).toBeLessThan(60);
  });

  test("after large records, small ones go in large batches again", () => {
    const { encoder, decoder, send } = channel(text, 5_000);
    send(repeat(10, () => "x".repeat(3_000)));
    for (let i = 0; i < 12; i++)
      decoder.decode(
        encoder.encode(
          repeat(1_000, () => 1),
          0,
          1_000,
        ).bytes,
      );
    expect(
      encoder.encode(
        repeat(1_000, () => 1),
        0,
        1_000,
      ).consumed,
    ).toBe(1_000);
  });

  test("one record that is too large is refused, and the channel goes on", () => {
    const { encoder, send } = channel(text, 10_000);
    for (const large of [
      "x".repeat(20_000),
      { a: ["é".repeat(9_000)] },
      new Uint8Array(20_000),
      repeat(20_000, () => 1.5),
      { n: repeat(3_000, (i) => ({ i })) },
    ]) {
      const thrown = catching(() => encoder.encode([large], 0, 1));
      expect(hasCode(thrown, "LIMIT_EXCEEDED")).toBe(true);
    }
    expect(send([{ a: ["x"] }, "y"])).toEqual([{ a: ["x"] }, "y"]);
  });

  test("records beyond the most that a batch may have are left for the next", () => {
    const { encoder } = channel();
    expect(
      encoder.encode(
        repeat(70_000, () => 1),
        0,
        70_000,
      ).consumed,
    ).toBe(MAX_BATCH_RECORDS);
    const wide = Object.fromEntries(repeat(1_000, (i) => [`k${i}`, 1]));
    const { send } = channel();
    expect(send(repeat(4_500, () => wide))).toHaveLength(4_500);
  });

  test("a channel with objects of ever new keys stays within its columns", () => {
    const { send } = channel();
    for (let b = 0; b < 100; b++) {
      const batch = repeat(100, (i) => ({ id: i, counts: { [`w${b}-${i}`]: i, [`v${b}-${i}`]: 1 } }));
      expect(send(batch)).toEqual(batch);
    }
  });
});

describe("what stays in memory", () => {
  test("dictionaries do not hold the text that their entries were cut from", () => {
    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    const { send } = channel();
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 200; i++) {
      const chunk = `entry-number-${i}-`.padEnd(1_000_000, `${i}`);
      send([chunk.slice(0, 20)]);
    }
    collectGarbage();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
  });
});

/** UTF-16 units in all dictionaries, as the coder itself counts them. */
function unitsOf(coder: object): number {
  return (coder as { context: { dictionaryUnits: number } }).context.dictionaryUnits;
}

function catching(call: () => unknown): unknown {
  try {
    call();
    return null;
  } catch (thrown) {
    return thrown;
  }
}
