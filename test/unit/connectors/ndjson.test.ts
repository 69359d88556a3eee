import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeScanner } from "../../../src/connectors/json-scanner.js";
import { shapeOf } from "../../../src/connectors/json-shape.js";
import { JsonLineReader } from "../../../src/connectors/ndjson-source.js";
import { readDescriptor, temporaryDir, writeFile } from "./reading.js";

/** Raw JSON texts of values, among them all kinds that a scanner must leave to JSON.parse. */
const rawNumber = fc.oneof(
  fc.integer().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
  fc
    .tuple(fc.integer({ min: -99999, max: 99999 }), fc.integer({ min: 0, max: 9999999 }))
    .map(([whole, part]) => `${whole}.${part}`),
  fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }).map(String),
  fc.constantFrom(
    "0",
    "-0",
    "0.0",
    "-0.5",
    "1e3",
    "1E+2",
    "-1.5e-7",
    "999999999999999",
    "9999999999999999",
    "0.000000000000001",
    "123456789012345.6",
  ),
);
const rawString = fc.oneof(
  fc.string({ maxLength: 8 }).map((value) => JSON.stringify(value)),
  fc.string({ maxLength: 40, unit: "binary" }).map((value) => JSON.stringify(value)),
  fc.constantFrom(
    '""',
    '"a"',
    '"ab"',
    '"SEA"',
    '"é"',
    '"€uro"',
    '"😀"',
    '"\\u0041"',
    '"\\n"',
    '"\\\\"',
    '"\\""',
    '"a string that is longer than a cache entry"',
  ),
);
const rawNested = fc.constantFrom("[]", "{}", "[1,2]", '{"x":"}"}', '["a,b"]');
const rawValue = fc.oneof(
  { weight: 4, arbitrary: rawNumber },
  { weight: 4, arbitrary: rawString },
  fc.constantFrom("true", "false", "null"),
  rawNested,
);
/** What JSON does not allow, in the place of a value. */
const badRaw = fc.constantFrom(
  "01",
  "-01",
  "00",
  "+1",
  ".5",
  "1.",
  "-",
  "1e",
  "0x1",
  '"\t"',
  '"\u0001"',
  '"\\x"',
  "tru",
  "nul",
  "NaN",
  '"open',
  "'a'",
  "",
);
const key = fc.oneof(
  fc.constantFrom("a", "b", "id", "name", "1", "__proto__", "toString", "é", 'q"', "a b"),
  fc.string({ maxLength: 4 }),
);
const style = fc.constantFrom(
  [",", ":", "{", "}"],
  [", ", ": ", "{", "}"],
  [",", ":", "{ ", " }"],
  [" , ", " : ", " {", "} \t"],
  [",", ":", "{", "}\r"],
);
/** Lines of one shape mixed with others and with lines that are no JSON at all. */
const lines = fc
  .tuple(
    fc.uniqueArray(key, { minLength: 1, maxLength: 6 }),
    style,
    fc.array(fc.constantFrom("str", "num", "any"), { minLength: 6, maxLength: 6 }),
  )
  .chain(([keys, [comma = "", colon = "", open = "", close = ""], kinds]) => {
    const values = keys.map((_, i) => (kinds[i] === "str" ? rawString : kinds[i] === "num" ? rawNumber : rawValue));
    const lineOf = (raws: readonly string[]): string =>
      open + raws.map((raw, i) => JSON.stringify(keys[i]) + colon + raw).join(comma) + close;
    const regular = fc.tuple(...values).map(lineOf);
    const broken = fc
      .tuple(fc.tuple(...values), fc.nat({ max: 5 }), badRaw)
      .map(([raws, at, raw]) => lineOf(raws.with(at % raws.length, raw)));
    const odd = fc.oneof(
      { weight: 3, arbitrary: broken },
      rawValue,
      fc.constantFrom(
        "",
        "  ",
        "{",
        "nonsense",
        '{"a":01}',
        '{"a":1}}',
        '{"a":1,}',
        '{"a":+1}',
        '{"a":.5}',
        '{"a":1.}',
        '{"a":"\t"}',
        '{"a":1,"a":2}',
        "[1",
        '{"a":tru}',
      ),
      regular.map((line) => line.slice(0, -1)),
    );
    return fc.array(fc.oneof({ weight: 6, arbitrary: regular }, { weight: 1, arbitrary: odd }), { maxLength: 40, size: "max" });
  });

interface Parsed {
  readonly records: unknown[];
  readonly bad: number[];
}

function byJsonParse(texts: readonly string[], fields: readonly string[] | null): Parsed {
  const records: unknown[] = [];
  const bad: number[] = [];
  texts.forEach((text, i) => {
    if (/^[ \t\r]*$/.test(text)) return;
    try {
      const value: unknown = JSON.parse(text);
      const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
      records.push(
        !isObject || fields === null
          ? value
          : Object.fromEntries(
              fields.filter((f) => Object.hasOwn(value, f)).map((f) => [f, (value as Record<string, unknown>)[f]]),
            ),
      );
    } catch {
      bad.push(i + 1);
    }
  });
  return { records, bad };
}

describe("NDJSON", () => {
  test("gives exactly the values of JSON.parse, whatever stands in the lines", async () => {
    const dir = temporaryDir();
    await fc.assert(
      fc.asyncProperty(
        lines,
        fc.integer({ min: 1, max: 100 }),
        fc.option(fc.constantFrom(["a"], ["id", "b"], ["1", "name", "a"])),
        async (texts, limit, fields) => {
          // Repeated, so that scanners are made and then read the same lines again.
          const repeats = Math.ceil(300 / Math.max(1, texts.length));
          const all = Array.from({ length: repeats }, () => texts).flat();
          const path = writeFile(dir, "records.ndjson", all.join("\n"));
          const { records, bad } = await readDescriptor(
            { kind: "ndjson", path, onError: "skip", ...(fields === null ? {} : { fields }) },
            { limit },
          );
          const expected = byJsonParse(all, fields);
          expect(records.length).toBe(expected.records.length);
          records.forEach((record, i) => {
            expect(record).toStrictEqual(expected.records[i]);
            expect(Object.is(JSON.stringify(record), JSON.stringify(expected.records[i]))).toBe(true);
          });
          expect(bad.map((one) => one.line)).toEqual(expected.bad);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("keeps minus zero and every digit", async () => {
    const texts = [
      "-0",
      "-0.0",
      "0.1",
      "123456789.123456",
      "9007199254740993",
      "0.30000000000000004",
      "5e-324",
      "1.7976931348623157e308",
    ];
    const all = Array.from({ length: 20 }, () => texts.map((text) => `{"v":${text}}`)).flat();
    const path = writeFile(temporaryDir(), "numbers.ndjson", all.join("\n"));
    const { records } = await readDescriptor({ kind: "ndjson", path });
    records.forEach((record, i) => {
      expect(Object.is((record as { v: number }).v, JSON.parse(texts[i % texts.length] ?? ""))).toBe(true);
    });
  });

  test("splits, positions and gzip give the same records", async () => {
    const dir = temporaryDir();
    const all = Array.from({ length: 3000 }, (_, i) => ({
      id: i,
      name: `n${i % 7}`,
      price: i / 8,
      text: i % 50 === 0 ? 'a "quoted" €' : "plain",
      none: null,
    }));
    const content = all.map((record) => JSON.stringify(record)).join("\n");
    const path = writeFile(dir, "records.ndjson", content);
    const packed = writeFile(dir, "records.ndjson.gz", gzipSync(content));
    expect((await readDescriptor({ kind: "ndjson", path, splitBytes: 1000 })).records).toEqual(all);
    expect((await readDescriptor({ kind: "ndjson", path, splitBytes: 10_000 }, { resumeAfter: 17, limit: 5 })).records).toEqual(
      all,
    );
    expect((await readDescriptor({ kind: "ndjson", path: packed }, { resumeAfter: 1234 })).records).toEqual(all);
    const narrow = await readDescriptor({ kind: "ndjson", path, fields: ["price", "id"] });
    expect(narrow.records).toEqual(all.map(({ id, price }) => ({ price, id })));
    expect(Object.keys(narrow.records[2000] as object)).toEqual(["price", "id"]);
  });
});

describe("a bad line", () => {
  const content = Array.from({ length: 1000 }, (_, i) => (i === 700 ? "{broken" : JSON.stringify({ i }))).join("\n");

  test("fails the job by default, naming file and line, also in a later split and in gzip", async () => {
    const dir = temporaryDir();
    const path = writeFile(dir, "records.ndjson", content);
    const packed = writeFile(dir, "records.ndjson.gz", gzipSync(content));
    for (const [file, splitBytes] of [
      [path, 1_000_000],
      [path, 300],
      [packed, 1],
    ] as const) {
      await expect(readDescriptor({ kind: "ndjson", path: file, splitBytes })).rejects.toMatchObject({
        code: "BAD_RECORD",
        message: expect.stringMatching(new RegExp(`line 701 of ${file}: not JSON: `)),
        details: { line: 701, text: "{broken" },
      });
    }
  });

  test("is passed over and told, with line, offset, text and reason", async () => {
    const path = writeFile(temporaryDir(), "records.ndjson", content);
    const { records, bad } = await readDescriptor({ kind: "ndjson", path, onError: "side", splitBytes: 500 });
    expect(records.length).toBe(999);
    expect(bad).toEqual([
      {
        source: path,
        line: 701,
        byteOffset: content.indexOf("{broken"),
        text: "{broken",
        reason: expect.stringMatching(/^not JSON: /),
      },
    ]);
  });

  test("of very many costs no more to number than one", async () => {
    const dir = temporaryDir();
    const text = Array.from({ length: 200_000 }, (_, i) => `bad ${i}`).join("\n");
    for (const path of [writeFile(dir, "all-bad.ndjson", text), writeFile(dir, "all-bad.ndjson.gz", gzipSync(text))]) {
      const { bad } = await readDescriptor({ kind: "ndjson", path, onError: "skip" });
      expect(bad.length).toBe(200_000);
      for (const [i, one] of bad.entries()) if (one.line !== i + 1) expect(one.line).toBe(i + 1);
    }
  });

  test("is told with at most 200 characters", async () => {
    const path = writeFile(temporaryDir(), "records.ndjson", `[${"x".repeat(5000)}\n{}\n`);
    const { bad, records } = await readDescriptor({ kind: "ndjson", path, onError: "skip" });
    expect(bad[0]?.text.length).toBe(200);
    expect(records).toEqual([{}]);
  });
});

describe("the scanner", () => {
  test("reads lines of its shape without JSON.parse, and makes equal short strings one", () => {
    const line = '{"a":1,"b":"x","c":true,"d":null}';
    const shape = shapeOf(line, JSON.parse(line));
    if (shape === null) throw new Error("no shape");
    const bytes = Buffer.from(`${line}\n{"a":-2.5,"b":"y","c":false,"d":null}\n{"a":1e5,"b":"z","c":true,"d":null}\n`);
    const out: unknown[] = [];
    const state = { at: 0, count: 0 };
    makeScanner(shape, null)(bytes, bytes.length, out, 10, state);
    expect(out).toEqual([JSON.parse(line), { a: -2.5, b: "y", c: false, d: null }]);
    expect(bytes.subarray(state.at).toString()).toMatch(/^\{"a":1e5/);
  });

  test("is used for mixed shapes, each by its own", () => {
    const reader = new JsonLineReader(null);
    const one = '{"a":1}';
    const two = '{"b": "x", "c": 2}';
    for (let i = 0; i < 100; i++) for (const line of [one, two]) reader.read(line);
    const bytes = Buffer.from(`${one}\n${two}\n`.repeat(50));
    const out: unknown[] = [];
    const state = { at: 0, count: 0 };
    reader.scan(bytes, bytes.length, out, 1000, state);
    expect(state).toEqual({ at: bytes.length, count: 100 });
    expect(out.slice(0, 2)).toEqual([{ a: 1 }, { b: "x", c: 2 }]);
  });

  test("is not made for nested, doubled or dangerous keys", () => {
    for (const line of ['{"a":[1]}', '{"a":1,"a":2}', '{"__proto__":1}', "[1]", "1", "{}"])
      expect(shapeOf(line, JSON.parse(line))).toBeNull();
  });
});
