/** LevelDB on directories that cannot be used, disks that fill up, and files that were damaged: a clear sentence, and nothing acknowledged lost. */
import { spawnSync } from "node:child_process";
import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { CodedError } from "../../../src/base/errors.js";
import { campaign, type Leadership } from "../../../src/coordination/leadership.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { temporaryDirectory, testLevelStore } from "./level-support.js";

const signal = AbortSignal.timeout(100_000);
const lead = (store: CoordinationStore) => campaign(store, { candidate: "tester", ttlMs: 6_000, clock: createNodeClock(), signal });
const record = (key: string, sizeBytes = 1_000) => ({ key, value: new Uint8Array(sizeBytes).fill(65) });

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await temporaryDirectory();
  try {
    await run(path.join(directory.path, "store"));
  } finally {
    await directory.remove();
  }
}

async function refusal(store: CoordinationStore): Promise<CodedError> {
  const thrown = await lead(store).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  await store.close();
  if (!(thrown instanceof CodedError)) throw new Error(`a refusal was expected, got: ${String(thrown)}`);
  expect(thrown.hint, thrown.message).not.toBeNull();
  return thrown;
}

async function keysIn(directory: string): Promise<string[]> {
  const store = testLevelStore(directory);
  const leadership = await lead(store);
  const keys: string[] = [];
  for await (const page of leadership.readRecords({ prefix: "", signal })) keys.push(...page.map(({ key }) => key));
  await store.close();
  return keys;
}

/** Fills a store and closes it. */
async function fill(directory: string, commits: number): Promise<void> {
  const store = testLevelStore(directory);
  const leadership = await lead(store);
  for (let count = 0; count < commits; count++) await leadership.commit([record(`r/${1_000 + count}`)], { signal });
  await store.close();
}

/** LevelDB's log: where records are that were not compacted yet. */
async function logFile(directory: string): Promise<string> {
  const files = (await readdir(path.join(directory, "db"))).filter((file) => file.endsWith(".log")).sort();
  return path.join(directory, "db", files.at(-1) ?? "no log");
}

describe("a directory that cannot be used", () => {
  test("a file where the directory should be, and a file above it, are named", () =>
    inDirectory(async (directory) => {
      await writeFile(directory, "a file");
      const isFile = await refusal(testLevelStore(directory));
      expect([isFile.code, isFile.message]).toEqual([
        "STORE_UNUSABLE",
        expect.stringMatching(/store: (there is a file of that name|a part of that path is a file)/),
      ]);
      const below = await refusal(testLevelStore(path.join(directory, "deeper")));
      expect([below.code, below.message]).toEqual(["STORE_UNUSABLE", expect.stringContaining("a part of that path is a file")]);
      expect(await readFile(directory, "utf8")).toBe("a file");
    }));

  test("a store of a newer format is refused with both versions, and not touched", () =>
    inDirectory(async (directory) => {
      await fill(directory, 3);
      const marker = path.join(directory, "store.json");
      const newer = JSON.stringify({ what: "Holdfast coordination store", format: 2, future: true });
      await writeFile(marker, newer);
      const before = await readdir(path.join(directory, "db"));
      const refused = await refusal(testLevelStore(directory));
      expect([refused.code, refused.message]).toEqual([
        "STORE_FORMAT",
        expect.stringContaining("has format 2, this Holdfast reads up to 1"),
      ]);
      expect(await readFile(marker, "utf8")).toBe(newer);
      expect(await readdir(path.join(directory, "db"))).toEqual(before);
    }));

  test("a store that has lost its database is refused, not begun anew", () =>
    inDirectory(async (directory) => {
      await fill(directory, 3);
      await rm(path.join(directory, "db", "CURRENT"));
      expect((await refusal(testLevelStore(directory))).message).toContain("has lost its database");
      await rm(path.join(directory, "db"), { recursive: true });
      expect((await refusal(testLevelStore(directory))).message).toContain("has lost its database");
      await rm(path.join(directory, "store.json"));
      expect(await keysIn(directory)).toEqual([]);
    }));

  test("a database that was interrupted in its first moments (or is being made by another master) is no damage", () =>
    inDirectory(async (directory) => {
      await mkdir(path.join(directory, "db"), { recursive: true });
      // What LevelDB has written before its CURRENT file names it.
      for (const file of ["LOCK", "LOG", "000001.dbtmp"]) await writeFile(path.join(directory, "db", file), "");
      await writeFile(path.join(directory, "db", "MANIFEST-000001"), "begun");
      await fill(directory, 1);
      expect(await keysIn(directory)).toEqual(["r/1000"]);
    }));

  test("a store that was interrupted before its marker was written is completed", () =>
    inDirectory(async (directory) => {
      await fill(directory, 3);
      await rm(path.join(directory, "store.json"));
      expect((await keysIn(directory)).length).toBe(3);
      expect(await readFile(path.join(directory, "store.json"), "utf8")).toContain('"format":1');
    }));

  test("an unreadable marker and an unreadable manifest are damage, and say so", () =>
    inDirectory(async (directory) => {
      await fill(directory, 3);
      const marker = path.join(directory, "store.json");
      const good = await readFile(marker);
      await writeFile(marker, "{");
      expect(await refusal(testLevelStore(directory))).toMatchObject({
        code: "STORE_UNUSABLE",
        message: expect.stringContaining("is damaged"),
      });
      await writeFile(marker, good);
      const manifest = (await readdir(path.join(directory, "db"))).find((file) => file.startsWith("MANIFEST")) ?? "";
      await writeFile(path.join(directory, "db", manifest), "rubbish");
      expect(await refusal(testLevelStore(directory))).toMatchObject({
        code: "STORE_UNUSABLE",
        message: expect.stringContaining("is damaged"),
      });
    }));

  test("a flipped bit in the log, which LevelDB skips silently, is noticed", () =>
    inDirectory(async (directory) => {
      await fill(directory, 100);
      const log = await logFile(directory);
      const bytes = await readFile(log);
      bytes.writeUInt8(bytes.readUInt8(20_000) ^ 1, 20_000);
      await writeFile(log, bytes);
      expect(await refusal(testLevelStore(directory))).toMatchObject({
        code: "STORE_UNUSABLE",
        message: expect.stringContaining("is damaged: it holds"),
      });
    }));

  test("a torn end of the log, as a power failure leaves it, loses only what was not acknowledged then", () =>
    inDirectory(async (directory) => {
      await fill(directory, 20);
      const log = await logFile(directory);
      await truncate(log, (await readFile(log)).length - 400);
      expect((await keysIn(directory)).length).toBe(19);
    }));

  test("a leftover of a temporary file and a rubbish owner's note disturb nobody", () =>
    inDirectory(async (directory) => {
      await fill(directory, 1);
      await writeFile(path.join(directory, "owner.json"), "\u0000rubbish");
      await writeFile(path.join(directory, "store.json.99.tmp"), "half");
      expect(await keysIn(directory)).toEqual(["r/1000"]);
      expect(await readdir(directory)).not.toContain("owner.json");
    }));
});

/** A file system of its own that can be full or read-only; only root may mount. */
function mounted(directory: string, options: string): boolean {
  return spawnSync("mount", ["-t", "tmpfs", "-o", options, "holdfast-test", directory]).status === 0;
}

async function onTmpfs(
  sizeKiB: number,
  run: (directory: string, remount: (options: string) => void) => Promise<void>,
): Promise<void> {
  const directory = await temporaryDirectory();
  const mountPoint = path.join(directory.path, "disk");
  await mkdir(mountPoint);
  if (!mounted(mountPoint, `size=${sizeKiB}k`)) throw new Error("could not mount although a probe could");
  try {
    await run(mountPoint, (options) => {
      const { status, stderr } = spawnSync("mount", ["-o", `remount,${options}`, mountPoint]);
      if (status !== 0) throw new Error(`could not remount: ${stderr}`);
    });
  } finally {
    // Lazily: after a failed test a store may still be open there.
    spawnSync("umount", ["-l", mountPoint]);
    await directory.remove();
  }
}

async function canMount(): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  const directory = await temporaryDirectory();
  const can = mounted(directory.path, "size=16k");
  if (can) spawnSync("umount", [directory.path]);
  await directory.remove();
  return can;
}

async function writeUntilItFails(
  leadership: Leadership,
): Promise<{ readonly acknowledged: string[]; readonly failure: CodedError }> {
  const acknowledged: string[] = [];
  for (let count = 0; ; count++) {
    const key = `r/${1_000 + count}`;
    try {
      await leadership.commit([record(key, 20_000)], { signal });
      acknowledged.push(key);
    } catch (thrown) {
      return { acknowledged, failure: CodedError.from(thrown) };
    }
  }
}

const mounts = await canMount();
if (!mounts) console.log("skipped: tests of full and read-only disks need root and mount");

describe.skipIf(!mounts)("a disk (mounted by root for the test)", () => {
  test("that is read-only is named", () =>
    onTmpfs(1_024, async (disk, remount) => {
      remount("ro");
      const refused = await refusal(testLevelStore(path.join(disk, "store")));
      expect([refused.code, refused.message]).toEqual(["STORE_UNUSABLE", expect.stringContaining("its file system is read-only")]);
    }));

  test("that became read-only under a store is named", () =>
    onTmpfs(4_096, async (disk, remount) => {
      const directory = path.join(disk, "store");
      await fill(directory, 3);
      remount("ro");
      expect((await refusal(testLevelStore(directory))).message).toContain("its file system is read-only");
      remount("rw");
      expect((await keysIn(directory)).length).toBe(3);
    }));

  test("that has too little room is refused at the start, with how much it needs", () =>
    onTmpfs(2_048, async (disk) => {
      const refused = await refusal(testLevelStore(path.join(disk, "store"), 16 * 1_048_576));
      expect([refused.code, refused.message]).toEqual([
        "STORE_UNUSABLE",
        expect.stringMatching(/is full: [0-9.]+ MiB free, 16.0 MiB needed/),
      ]);
    }));

  test("that fills up ends the leadership, and with room again nothing acknowledged is missing", () =>
    onTmpfs(2_048, async (disk, remount) => {
      const directory = path.join(disk, "store");
      const store = testLevelStore(directory);
      const leadership = await lead(store);
      const { acknowledged, failure } = await writeUntilItFails(leadership);
      expect(failure).toMatchObject({ code: "DISK_FAILED", hint: expect.stringContaining("Nothing acknowledged is lost") });
      expect((await leadership.ended).code).toBe("DISK_FAILED");
      expect(leadership.active()).toBe(false);
      expect(acknowledged.length).toBeGreaterThan(10);
      remount("size=32m");
      const kept = await keysIn(directory);
      expect(acknowledged.filter((key) => !kept.includes(key))).toEqual([]);
      expect(kept.length - acknowledged.length).toBeLessThanOrEqual(1);
      await store.close();
    }));

  test("whose reserve is reached ends the leadership before LevelDB meets a full disk", () =>
    onTmpfs(8_192, async (disk, remount) => {
      const directory = path.join(disk, "store");
      const store = testLevelStore(directory, 2 * 1_048_576);
      const leadership = await lead(store);
      await leadership.commit([record("kept")], { signal });
      await writeFile(path.join(disk, "somebody-elses"), Buffer.alloc(5 * 1_048_576 + 500_000));
      const { acknowledged, failure } = await writeUntilItFails(leadership);
      expect([failure.code, failure.message]).toEqual([
        "DISK_FAILED",
        expect.stringMatching(/could not be written: .* is full: .* 2.0 MiB needed/),
      ]);
      await store.close();
      remount("size=64m");
      expect(await keysIn(directory)).toEqual(["kept", ...acknowledged]);
    }));
});
