import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readDescriptor, temporaryDir, writeFile } from "./reading.js";

const cell = fc.oneof(
  fc.constantFrom("", "a", "1", '"', '""', ",", ";", "\n", "\r\n", " x ", "é,€", 'say "hi"', "😀"),
  fc.string({ maxLength: 10, unit: "binary" }).map((text) => text.replace(/[\ud800-\udfff\ufeff]/g, "").replaceAll("\r", "")),
);

/** The format, said in the simplest way. `always`: quotes around every field. */
function csvText(rows: readonly (readonly string[])[], delimiter: string, lineEnd: string, always: boolean): string {
  const quoted = (text: string): string =>
    always || /["\r\n]/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
  return rows.map((row) => (row.length === 1 && row[0] === "" ? '""' : row.map(quoted).join(delimiter)) + lineEnd).join("");
}

function objects(columns: readonly string[], rows: readonly (readonly string[])[]): unknown[] {
  return rows.map((row) => Object.fromEntries(columns.map((column, i) => [column, row[i]])));
}

describe("CSV", () => {
  test("gives back every table that can be written, with quotes, line ends and delimiters in its fields", async () => {
    const dir = temporaryDir();
    const table = fc
      .integer({ min: 1, max: 5 })
      .chain((width) => fc.array(fc.array(cell, { minLength: width, maxLength: width }), { maxLength: 30, size: "max" }));
    await fc.assert(
      fc.asyncProperty(
        table,
        fc.constantFrom(",", ";", "\t", "|"),
        fc.constantFrom("\n", "\r\n"),
        fc.boolean(),
        fc.integer({ min: 1, max: 9 }),
        async (rows, delimiter, end, always, limit) => {
          const columns = (rows[0] ?? ["x"]).map((_, i) => `c${i}`);
          const path = writeFile(dir, "table.csv", csvText([columns, ...rows], delimiter, end, always));
          expect((await readDescriptor({ kind: "csv", path, delimiter }, { limit })).records).toEqual(objects(columns, rows));
          expect((await readDescriptor({ kind: "csv", path, delimiter }, { limit, resumeAfter: limit })).records).toEqual(
            objects(columns, rows),
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  test("without line ends in its fields is cut into splits, each of which knows the header", async () => {
    const dir = temporaryDir();
    const rows = Array.from({ length: 500 }, (_, i) => [`${i}`, `name "${i}", é`, i % 3 === 0 ? "" : "x"]);
    const path = writeFile(dir, "table.csv", csvText([["id", "name", "note"], ...rows], ",", "\r\n", false));
    const { records, splits } = await readDescriptor({ kind: "csv", path, multiline: false, splitBytes: 700 }, { resumeAfter: 7 });
    expect(splits).toBeGreaterThan(10);
    expect(records).toEqual(objects(["id", "name", "note"], rows));
  });

  test("keeps quoted fields over the borders of buffers and windows", async () => {
    const dir = temporaryDir();
    const rows = Array.from({ length: 300 }, (_, i) => [`${i}`, `${"line of text\n".repeat((i * 37) % 2000)}end "${i}"`]);
    const text = csvText([["id", "text"], ...rows], ",", "\n", false);
    const path = writeFile(dir, "table.csv", text);
    const packed = writeFile(dir, "table.csv.gz", gzipSync(text));
    expect((await readDescriptor({ kind: "csv", path })).records).toEqual(objects(["id", "text"], rows));
    expect((await readDescriptor({ kind: "csv", path: packed }, { resumeAfter: 111 })).records).toEqual(
      objects(["id", "text"], rows),
    );
  });

  test("reads numbers and booleans where told to, and empty ones as null", async () => {
    const path = writeFile(temporaryDir(), "t.csv", "n,b,s\n1.5,true,1.5\n,,\n-3e2,0,x\n");
    const { records } = await readDescriptor({ kind: "csv", path, types: { n: "number", b: "boolean" } });
    expect(records).toEqual([
      { n: 1.5, b: true, s: "1.5" },
      { n: null, b: null, s: "" },
      { n: -300, b: false, s: "x" },
    ]);
  });

  test("keeps only the fields asked for, takes given names, and reads files without a header", async () => {
    const dir = temporaryDir();
    const path = writeFile(dir, "t.csv", 'a,b,c\n1,2,3\n4,"5",6\n');
    expect((await readDescriptor({ kind: "csv", path, fields: ["c", "a"] })).records).toEqual([
      { c: "3", a: "1" },
      { c: "6", a: "4" },
    ]);
    expect((await readDescriptor({ kind: "csv", path, columns: ["x", "y", "z"], fields: ["y"] })).records).toEqual([
      { y: "2" },
      { y: "5" },
    ]);
    expect((await readDescriptor({ kind: "csv", path, header: false, columns: ["x", "y", "z"] })).records[0]).toEqual({
      x: "a",
      y: "b",
      z: "c",
    });
    const tabbed = writeFile(dir, "t.tsv", "a\tb\n1,5\t2\n");
    expect((await readDescriptor({ kind: "csv", path: tabbed })).records).toEqual([{ a: "1,5", b: "2" }]);
    const marked = writeFile(dir, "bom.csv", "\ufeffa,b\n1,2\n");
    expect((await readDescriptor({ kind: "csv", path: marked })).records).toEqual([{ a: "1", b: "2" }]);
  });

  test("passes over empty lines, and a file with a header only is empty", async () => {
    const dir = temporaryDir();
    const path = writeFile(dir, "t.csv", "a,b\n\n1,2\r\n\r\n\n3,4");
    expect((await readDescriptor({ kind: "csv", path })).records).toEqual([
      { a: "1", b: "2" },
      { a: "3", b: "4" },
    ]);
    expect((await readDescriptor({ kind: "csv", path: writeFile(dir, "h.csv", "a,b") })).records).toEqual([]);
    expect((await readDescriptor({ kind: "csv", path: writeFile(dir, "e.csv", "") })).records).toEqual([]);
  });

  test("refuses columns that are not there or come twice, naming those that are", async () => {
    const dir = temporaryDir();
    const path = writeFile(dir, "t.csv", "a,b\n1,2\n");
    await expect(readDescriptor({ kind: "csv", path, fields: ["z"] })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      hint: "Its columns are a, b.",
    });
    await expect(readDescriptor({ kind: "csv", path, types: { z: "number" } })).rejects.toMatchObject({ code: "SOURCE_FAILED" });
    await expect(readDescriptor({ kind: "csv", path, columns: ["x"] })).rejects.toMatchObject({ code: "SOURCE_FAILED" });
    const twice = writeFile(dir, "twice.csv", "a,a\n1,2\n");
    await expect(readDescriptor({ kind: "csv", path: twice })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining("a comes twice"),
    });
    await expect(readDescriptor({ kind: "csv", path, delimiter: "ab" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(readDescriptor({ kind: "csv", path, header: false })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("a bad row", () => {
  const text = 'a,b\n1,2\n1,2,3\n"x"y,2\nx,2\n"multi\nline",5\n3,4\n"never closed,6\n5,6\n';

  test("is told with its line and reason, and reading goes on behind its first line", async () => {
    const path = writeFile(temporaryDir(), "t.csv", text);
    const { records, bad } = await readDescriptor({ kind: "csv", path, onError: "skip", types: { b: "number" } });
    expect(records).toEqual([
      { a: "1", b: 2 },
      { a: "x", b: 2 },
      { a: "multi\nline", b: 5 },
      { a: "3", b: 4 },
      { a: "5", b: 6 },
    ]);
    expect(bad.map(({ line, text, reason }) => [line, text, reason])).toEqual([
      [3, "1,2,3", "the row has 3 fields instead of 2"],
      [4, '"x"y,2', "a closing quote is followed by text"],
      [9, '"never closed,6', "a quote is never closed"],
    ]);
  });

  test("with a value that is not of its type is told too", async () => {
    const path = writeFile(temporaryDir(), "t.csv", "a,b\n1,x\n2,yes\n3,4\n");
    const numbers = await readDescriptor({ kind: "csv", path, onError: "side", types: { b: "number" } });
    expect(numbers.records).toEqual([{ a: "3", b: 4 }]);
    expect(numbers.bad.map((one) => one.reason)).toEqual(['"x" in column b is not a number', '"yes" in column b is not a number']);
    await expect(readDescriptor({ kind: "csv", path, types: { b: "boolean" } })).rejects.toMatchObject({
      code: "BAD_RECORD",
      message: `cannot read the record at line 2 of ${path}: "x" in column b is neither true nor false`,
    });
  });

  test("does not let an open quote swallow more than maxLineBytes", async () => {
    const body = Array.from({ length: 20_000 }, (_, i) => `${i},x`).join("\n");
    const path = writeFile(temporaryDir(), "t.csv", `a,b\n"open,1\n${body}\n`);
    const { records, bad } = await readDescriptor({ kind: "csv", path, onError: "skip", maxLineBytes: 1000 });
    expect(records.length).toBe(20_000);
    expect(bad.map((one) => [one.line, one.reason])).toEqual([[2, "a quoted field is longer than maxLineBytes"]]);
  });

  test("that is not closed on its line is found when fields are promised to have no line ends", async () => {
    const path = writeFile(temporaryDir(), "t.csv", 'a,b\n1,"2\n3,4"\n5,6\n');
    const { records, bad } = await readDescriptor({ kind: "csv", path, onError: "skip", multiline: false });
    expect(records).toEqual([
      { a: "3", b: '4"' },
      { a: "5", b: "6" },
    ]);
    expect(bad.map((one) => [one.line, one.reason])).toEqual([[2, "a quote is not closed on its line"]]);
  });
});
