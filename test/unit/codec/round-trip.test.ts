import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hasCode } from "../../../src/base/errors.js";
import { BatchDecoder, BatchEncoder } from "../../../src/executor/run/codec/index.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { channel, exactly, TEXT_CODECS } from "./coders.js";

const repeat = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

describe.each(TEXT_CODECS)("records survive a channel with %s", (_, text) => {
  const cases: readonly (readonly [string, readonly unknown[]])[] = [
    ["no records", []],
    ["flat objects", repeat(1_000, (i) => ({ a: i, b: i * 0.5, c: `x${i % 10}`, d: i % 2 === 0, e: new Date(i * 1e10) }))],
    ["whole numbers of every width", [0, 127, -128, 128, -129, 32_767, -32_768, 32_768, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 53]],
    ["odd numbers", [-0, 0, Number.NaN, Infinity, -Infinity, 5e-324, 1.7976931348623157e308, 0.1]],
    ["zeros that are all negative", [-0, -0]],
    ["text", ["", "a", "", "Zürich", "日本語", "😀", "\u0000", "\ufeffbom", "x".repeat(300)]],
    ["lone surrogates", ["\ud800", "a\udc00b", "\ud83d", "\ude00", "ok", "\udfff\ud800"]],
    [
      "lone surrogates in fields and keys",
      [
        { "\ud800": "\udc00", b: 1 },
        { "\ud800": "\ud83d", b: 2 },
      ],
    ],
    ["text of a megabyte", [`é${"x".repeat(1_000_000)}`, "short", "y".repeat(1_000_000)]],
    ["booleans, null, undefined", [true, false, true]],
    ["only null", [null, null]],
    ["only undefined", [undefined, undefined]],
    ["null and undefined", [null, undefined, null, 5]],
    [
      "a field that is sometimes null",
      repeat(100, (i) => ({ n: i % 3 === 0 ? null : i, s: i % 4 === 0 ? null : `s${i}`, d: i % 5 ? new Date(i) : null })),
    ],
    [
      "a field that is sometimes undefined",
      repeat(100, (i) => ({ n: i % 3 === 0 ? undefined : i, b: i % 2 ? undefined : i > 50 })),
    ],
    ["a field that is null, undefined or there", repeat(100, (i) => ({ n: [null, undefined, i][i % 3] }))],
    ["a field that is always null", repeat(10, () => ({ a: null, b: undefined }))],
    ["undefined is not the same as missing", [{ a: undefined }, {}, { a: 1 }, { a: undefined, b: undefined }]],
    ["objects without keys", [{}, {}, {}]],
    [
      "the order of keys",
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
        { a: 1, b: 2 },
      ],
    ],
    [
      "keys that look like numbers",
      [
        { 2: "b", 1: "a", x: 0 },
        { 2: "c", 1: "d", x: 1 },
      ],
    ],
    ["strange keys", [{ "": 1, "a b": 2, '"];throw 1;["': 3, constructor: 4, toString: 5, hasOwnProperty: 6, "\u2028": 7 }]],
    [
      "__proto__ as a key",
      JSON.parse(
        '[{"__proto__":1,"a":{"__proto__":{"x":1}}},{"__proto__":2,"a":{"__proto__":{"x":2}}},{"__proto__":[{"__proto__":3}]}]',
      ),
    ],
    [
      "dates",
      [new Date(0), new Date(-1.5e12), new Date(8.64e15), new Date(-8.64e15), new Date(Number.NaN), new Date(1_700_000_000_123)],
    ],
    ["BigInt of any size", [0n, 5n, -5n, 2n ** 63n, -(2n ** 64n), 2n ** 300n, -(2n ** 301n) + 7n, 255n, 256n, 4095n]],
    ["bytes", [new Uint8Array([1, 2, 255]), new Uint8Array(0), new Uint8Array([0, 1, 2]).subarray(1)]],
    [
      "other binary types",
      [
        new Float64Array([1.5, -0]),
        new Int16Array([-1]),
        new BigInt64Array([-1n]),
        new Uint8ClampedArray([300]),
        new ArrayBuffer(3),
        new DataView(new ArrayBuffer(2)),
      ],
    ],
    [
      "Map and Set",
      [
        new Map<unknown, unknown>([
          ["a", 1],
          [{ b: 2 }, new Set([null, undefined, -1])],
        ]),
        new Map(),
        new Set(["x", Number.NaN]),
      ],
    ],
    ["patterns", [/a+b/gi, /\//u]],
    ["tuples", repeat(100, (i) => [`w${i % 7}`, i])],
    ["arrays of different lengths", repeat(100, (i) => repeat(i % 5, (j) => j))],
    ["empty arrays", [[], [], []]],
    [
      "nested objects",
      repeat(100, (i) => ({ key: `k${i % 3}`, value: { n: i, inner: { deep: i % 2 ? "x" : null, list: [i, { i }] } } })),
    ],
    ["a nested object that is sometimes null", repeat(100, (i) => ({ v: i % 3 ? { n: i } : null }))],
    [
      "objects nested beyond columns",
      repeat(3, (i) => repeat(30, (j) => j).reduce<unknown>((inner, j) => ({ [`k${j % 3}`]: inner, i }), "end")),
    ],
    ["shapes in turn", repeat(200, (i) => (i % 2 ? { l: i } : { r: `r${i}`, x: i }))],
    ["a change of shape in the middle", repeat(200, (i) => (i < 100 ? { a: i } : { a: i, b: i }))],
    ["more shapes than columns are kept for", repeat(300, (i) => ({ [`k${i % 100}`]: i, same: 1 }))],
    [
      "everything mixed",
      repeat(300, (i) => [i, `t${i}`, null, { a: i }, [i], { b: i, c: [] }, undefined, new Date(i), 5n, { a: -0 }][i % 10]),
    ],
    [
      "many keys",
      [Object.fromEntries(repeat(2_000, (i) => [`k${i}`, i])), Object.fromEntries(repeat(500, (i) => [`k${i}`, `v${i}`]))],
    ],
    [
      "values with many keys in lists",
      [[Object.fromEntries(repeat(100, (i) => [`k${i}`, i]))], [{ a: 1 }, { a: 2 }, { b: 3 }], []],
    ],
  ];

  test.each(cases)("%s", (_name, records) => {
    const { send } = channel(text);
    const expected = records.map(exactly);
    // Twice: the second batch meets dictionaries, shapes and choices of the first.
    expect(send(records).map(exactly)).toEqual(expected);
    expect(send(records).map(exactly)).toEqual(expected);
  });

  test("all of these, one after the other, over one channel", () => {
    const { send } = channel(text);
    for (const [, records] of [...cases, ...cases.toReversed()]) expect(send(records).map(exactly)).toEqual(records.map(exactly));
  });

  test("errors keep class, message, stack, cause and their own fields", () => {
    const { send } = channel(text);
    const coded = Object.assign(new TypeError("no", { cause: { reason: -0 } }), { code: "E_NO", details: [1] });
    const named = Object.assign(new Error("named"), { name: "MyError" });
    Object.defineProperty(named, "name", { enumerable: false });
    const [first, second, third] = send([coded, named, { nested: new RangeError("r") }]) as [TypeError, Error, { nested: Error }];
    expect(exactly(first)).toBe(exactly(coded));
    expect(first).toBeInstanceOf(TypeError);
    expect([second.name, second.message, second.stack]).toEqual(["MyError", "named", named.stack]);
    expect(third.nested).toBeInstanceOf(RangeError);
  });
});

/** Values of every kind, nested. Objects built by fast-check may have no prototype: those come back as plain ones. */
const leaf = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.string({ unit: "grapheme" }),
  fc.string({ unit: "binary" }),
  fc.constantFrom(null, undefined, -0, Number.NaN, "", "\ud800", "\udc00x", "😀", "a\u0000"),
  fc.bigInt(),
  fc.date({ noInvalidDate: false }),
  fc.uint8Array({ maxLength: 5 }),
);
const { anything } = fc.letrec((tie) => ({
  anything: fc.oneof(
    { weight: 4, arbitrary: leaf },
    fc.array(tie("anything"), { maxLength: 3 }),
    tie("object"),
    tie("map"),
    tie("set"),
  ),
  object: fc.dictionary(fc.constantFrom("a", "b", "c", "__proto__", "\ud800", "1"), tie("anything"), {
    maxKeys: 3,
    noNullPrototype: true,
  }),
  map: fc
    .array(fc.tuple(tie("anything"), tie("anything")), { maxLength: 2 })
    .map((entries) => new Map(entries as [unknown, unknown][])),
  set: fc.array(tie("anything"), { maxLength: 2 }).map((items) => new Set(items)),
}));
/** Batches as jobs have them: few shapes, columns of mostly one type. */
const column = fc.constantFrom<(i: number) => unknown>(
  (i) => i,
  (i) => i * 1e9,
  (i) => i / 3,
  (i) => `s${i % 5}`,
  (i) => `unique-${i}-é`,
  (i) => (i % 3 === 0 ? null : i),
  (i) => (i % 4 === 0 ? undefined : `t${i}`),
  (i) => i % 2 === 0,
  (i) => new Date(i * 1e9),
  (i) => ({ x: i, y: `${i % 2}` }),
  (i) => [i, "p"],
  (i) => (i % 2 ? i : `mixed${i}`),
  (i) => (i % 7 === 0 ? { odd: i } : { even: i, more: null }),
  () => "\ud800",
);
const regularBatch = fc
  .record({
    keys: fc.array(fc.tuple(fc.string({ maxLength: 2 }), column), { minLength: 1, maxLength: 5 }),
    count: fc.integer({ min: 0, max: 70 }),
    gap: fc.integer({ min: 2, max: 9 }),
  })
  .map(({ keys, count, gap }) =>
    repeat(count, (i) => {
      const kept = i % gap === 0 ? keys.slice(1) : keys;
      const record: Record<string, unknown> = {};
      for (const [key, value] of kept)
        Object.defineProperty(record, key, { value: value(i), enumerable: true, configurable: true, writable: true });
      return record;
    }),
  );

describe("any batches over one channel", () => {
  test.each(TEXT_CODECS)("arrive exactly as sent, with %s", (_, text) => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.array(anything, { maxLength: 30 }), regularBatch), { minLength: 1, maxLength: 6 }),
        (batches) => {
          const { send } = channel(text);
          for (const batch of batches) expect(send(batch).map(exactly)).toEqual(batch.map(exactly));
        },
      ),
      { numRuns: 500 },
    );
  });

  test("the two text codecs give the same bytes and read each other's", () => {
    const [node, portable] = TEXT_CODECS.map(([, text]) => text) as [(typeof TEXT_CODECS)[0][1], (typeof TEXT_CODECS)[0][1]];
    fc.assert(
      fc.property(fc.array(anything, { maxLength: 20 }), (batch) => {
        const [a, b] = [node, portable].map((text) => new BatchEncoder({ text }).encode(batch, 0, batch.length).bytes) as [
          Uint8Array,
          Uint8Array,
        ];
        expect(a).toEqual(b);
        expect(new BatchDecoder({ text: portable }).decode(a).map(exactly)).toEqual(batch.map(exactly));
      }),
    );
  });

  test("payloads may lie at any address", () => {
    const { encoder, decoder } = channel();
    for (let shift = 0; shift < 16; shift++) {
      const records = repeat(50, (i) => ({ a: i * 1e6, b: i * 0.1, c: `c${i + shift}` }));
      const { bytes } = encoder.encode(records, 0, 50);
      const moved = new Uint8Array(bytes.length + shift);
      moved.set(bytes, shift);
      expect(decoder.decode(moved.subarray(shift))).toEqual(records);
    }
  });
});

describe("what does not come back as it was", () => {
  test("instances of classes, and objects without a prototype, come back as plain objects", () => {
    class Point {
      readonly x: number;
      constructor(x: number) {
        this.x = x;
      }
      get double(): number {
        return this.x * 2;
      }
    }
    const bare = Object.assign(Object.create(null), { x: 2 });
    const inherited = Object.assign(Object.create({ base: 1 }), { x: 3 });
    const { send } = channel();
    for (const wrap of [(value: unknown) => value, (value: unknown) => ({ v: value }), (value: unknown) => [value, []]]) {
      expect(send([new Point(1), { x: 1 }, bare, inherited].map(wrap)).map(exactly)).toEqual(
        [{ x: 1 }, { x: 1 }, { x: 2 }, { x: 3 }].map(wrap).map(exactly),
      );
    }
  });

  test("Buffer comes back as Uint8Array, holes as undefined, boxed primitives as primitives", () => {
    const { send } = channel();
    // biome-ignore lint/suspicious/noSparseArray: a hole is what is tested
    const sent = [Buffer.from("ab"), [1, , 3], Object(5), Object("s")];
    expect(send(sent).map(exactly)).toEqual([new Uint8Array([97, 98]), [1, undefined, 3], 5, "s"].map(exactly));
  });

  test("functions, symbols, promises, weak collections and cycles are refused, and the channel goes on", () => {
    const { send } = channel();
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    for (const bad of [() => 1, Symbol("s"), Promise.resolve(), new WeakMap(), cycle]) {
      for (const batch of [
        [bad],
        [{ a: "new entry", bad }],
        [{ fresh: 1, k: "also new" }, { fresh: 2, k: bad }, { other: [bad] }],
      ]) {
        const thrown = catching(() => send(batch));
        expect(hasCode(thrown, "BAD_RECORD")).toBe(true);
      }
      expect(
        send([
          { fresh: 1, k: "also new" },
          { a: "new entry", bad: 1 },
        ]),
      ).toEqual([
        { fresh: 1, k: "also new" },
        { a: "new entry", bad: 1 },
      ]);
    }
  });

  test("a getter that throws changes nothing", () => {
    const { send } = channel();
    const bad = {
      s: "entry",
      get t(): string {
        throw new RangeError("from the getter");
      },
    };
    expect(() => send([{ s: "first", t: "x" }, bad])).toThrow("from the getter");
    expect(send([{ s: "entry", t: "x" }])).toEqual([{ s: "entry", t: "x" }]);
  });
});

describe("buffers", () => {
  test("the header is left free, and encode gives bytes of their own", () => {
    const encoder = new BatchEncoder({ text: createNodeTextCodec(), headerBytes: 12 });
    const decoder = new BatchDecoder({ text: createNodeTextCodec() });
    const first = encoder.encode(["a", "b"], 0, 2).bytes;
    const second = encoder.encodeView(["c"], 0, 1).bytes;
    expect([...first.subarray(0, 12), ...second.subarray(0, 12)]).toEqual(new Array(24).fill(0));
    second.fill(1, 0, 12);
    expect(decoder.decode(first.subarray(12))).toEqual(["a", "b"]);
    expect(decoder.decode(second.subarray(12))).toEqual(["c"]);
    expect([...encoder.encode(["d"], 0, 1).bytes.subarray(0, 12)]).toEqual(new Array(12).fill(0));
  });

  test("a part of an array is encoded, and decodeInto leaves what stands behind", () => {
    const { encoder, decoder } = channel();
    const { bytes, consumed } = encoder.encode([1, 2, 3, 4, 5], 1, 3);
    expect(consumed).toBe(3);
    const out: unknown[] = [9, 9, 9, 9];
    expect(decoder.decodeInto(bytes, out)).toBe(3);
    expect(out).toEqual([2, 3, 4, 9]);
  });

  test("records are not views of the payload", () => {
    const { encoder, decoder } = channel();
    const { bytes } = encoder.encode([{ b: new Uint8Array([1, 2, 3]), f: new Float64Array([1]), s: "text", d: 1.5 }], 0, 1);
    const [record] = decoder.decode(bytes);
    bytes.fill(0xff);
    expect(exactly(record)).toBe(exactly({ b: new Uint8Array([1, 2, 3]), f: new Float64Array([1]), s: "text", d: 1.5 }));
  });
});

function catching(call: () => unknown): unknown {
  try {
    call();
    return null;
  } catch (thrown) {
    return thrown;
  }
}
