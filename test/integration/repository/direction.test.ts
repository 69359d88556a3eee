import { execFile } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);
const root = path.resolve(import.meta.dirname, "../../..");
const tsc = (project: string) =>
  run(
    process.execPath,
    [
      path.join(root, "node_modules/typescript/bin/tsc"),
      "-p",
      path.join(root, "src", project),
      "--noEmit",
      "--composite",
      "false",
      "--incremental",
      "false",
      "--tsBuildInfoFile",
      "null",
    ],
    {
      cwd: root,
    },
  ).then(
    () => "",
    (failed: { stdout: string }) => failed.stdout,
  );

// Each of these is planted into the real folder, compiled by the real compiler, and taken out again.
test.each([
  ["scheduler", 'import type { Envelope } from "../wire/envelope.js";\nexport type Planted = Envelope;\n', /TS6059|TS6307/],
  ["scheduler", "export const planted = process.pid;\n", /TS2580|TS2591|TS2304/],
  ["scheduler", "export const planted = setTimeout;\n", /TS2304/],
])("a file planted in src/%s against the drawn direction does not compile", async (project, code, expected) => {
  const file = path.join(root, "src", project, `planted-${process.pid}.ts`);
  await writeFile(file, `/** Planted by a test. */\n${code}`);
  try {
    expect(await tsc(project)).toMatch(expected);
  } finally {
    await rm(file, { force: true });
  }
});
