import { mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { expandBraces, parseGlob } from "../../../src/connectors/glob.js";
import { findInputFiles } from "../../../src/connectors/input-files.js";
import { readDescriptor, signal, temporaryDir, writeFile } from "./reading.js";

function tree(): string {
  const dir = temporaryDir();
  for (const name of [
    "a.csv",
    "b.csv",
    "c.txt",
    "_SUCCESS",
    ".hidden.csv",
    "sub/d.csv",
    "sub/deep/e.csv",
    "sub/_tmp/f.csv",
    "sub2/g.csv",
    "x[1].csv",
  ]) {
    writeFile(dir, name, "line\n");
  }
  return dir;
}

async function found(dir: string, given: string | readonly string[]): Promise<string[]> {
  return (await findInputFiles(given, dir, signal)).map((file) => path.relative(dir, file.path));
}

describe("a path", () => {
  test("that is a file, a directory or a pattern names files in a fixed order, each once", async () => {
    const dir = tree();
    expect(await found(dir, "a.csv")).toEqual(["a.csv"]);
    expect(await found(dir, ".")).toEqual(["a.csv", "b.csv", "c.txt", "sub/d.csv", "sub/deep/e.csv", "sub2/g.csv", "x[1].csv"]);
    expect(await found(dir, "*.csv")).toEqual(["a.csv", "b.csv", "x[1].csv"]);
    expect(await found(dir, "**/*.csv")).toEqual(["a.csv", "b.csv", "sub/d.csv", "sub/deep/e.csv", "sub2/g.csv", "x[1].csv"]);
    expect(await found(dir, "sub/**")).toEqual(["sub/d.csv", "sub/deep/e.csv"]);
    expect(await found(dir, "{a,b}.csv")).toEqual(["a.csv", "b.csv"]);
    expect(await found(dir, "sub{,2}/?.csv")).toEqual(["sub/d.csv", "sub2/g.csv"]);
    expect(await found(dir, "[!a].{csv,txt}")).toEqual(["b.csv", "c.txt"]);
    expect(await found(dir, "s*")).toEqual(["sub/d.csv", "sub/deep/e.csv", "sub2/g.csv"]);
    expect(await found(dir, ["b.csv", "*.csv", "a.csv"])).toEqual(["a.csv", "b.csv", "x[1].csv"]);
  });

  test("that exists is taken as it is, and hidden names when they are named", async () => {
    const dir = tree();
    expect(await found(dir, "x[1].csv")).toEqual(["x[1].csv"]);
    expect(await found(dir, ".hidden.csv")).toEqual([".hidden.csv"]);
    expect(await found(dir, ".*.csv")).toEqual([".hidden.csv"]);
    expect(await found(dir, "sub/_*/*")).toEqual(["sub/_tmp/f.csv"]);
  });

  test("without a file is an error that names it", async () => {
    const dir = tree();
    await expect(found(dir, "none.csv")).rejects.toMatchObject({
      code: "SOURCE_FAILED",
      message: expect.stringContaining(`${dir}/none.csv: no such file`),
    });
    await expect(found(dir, "*.json")).rejects.toMatchObject({ code: "SOURCE_FAILED", message: `no file matches ${dir}/*.json` });
    await expect(found(dir, "a.csv/b.csv")).rejects.toMatchObject({ code: "SOURCE_FAILED" });
  });

  test("may be an empty directory, and links to directories do not lead in circles", async () => {
    const dir = tree();
    mkdirSync(path.join(dir, "empty"));
    expect(await found(dir, "empty")).toEqual([]);
    symlinkSync(dir, path.join(dir, "sub/loop"));
    symlinkSync(path.join(dir, "a.csv"), path.join(dir, "sub/link.csv"));
    expect(await found(dir, "sub")).toEqual(["sub/d.csv", "sub/deep/e.csv", "sub/link.csv"]);
  });

  test("of several files gives their records in order", async () => {
    const dir = temporaryDir();
    writeFile(dir, "2.txt", "c\nd");
    writeFile(dir, "1.txt", "a\nb");
    writeFile(dir, "3.txt", "");
    expect((await readDescriptor({ kind: "text", path: dir })).records).toEqual(["a", "b", "c", "d"]);
  });
});

test("alternatives nest, an open brace is plain text, and there is a bound", () => {
  expect(expandBraces("x{a,b{1,2}}y").sort()).toEqual(["xay", "xb1y", "xb2y"]);
  expect(expandBraces("x{a")).toEqual(["x{a"]);
  expect(() => expandBraces("{a,b}".repeat(20))).toThrow("more than 1000 alternatives");
  expect(parseGlob("/data/x/*.csv")[0]?.fixed).toEqual(["", "data", "x"]);
});
