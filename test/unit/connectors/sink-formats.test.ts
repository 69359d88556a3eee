import { readFileSync } from "node:fs";
import path from "node:path";
import { DuckDBInstance } from "@duckdb/node-api";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSink } from "../../../src/connectors/index.js";
import { jsonText } from "../../../src/connectors/json-text.js";
import { readDescriptor, temporaryDir } from "./reading.js";
import { run } from "./writing.js";

describe("formats", () => {
  test("NDJSON writes what JSON.stringify writes, and bigints as numbers", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: false, withDate: true, withMap: true, withNullPrototype: true }), (value) => {
        expect(jsonText(value)).toBe(JSON.stringify(value) ?? "null");
      }),
    );
    expect(jsonText({ a: 12345678901234567890n, b: [1n, undefined, new Date(0)], c: undefined })).toBe(
      '{"a":12345678901234567890,"b":[1,null,"1970-01-01T00:00:00.000Z"]}',
    );
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    expect(() => jsonText(cycle)).toThrow();
  });

  test("CSV is read back as it was, and a field without a column is an error", async () => {
    const dir = temporaryDir();
    const file = path.join(dir, "t.csv");
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ a: fc.string({ unit: "binary" }), "b,c": fc.string() }), { minLength: 1 }),
        async (rows) => {
          const clean = rows.map((row) => ({
            a: row.a.replace(/[\ud800-\udfff]/g, "").replaceAll("\r", "\r\n"),
            "b,c": row["b,c"],
          }));
          await run(createSink({ kind: "csv", path: file }), "1", [clean]);
          expect((await readDescriptor({ kind: "csv", path: file })).records).toEqual(clean);
        },
      ),
      { numRuns: 60 },
    );
    await expect(run(createSink({ kind: "csv", path: file }), "2", [[{ a: 1 }, { a: 1, z: 2 }]])).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("field z"),
    });
    await run(createSink({ kind: "csv", path: file, columns: ["z", "a"] }), "3", [
      [{ a: 1, b: 2 }, { z: new Date(0), a: { x: 1 } }, { z: null }],
    ]);
    expect(readFileSync(file, "utf8")).toBe('z,a\n,1\n1970-01-01T00:00:00.000Z,"{""x"":1}"\n,\n');
  });

  test("Parquet is read back as it was, here and by DuckDB", async () => {
    const dir = temporaryDir();
    const file = path.join(dir, "t.parquet");
    const rows = Array.from({ length: 2500 }, (_, i) => ({
      n: i / 2,
      big: i % 10 === 3 ? null : 2n ** 60n + BigInt(i),
      flag: i % 2 === 0,
      text: i % 7 === 0 ? null : `é ${i}`,
      at: new Date(1_000_000_000_000 + i),
      nested: { i, list: [i] },
      nothing: null,
    }));
    await run(createSink({ kind: "parquet", path: file, rowGroupRows: 1000 }), "1", [rows]);
    const { records, splits } = await readDescriptor({ kind: "parquet", path: file });
    expect(splits).toBe(3);
    expect(records).toEqual(rows);
    const connection = await (await DuckDBInstance.create(":memory:", { threads: "1" })).connect();
    const result = await connection.runAndReadAll(
      `select count(*)::integer, sum(n), count(text)::integer, max(epoch_ms("at"))::double from '${file}'`,
    );
    expect(result.getRows()[0]).toEqual([
      2500,
      (2499 * 2500) / 4,
      rows.filter((row) => row.text !== null).length,
      1_000_000_002_499,
    ]);
  });

  test("Parquet with a schema keeps to it, names what does not fit, and writes empty files", async () => {
    const dir = temporaryDir();
    const file = path.join(dir, "t.parquet");
    const schema = { i: "int32", l: "int64", f: "float", s: "string", j: "json", d: "date", b: "bytes", t: "timestamp" } as const;
    const row = {
      i: 1,
      l: 2,
      f: 0.5,
      s: "x",
      j: [1],
      d: new Date("2020-02-03T00:00:00Z"),
      b: new TextEncoder().encode("abc"),
      t: "2020-01-01T00:00:00Z",
    };
    await run(createSink({ kind: "parquet", path: file, schema }), "1", [[row, {}]]);
    const { records } = await readDescriptor({ kind: "parquet", path: file });
    expect(records[0]).toEqual({ ...row, b: "abc", t: new Date(row.t) });
    expect(records[1]).toEqual({ i: null, l: null, f: null, s: null, j: null, d: null, b: null, t: null });
    for (const [wrong, column] of [
      [{ i: 0.5 }, "i"],
      [{ i: 2 ** 31 }, "i"],
      [{ s: 1 }, "s"],
      [{ t: "never" }, "t"],
      [{ l: 2 ** 60 }, "l"],
    ] as const) {
      await expect(run(createSink({ kind: "parquet", path: file, schema }), "2", [[wrong]])).rejects.toMatchObject({
        code: "SINK_FAILED",
        message: expect.stringContaining(`column ${column} `),
      });
    }
    await run(createSink({ kind: "parquet", path: file, schema }), "3", [[]]);
    expect((await readDescriptor({ kind: "parquet", path: file })).records).toEqual([]);
    await run(createSink({ kind: "parquet", path: file }), "4", [[]]);
    expect((await readDescriptor({ kind: "parquet", path: file })).records).toEqual([]);
  });

  test("Parquet columns of mixed values ask for a schema", async () => {
    const file = path.join(temporaryDir(), "t.parquet");
    await expect(run(createSink({ kind: "parquet", path: file }), "1", [[{ a: 1 }, { a: "x" }]])).rejects.toMatchObject({
      code: "SINK_FAILED",
      hint: expect.stringContaining("schema"),
    });
    await expect(
      run(createSink({ kind: "parquet", path: file, rowGroupRows: 2 }), "1", [[{ a: 1 }, { a: 2 }, { a: 3, b: 1 }]]),
    ).rejects.toMatchObject({
      code: "SINK_FAILED",
      message: expect.stringContaining("field b"),
    });
  });

  test("the console prints a line a record", async () => {
    const printed: string[] = [];
    const sink = createSink({ kind: "console", prefix: "> " }, { print: (text) => void printed.push(text) });
    await run(sink, "1", [["a", { b: 1 }]]);
    expect(printed.join("")).toBe('> a\n> {"b":1}\n');
  });
});
