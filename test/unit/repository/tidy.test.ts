import path from "node:path";
import { describe, expect, test } from "vitest";
// @ts-expect-error a script without types
import { codeOf, tidy, violationsOf } from "../../../scripts/tidy.mjs";

const HEADER = "/** What this file is for. */\n";
const violations = (file: string, code: string): string[] => violationsOf(file, HEADER + code);

describe("the rules about the source", () => {
  test("the repository keeps them", () => {
    expect(tidy(path.resolve(import.meta.dirname, "../../.."))).toEqual([]);
  });

  test.each([
    ["src/master/planted.ts", "export const at = Date.now();", "Date"],
    ["src/scheduler/planted.ts", "export const chance = Math.random();", "Math.random"],
    ["src/worker/planted.ts", "setTimeout(() => {}, 1);", "a timer"],
    ["src/job/planted.ts", "export const bytes = Buffer.from([]);", "Buffer"],
    ["src/master/planted.ts", "export async function wait(p: Promise<void>) { await p; }", "async code"],
    ["src/coordination/planted.ts", "export const at = Date.now();", "Date"],
    ["src/host/planted.ts", "setInterval(() => {}, 1);", "a timer"],
  ])("%s may not hold `%s`", (file, code, what) => {
    expect(violations(file, code)).toEqual([expect.stringContaining(`names ${what}`)]);
  });

  test.each([
    ["src/base/planted.ts", 'import { x } from "../wire/envelope.js";'],
    ["src/master/planted.ts", 'import { x } from "../worker/core.js";'],
    ["src/node/planted.ts", 'import { x } from "../sim/world.js";'],
    ["src/sim/planted.ts", 'export { x } from "../node/proc.js";'],
    ["src/executor/core/planted.ts", 'import type { x } from "../run/slice.js";'],
    ["src/wire/planted.ts", 'export const later = import("../host/link.js");'],
  ])("%s may not import against the drawn direction", (file, code) => {
    expect(violations(file, code)).toEqual([expect.stringContaining("may only import")]);
  });

  test("pure and neutral code may not import Node", () => {
    expect(violations("src/host/planted.ts", 'import { readFile } from "node:fs/promises";')).toEqual([
      expect.stringContaining("imports node:fs/promises"),
    ]);
    expect(violations("src/node/planted.ts", 'import { readFile } from "node:fs/promises";')).toEqual([]);
  });

  test("words in comments and texts are not code", () => {
    expect(codeOf('// Date\n/* setTimeout */ const a = "Math.random";')).not.toMatch(/Date|setTimeout|Math/);
    expect(violations("src/master/planted.ts", '// Date.now() would be wrong here\nexport const text = "Date";')).toEqual([]);
  });

  test("a file without a header comment is reported", () => {
    expect(violationsOf("src/base/planted.ts", "export const a = 1;\n")).toEqual([expect.stringContaining("no header comment")]);
  });
});
