import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openBytes } from "../../../src/connectors/byte-source.js";
import { createSource } from "../../../src/connectors/index.js";
import { LineChunks } from "../../../src/connectors/line-chunks.js";
import { readDescriptor, signal, temporaryDir, writeFile } from "./reading.js";

/** What reading lines has to give, said in the simplest way. */
function linesOf(content: string): string[] {
  const lines = content.split("\n").map((line) => line.replace(/\r$/, ""));
  if (content === "" || content.endsWith("\n")) lines.pop();
  return lines;
}

const piece = fc.oneof(
  fc.constantFrom("\n", "\r\n", "\n\n", "é", "€", "😀", "\u0000", "\r", " "),
  fc.string({ maxLength: 12 }),
  fc.string({ maxLength: 40, unit: "binary" }).map((text) => text.replaceAll("\n", "").replace(/[\ud800-\udfff]/g, "")),
);
// A byte order mark in front is no part of the first line; it has a test of its own.
const content = fc.array(piece, { maxLength: 60 }).map((pieces) => pieces.join("").replace(/^\ufeff+/, ""));

describe("splits of a text file", () => {
  test("give every line once and in order, wherever the file is cut", async () => {
    const dir = temporaryDir();
    await fc.assert(
      fc.asyncProperty(
        content,
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 7 }),
        async (text, splitBytes, limit) => {
          const path = writeFile(dir, "lines.txt", text);
          const { records, splits } = await readDescriptor({ kind: "text", path, splitBytes }, { limit });
          expect(records).toEqual(linesOf(text));
          expect(splits).toBe(text === "" ? 0 : Math.max(1, Math.round(Buffer.byteLength(text) / splitBytes)));
        },
      ),
      { numRuns: 300 },
    );
  });

  test("give every line once with buffers that hardly hold one, and report those that fit in none", async () => {
    const dir = temporaryDir();
    await fc.assert(
      fc.asyncProperty(
        content,
        fc.integer({ min: 1, max: 80 }),
        fc.integer({ min: 1, max: 20 }),
        async (text, splitBytes, maxLineBytes) => {
          const path = writeFile(dir, "lines.txt", text);
          const { records, bad } = await readDescriptor({ kind: "text", path, splitBytes, maxLineBytes, onError: "skip" });
          const all = text.split("\n");
          if (text === "" || text.endsWith("\n")) all.pop();
          expect(records).toEqual(
            all.filter((line) => Buffer.byteLength(line) <= maxLineBytes).map((line) => line.replace(/\r$/, "")),
          );
          expect(bad.map((one) => one.line)).toEqual(
            all.flatMap((line, i) => (Buffer.byteLength(line) > maxLineBytes ? [i + 1] : [])),
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  test("go on exactly where a reader stopped", async () => {
    const dir = temporaryDir();
    await fc.assert(
      fc.asyncProperty(
        content,
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 9 }),
        async (text, splitBytes, resumeAfter) => {
          const path = writeFile(dir, "lines.txt", text);
          const { records } = await readDescriptor({ kind: "text", path, splitBytes }, { resumeAfter, limit: 3 });
          expect(records).toEqual(linesOf(text));
        },
      ),
      { numRuns: 200 },
    );
  });

  test("are read whole when packed by gzip, also in several members, and also from a position", async () => {
    const dir = temporaryDir();
    await fc.assert(
      fc.asyncProperty(
        content,
        content,
        fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
        async (one, two, resumeAfter) => {
          const path = writeFile(dir, "lines.txt.gz", Buffer.concat([gzipSync(one), gzipSync(two)]));
          const { records, splits } = await readDescriptor(
            { kind: "text", path, splitBytes: 1 },
            resumeAfter === undefined ? {} : { resumeAfter, limit: 2 },
          );
          expect(records).toEqual(linesOf(one + two));
          expect(splits).toBe(1);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("text", () => {
  test("of several megabytes crosses buffers and windows without a loss", async () => {
    const dir = temporaryDir();
    const lines = Array.from({ length: 90_000 }, (_, i) => `${i}: ${"äbc€😀"[i % 4] ?? ""}${"x".repeat(i % 97)}`);
    lines[500] = "y".repeat(3_000_000);
    const path = writeFile(dir, "large.txt", lines.join("\n"));
    for (const parallelism of [1, 3]) {
      const { records } = await readDescriptor({ kind: "text", path }, { parallelism, limit: 1024 });
      expect(records.length).toBe(lines.length);
      expect(records).toEqual(lines);
    }
    const { records } = await readDescriptor({ kind: "text", path }, { resumeAfter: 4321, limit: 1000 });
    expect(records).toEqual(lines);
  });

  test("starts behind a byte order mark, and UTF-16 is refused", async () => {
    const dir = temporaryDir();
    const path = writeFile(dir, "bom.txt", "\ufeffone\ntwo");
    expect((await readDescriptor({ kind: "text", path })).records).toEqual(["one", "two"]);
    const wide = writeFile(dir, "utf16.txt", Buffer.from("\ufeffone\n", "utf16le"));
    await expect(readDescriptor({ kind: "text", path: wide })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining("UTF-16"),
    });
  });

  test("that is not UTF-8 is read with replacement characters", async () => {
    const path = writeFile(temporaryDir(), "latin1.txt", Buffer.from("caf\u00e9\nok\n", "latin1"));
    expect((await readDescriptor({ kind: "text", path })).records).toEqual(["caf\ufffd", "ok"]);
  });

  test("of a damaged gzip file names the file", async () => {
    const dir = temporaryDir();
    const packed = gzipSync("some lines\n".repeat(1000));
    const cut = writeFile(dir, "cut.txt.gz", packed.subarray(0, packed.length - 12));
    await expect(readDescriptor({ kind: "text", path: cut })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining(cut),
    });
    const noGzip = writeFile(dir, "plain.gz", "not packed at all");
    await expect(readDescriptor({ kind: "text", path: noGzip })).rejects.toMatchObject({ code: "SOURCE_FAILED" });
  });

  test("that became shorter since it was enumerated is refused", async () => {
    const dir = temporaryDir();
    const path = writeFile(dir, "lines.txt", "one\ntwo\n");
    const source = createSource({ kind: "text", path });
    const { splits } = await source.enumerate({ parallelism: 1, signal });
    writeFile(dir, "lines.txt", "one\n");
    const split = splits[0];
    if (split === undefined) throw new Error("no split");
    await expect(source.open(split, null, { signal, onBadRecord: () => undefined })).rejects.toMatchObject({
      code: "SOURCE_FAILED",
    });
  });

  test("too long for maxLineBytes fails the job by default, naming file and line", async () => {
    const path = writeFile(temporaryDir(), "long.txt", `short\n${"x".repeat(500)}\n`);
    await expect(readDescriptor({ kind: "text", path, maxLineBytes: 100 })).rejects.toMatchObject({
      code: "BAD_RECORD",
      message: expect.stringContaining(`line 2 of ${path}`),
    });
  });
});

test("keeping a few lines or fields does not keep the input in memory", async () => {
  const dir = temporaryDir();
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const line = (i: number): string => `a line number ${i} of some length,and a second field ${i}`;
  const path = writeFile(dir, "lines.csv", `x,y\n${Array.from({ length: 400_000 }, (_, i) => line(i)).join("\n")}`);
  for (const kind of ["text", "csv"] as const) {
    const source = createSource({ kind, path });
    const kept: unknown[] = [];
    const out: unknown[] = [];
    const { splits } = await source.enumerate({ parallelism: 1, signal });
    collect();
    const before = process.memoryUsage().heapUsed;
    for (const split of splits) {
      const reader = await source.open(split, null, { signal, onBadRecord: () => undefined });
      for (let count = await reader.next(out, 200); count > 0; count = await reader.next(out, 200)) kept.push(out[0]);
      await reader.close();
    }
    out.length = 0;
    collect();
    expect(kept.length).toBeGreaterThan(1000);
    expect((process.memoryUsage().heapUsed - before) / 1e6).toBeLessThan(5);
  }
});

test("closing a reader in the middle of a read leaves nothing open", async () => {
  const path = writeFile(temporaryDir(), "lines.txt", "line\n".repeat(500_000));
  const range = { path, start: 0, end: Number.POSITIVE_INFINITY, startsLine: true, maxLineBytes: 1_000_000 };
  const chunks = new LineChunks(await openBytes(path, 0), range, signal);
  await chunks.next();
  await chunks.close();
  expect(await chunks.next()).toBeNull();
});

test("a cancelled reader stops at its next chunk", async () => {
  const path = writeFile(temporaryDir(), "lines.txt", "line\n".repeat(500_000));
  const cancel = new AbortController();
  const range = { path, start: 0, end: Number.POSITIVE_INFINITY, startsLine: true, maxLineBytes: 1_000_000 };
  const chunks = new LineChunks(await openBytes(path, 0), range, cancel.signal);
  await chunks.next();
  cancel.abort(new Error("enough"));
  await expect(chunks.next()).rejects.toThrow("enough");
  await chunks.close();
});
