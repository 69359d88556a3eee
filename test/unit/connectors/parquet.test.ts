import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DuckDBInstance } from "@duckdb/node-api";
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import { createSource } from "../../../src/connectors/index.js";
import { readHybrid } from "../../../src/connectors/parquet-column.js";
import { readDescriptor, signal, temporaryDir, writeFile } from "./reading.js";

const FLIGHTS = fileURLToPath(new URL("../../../node_modules/vega-datasets/data/flights-3m.parquet", import.meta.url));

/** hyparquet's rows in this source's terms: null for undefined, numbers for safe bigints. */
function inOurTerms(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(inOurTerms);
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inOurTerms(inner)]));
}

async function byHyparquet(file: string, rowStart?: number, rowEnd?: number): Promise<unknown[]> {
  const bytes = readFileSync(file);
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const range = rowStart === undefined || rowEnd === undefined ? {} : { rowStart, rowEnd };
  return (await parquetReadObjects({ file: buffer, compressors, ...range })).map(inOurTerms);
}

describe("the flights of vega-datasets", () => {
  test("are 3,000,000 rows in 11 splits, with the sums that DuckDB finds", async () => {
    const source = createSource({ kind: "parquet", path: FLIGHTS, fields: ["delay", "distance", "origin", "date"] });
    const { splits, totalRecords } = await source.enumerate({ parallelism: 2, signal });
    expect(splits.length).toBe(11);
    expect(totalRecords).toBe(3_000_000);
    const sums = { rows: 0, delay: 0, distance: 0, sea: 0, date: 0 };
    const out: { delay: number; distance: number; origin: string; date: Date }[] = [];
    for (const split of splits) {
      const reader = await source.open(split, null, { signal, onBadRecord: () => undefined });
      for (let count = await reader.next(out, 1024); count > 0; count = await reader.next(out, 1024)) {
        for (let i = 0; i < count; i++) {
          const row = out[i];
          if (row === undefined) throw new Error("a row is missing");
          sums.rows++;
          sums.delay += row.delay;
          sums.distance += row.distance;
          sums.date += row.date.getTime() / 60_000;
          if (row.origin === "SEA") sums.sea++;
        }
      }
      await reader.close();
    }
    const connection = await (await DuckDBInstance.create(":memory:", { threads: "1" })).connect();
    const result =
      await connection.runAndReadAll(`select count(*)::double, sum(delay)::double, sum(distance)::double, (count(*) filter (origin = 'SEA'))::double,
      sum(epoch_ms(date) / 60000)::double from '${FLIGHTS}'`);
    expect(Object.values(sums)).toEqual(result.getRows()[0]);
  }, 60_000);

  test("are, row by row, what hyparquet reads", async () => {
    const metadata = parquetMetadata(readFileSync(FLIGHTS));
    const first = Number(metadata.row_groups[0]?.num_rows);
    const source = createSource({ kind: "parquet", path: FLIGHTS });
    const { splits } = await source.enumerate({ parallelism: 1, signal });
    const split = splits[1];
    if (split === undefined) throw new Error("no second row group");
    const reader = await source.open(split, null, { signal, onBadRecord: () => undefined });
    const rows: unknown[] = [];
    expect(await reader.next(rows, 20_000)).toBe(20_000);
    expect(rows).toEqual(await byHyparquet(FLIGHTS, first, first + 20_000));
    const resumed = await source.open(split, reader.position(), { signal, onBadRecord: () => undefined });
    const next: unknown[] = [];
    await resumed.next(next, 10);
    expect(next).toEqual(await byHyparquet(FLIGHTS, first + 20_000, first + 20_010));
    await Promise.all([reader.close(), resumed.close()]);
  }, 60_000);
});

/** Columns of all types that DuckDB writes, with nulls in each, low and high cardinality. */
const DUCKDB_TABLE = `select
  case when i % 7 = 0 then null else i % 5 = 0 end as bool,
  case when i % 11 = 0 then null else (i % 100)::tinyint end as tiny,
  case when i % 3 = 0 then null else (i * 37)::integer end as int,
  (i * 1000003)::bigint as big,
  case when i % 50 = 0 then 9007199254740993 + i else i end::bigint as sometimes_huge,
  case when i % 5 = 0 then null else (18446744073709551615 - i)::ubigint end as unsigned_huge,
  (i * 3)::uinteger as unsigned,
  (4294967295 - i % 9)::uinteger as unsigned_top,
  (i / 3)::float as real,
  case when i % 13 = 0 then null else i / 7 end::double as dbl,
  (i / 100)::decimal(9, 2) as dec9, (i / 100)::decimal(18, 4) as dec18, (i / 100)::decimal(30, 3) as dec30,
  case when i % 4 = 0 then null else 'city ' || (i % 20) end as city,
  'unique ' || i || ' é€😀' as label,
  date '1960-01-01' + (i % 40000)::integer as day,
  timestamp '1969-12-31 23:59:59.999' + interval (i * 977) millisecond as at_us,
  (timestamp '2001-01-01' + interval (i) second)::timestamp_ms as at_ms,
  (timestamp '2001-01-01 00:00:00.123456')::timestamp_ns as at_ns,
  (timestamptz '2001-01-01 00:00:00+00' + interval (i) minute) as at_tz,
  null::varchar as nothing,
  '{"n": ' || i || '}' as json_text,
  uuid() as uid,
  [i, null, i + 1] as list,
  {'x': i, 'y': 'y' || i} as struct,
  from range(5000) t(i)`;

describe("files of other writers", () => {
  test.for([
    ["uncompressed", "V1"],
    ["snappy", "V1"],
    ["gzip", "V1"],
    ["zstd", "V1"],
    ["brotli", "V1"],
    ["lz4_raw", "V1"],
    ["zstd", "V2"],
    ["snappy", "V2"],
  ])("of DuckDB with %s in version %s give what hyparquet reads", { timeout: 60_000 }, async ([codec, version]) => {
    const dir = temporaryDir();
    const file = path.join(dir, "all.parquet");
    const connection = await (await DuckDBInstance.create(":memory:", { threads: "1" })).connect();
    await connection.run(
      `copy (${DUCKDB_TABLE}) to '${file}' (format parquet, compression ${codec}, parquet_version ${version}, row_group_size 2048)`,
    );
    const { records, splits } = await readDescriptor({ kind: "parquet", path: file });
    expect(splits).toBeGreaterThan(1);
    const expected = await byHyparquet(file);
    expect(records.length).toBe(5000);
    records.forEach((record, i) => {
      expect(record).toEqual(expected[i]);
    });
    const first = records[50] as Record<string, unknown>;
    expect(first).toMatchObject({
      bool: true,
      int: 1850,
      sometimes_huge: 9007199254741043n,
      city: "city 10",
      label: "unique 50 é€😀",
      nothing: null,
    });
    expect(first.at_us).toEqual(new Date(Date.UTC(1969, 11, 31, 23, 59, 59, 999) + 50 * 977));
  });

  test("of hyparquet-writer give what was written, whichever encoding it chose", async () => {
    const count = 3000;
    const rows = Array.from({ length: count }, (_, i) => i);
    const maybe = <T>(value: (i: number) => T) => rows.map((i) => (i % 9 === 4 ? null : value(i)));
    const columns = {
      flag: { type: "BOOLEAN", data: maybe((i) => i % 2 === 0) },
      small: { type: "INT32", data: maybe((i) => i % 10) },
      int: { type: "INT32", data: maybe((i) => i * 77) },
      long: { type: "INT64", data: maybe((i) => BigInt(i) * 10n ** 15n) },
      float: { type: "FLOAT", data: maybe((i) => i / 4) },
      double: { type: "DOUBLE", data: maybe((i) => i / 3) },
      word: { type: "STRING", data: maybe((i) => `word ${i % 3}`) },
      text: { type: "STRING", data: maybe((i) => `text ${i}`) },
      json: { type: "JSON", data: maybe((i) => ({ i, list: [i] })) },
      at: { type: "TIMESTAMP", data: maybe((i) => new Date(i * 1e9)) },
      required: { type: "INT32", nullable: false, data: rows },
      required_word: { type: "STRING", nullable: false, data: rows.map((i) => `r${i % 2}`) },
    } as const;
    const columnData = Object.entries(columns).map(([name, column]) => ({ name, ...column, data: [...column.data] }));
    const dir = temporaryDir();
    const encodings = [undefined, "PLAIN", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "BYTE_STREAM_SPLIT"] as const;
    const fits: Record<string, readonly string[]> = {
      DELTA_BINARY_PACKED: ["INT32", "INT64", "TIMESTAMP"],
      DELTA_LENGTH_BYTE_ARRAY: ["STRING", "JSON"],
      BYTE_STREAM_SPLIT: ["FLOAT", "DOUBLE", "INT32", "INT64", "TIMESTAMP"],
    };
    for (const encoding of encodings) {
      const data = columnData.map((column) =>
        encoding === undefined || (fits[encoding] !== undefined && !fits[encoding].includes(column.type))
          ? column
          : { ...column, encoding },
      );
      const file = writeFile(
        dir,
        "all.parquet",
        new Uint8Array(parquetWriteBuffer({ columnData: data, rowGroupSize: 700, pageSize: 2000 })),
      );
      const { records } = await readDescriptor({ kind: "parquet", path: file });
      const expected = rows.map((i) => inOurTerms(Object.fromEntries(columnData.map((column) => [column.name, column.data[i]]))));
      expect(records).toEqual(expected);
    }
  }, 60_000);
});

describe("a Parquet source", () => {
  test("gives the fields that were asked for, in their order", async () => {
    const { records } = await readSome(["origin", "delay"]);
    expect(records[0]).toEqual({ origin: "LAS", delay: 33 });
    expect(Object.keys(records[0] as object)).toEqual(["origin", "delay"]);
  });

  test("names the columns that exist when one does not", async () => {
    await expect(readSome(["gate"])).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining("no column gate"),
      hint: expect.stringContaining("date, delay, distance, origin, destination"),
    });
  });

  test("names the file that is not Parquet", async () => {
    const file = writeFile(temporaryDir(), "a.parquet", "these are no parquet bytes, not at all");
    await expect(readDescriptor({ kind: "parquet", path: file })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining(file),
    });
  });

  test("names row group, column and file of damaged pages, and never gives wrong rows silently past the end of a page", async () => {
    const dir = temporaryDir();
    const data = Array.from({ length: 1000 }, (_, i) => `value ${i}`);
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "v", data, type: "STRING" }], codec: "UNCOMPRESSED" }));
    // A length in the middle of the page becomes huge.
    const damaged = bytes.slice();
    damaged.fill(0xff, 3000, 3016);
    const file = writeFile(dir, "damaged.parquet", damaged);
    await expect(readDescriptor({ kind: "parquet", path: file })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining(`row group 0, column v of ${file}`),
    });
  });
});

async function readSome(fields: readonly string[]): Promise<{ records: unknown[] }> {
  const source = createSource({ kind: "parquet", path: FLIGHTS, fields });
  const { splits } = await source.enumerate({ parallelism: 1, signal });
  const split = splits[0];
  if (split === undefined) throw new Error("no split");
  const reader = await source.open(split, null, { signal, onBadRecord: () => undefined });
  const records: unknown[] = [];
  await reader.next(records, 10);
  await reader.close();
  return { records };
}

test("runs and packed groups are refused when they end too early", () => {
  const out = new Int32Array(16);
  readHybrid(Buffer.from([0b11, 0b10101010]), 0, 2, 1, out, 0, 8);
  expect([...out.subarray(0, 8)]).toEqual([0, 1, 0, 1, 0, 1, 0, 1]);
  readHybrid(Buffer.from([16 << 1, 5]), 0, 2, 3, out, 0, 16);
  expect([...out]).toEqual(new Array(16).fill(5));
  expect(() => readHybrid(Buffer.from([0b11]), 0, 1, 1, out, 0, 8)).toThrow("ends within");
  expect(() => readHybrid(Buffer.from([0x80, 0x80]), 0, 2, 1, out, 0, 8)).toThrow("ends within");
  expect(() => readHybrid(Buffer.from([16 << 1]), 0, 1, 3, out, 0, 8)).toThrow("ends within");
});
