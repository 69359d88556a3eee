import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hasCode } from "../../../src/base/errors.js";
import { hashKey, hashNumber, hashText, keyIdentity } from "../../../src/dataflow/hash.js";

const hex = (hash: number): string => (hash >>> 0).toString(16).padStart(8, "0");

describe("hash of a key", () => {
  test("ASCII text hashes as murmur3 of its bytes (published vectors)", () => {
    expect(hex(hashText(""))).toBe("00000000");
    expect(hex(hashText("a"))).toBe("3c2569b2");
    expect(hex(hashText("abc"))).toBe("b3dd93fa");
    expect(hex(hashText("test"))).toBe("ba6bd213");
    expect(hex(hashText("Hello, world!"))).toBe("c0363e43");
    expect(hex(hashText("The quick brown fox jumps over the lazy dog"))).toBe("2e4ff723");
  });

  test("the hashes of every type never change (they are part of the checkpoint format)", () => {
    const keys = ["", "SFO", "Zürich", "日本", "\ud800", 0, 1, -1, 1.5, Number.NaN, 2 ** 40, 5n, true, false, null, undefined];
    const composite = [new Date(86_400_000), [1, "a"], { b: 1, a: [null] }, new Uint8Array([1, 255])];
    expect([...keys, ...composite].map((key) => hex(hashKey(key)))).toMatchInlineSnapshot(`
      [
        "00000000",
        "5a48607c",
        "91578279",
        "590236e4",
        "3a2c971b",
        "ae39737f",
        "902a910f",
        "ea373480",
        "d8733f39",
        "372e661d",
        "1a4c0885",
        "f7b48612",
        "d9a9b0bc",
        "5a3d5b1c",
        "5a8eacdd",
        "c9c23309",
        "74037c47",
        "1205880e",
        "e3753db2",
        "a2e6196c",
      ]
    `);
  });

  test("a hash is a signed 32-bit integer", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true }), (key) => {
        const hash = hashKey(key);
        expect(hash | 0).toBe(hash);
      }),
    );
  });

  test("keys that a Map takes for equal hash alike", () => {
    expect(hashKey(-0)).toBe(hashKey(0));
    expect(hashKey([-0])).toBe(hashKey([0]));
    expect(hashKey(-Number.NaN)).toBe(hashKey(Number.NaN));
    expect(hashKey(new Date(5))).toBe(hashKey(new Date(5)));
    expect(hashKey({ a: 1, b: 2 })).toBe(hashKey({ b: 2, a: 1 }));
  });

  test("keys of different types differ", () => {
    const keys = [
      1,
      "1",
      1n,
      true,
      [1],
      ["1"],
      { a: 1 },
      { a: "1" },
      null,
      undefined,
      new Date(1),
      [[1]],
      [1, 1],
      new Uint8Array([1]),
    ];
    expect(new Set(keys.map(hashKey)).size).toBe(keys.length);
    expect(new Set(keys.map(keyIdentity)).size).toBe(keys.length);
  });

  test("text in which only the high bytes of wide characters differ is told apart", () => {
    const words = Array.from({ length: 5_000 }, (_, i) =>
      String.fromCharCode(0x4e00 + (i % 200) * 100, 0x4e00, 0x5000 + Math.floor(i / 200) * 256),
    );
    expect(new Set(words).size).toBe(5_000);
    expect(new Set(words.map(hashText)).size).toBeGreaterThan(4_990);
  });

  test("short keys, numbers in a row and dates spread evenly over 128 groups", () => {
    for (const key of [
      (i: number) => `k${i}`,
      (i: number) => i,
      (i: number) => i * 0.25,
      (i: number) => new Date(i * 86_400_000),
    ]) {
      const groups = new Array<number>(128).fill(0);
      for (let i = 0; i < 12_800; i++) (groups[(hashKey(key(i)) >>> 0) % 128] as number)++;
      expect(Math.max(...groups)).toBeLessThan(150);
      expect(Math.min(...groups)).toBeGreaterThan(55);
    }
  });

  test("whole numbers beyond 32 bits and fractions use all of their bits", () => {
    expect(new Set([2 ** 32, 2 ** 33, 2 ** 34, 0, 0.5, 0.25, 1e300, -1e300].map(hashNumber)).size).toBe(8);
  });

  test("a function, a symbol, a Map or a cycle is refused with the reason", () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    for (const key of [() => 1, Symbol("x"), new Map(), [new Set()], cycle, /x/]) {
      const thrown = catching(() => hashKey(key));
      expect(hasCode(thrown, "BAD_RECORD")).toBe(true);
    }
  });
});

describe("identity of a key", () => {
  test("primitive keys stand for themselves", () => {
    for (const key of ["a", "", 5, 5n, true, null, undefined]) expect(keyIdentity(key)).toBe(key);
  });

  test("keys are equal when their identities are, and then their hashes are", () => {
    const key = fc.oneof(
      fc.string({ maxLength: 3 }),
      fc.constantFrom("\u0000", "\u0000s", "\u0000[1:n1;", "\u0000s\u0000", "n1;", 1, "1", 0, -0, 1n),
      fc.array(fc.oneof(fc.string({ maxLength: 2 }), fc.integer({ min: 0, max: 2 })), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom("a", "b", "__proto__"), fc.integer({ min: 0, max: 1 })),
    );
    fc.assert(
      fc.property(key, key, (a, b) => {
        const same = keyIdentity(a) === keyIdentity(b);
        expect(same).toBe(equal(a, b));
        if (same) expect(hashKey(a)).toBe(hashKey(b));
      }),
      { numRuns: 2_000 },
    );
  });
});

function equal(a: unknown, b: unknown): boolean {
  if (typeof a !== typeof b) return false;
  if (typeof a !== "object") return a === b;
  const sorted = (value: unknown): string =>
    JSON.stringify(
      Array.isArray(value)
        ? value
        : Object.entries(value as object)
            .sort(([x], [y]) => (x < y ? -1 : 1))
            .concat([["{}", 0]]),
    );
  return sorted(a) === sorted(b);
}

function catching(call: () => unknown): unknown {
  try {
    call();
    return null;
  } catch (thrown) {
    return thrown;
  }
}
