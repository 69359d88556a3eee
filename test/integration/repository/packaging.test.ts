/** The units of packaging/: systemd takes them, every option in them is one of the command's, and processes outlive a worker as intended. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { holdfast, ROOT } from "../../support/holdfast.js";

const run = promisify(execFile);
const FOLDER = path.join(ROOT, "packaging/systemd");
const UNITS = ["holdfast-master.service", "holdfast-worker.service"];
const INSTALLED = "/usr/local/bin/holdfast";
const ANALYZE = "/usr/bin/systemd-analyze";
/** Of `systemd-analyze security`, times ten: a master is closed as far as V8 allows, a worker runs what others submit. */
const MOST_EXPOSED: Readonly<Record<string, number>> = { "holdfast-master.service": 25, "holdfast-worker.service": 60 };

const scratch = mkdtempSync(path.join(os.tmpdir(), "holdfast-units-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const textOf = (unit: string) => readFileSync(path.join(FOLDER, unit), "utf8");
const settingOf = (unit: string, name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(textOf(unit))?.[1];

/** As it would be where Holdfast is installed: systemd wants the program to be there. */
function installed(unit: string, change: (text: string) => string = (text) => text): string {
  const file = path.join(scratch, unit);
  writeFileSync(file, change(textOf(unit).replaceAll(INSTALLED, "/bin/true")));
  return file;
}

/** What it says; empty when it is content. */
async function verify(file: string): Promise<string> {
  const { stdout, stderr } = await run(ANALYZE, ["verify", "--man=no", file]).catch(
    (thrown) => thrown as { stdout: string; stderr: string },
  );
  return (stdout + stderr)
    .split("\n")
    .filter((line) => line.includes(path.basename(file)))
    .join("\n");
}

async function unknownOptions(unit: string, text: string): Promise<readonly string[]> {
  const line = /^ExecStart=(.*)$/m.exec(text)?.[1] ?? "";
  const [program, command = "", ...words] = line.split(/\s+/);
  expect(program).toBe(INSTALLED);
  const { stdout, exitCode } = await holdfast([command, "--help"]);
  expect({ unit, exitCode }).toEqual({ unit, exitCode: 0 });
  return words.filter((word) => word.startsWith("--") && !stdout.includes(`${word} `));
}

describe.each(UNITS)("%s", (unit) => {
  test.runIf(existsSync(ANALYZE))("is taken by systemd without a remark", async () => {
    expect(await verify(installed(unit))).toBe("");
  });

  test.runIf(existsSync(ANALYZE))("is closed as far as it should be", async () => {
    const file = installed(unit);
    await run(ANALYZE, ["security", "--offline=yes", "--no-pager", `--threshold=${MOST_EXPOSED[unit]}`, file]);
  });

  test("starts its command with options that it has", async () => {
    expect(await unknownOptions(unit, textOf(unit))).toEqual([]);
  });

  test("starts it again however it ended, and waits longer than the stop takes", () => {
    expect(settingOf(unit, "Restart")).toBe("always");
    expect(Number(settingOf(unit, "TimeoutStopSec"))).toBeGreaterThan(15);
    expect(settingOf(unit, "OOMPolicy")).toBe("continue");
    expect(textOf(unit)).toMatch(/--secret-file \/etc\/holdfast-(?:master|worker)\/secret/);
  });
});

test("a worker's unit leaves alone what shall outlive the worker", () => {
  const unit = "holdfast-worker.service";
  expect(settingOf(unit, "KillMode")).toBe("process");
  expect(settingOf(unit, "ExecStart")).toContain("--leave");
  for (const name of ["PrivateTmp", "RuntimeDirectory", "DynamicUser", "PrivatePIDs"])
    expect({ name, value: settingOf(unit, name) }).toEqual({ name, value: undefined });
});

test("the package brings them", () => {
  const { files } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as { files: string[] };
  expect(files).toContain("packaging");
  expect(readdirSync(FOLDER).sort()).toEqual([...UNITS, "holdfast-sysusers.conf", "holdfast-tmpfiles.conf"].sort());
});

describe("the test of the units sees", () => {
  test.runIf(existsSync(ANALYZE))("a setting that systemd does not know", async () => {
    const file = installed("holdfast-worker.service", (text) => text.replace("KillMode=process", "KillMode=everything"));
    expect(await verify(file)).toContain("everything");
  });

  test("an option that the command does not have", async () => {
    const unit = "holdfast-worker.service";
    expect(await unknownOptions(unit, textOf(unit).replace("--leave", "--leave-all"))).toEqual(["--leave-all"]);
  });
});
