import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { advertise, MAX_ADVERTISED } from "../../src/node/files/advertise-file.js";

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-advertise-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const lines = async (file: string) => (await readFile(file, "utf8")).split("\n").filter((line) => line !== "");

describe("the advertise file", () => {
  test("holds the line of every living master and loses it when the master closes", async () => {
    const file = path.join(directory, "sub", "masters");
    const first = await advertise({ file, address: "127.0.0.1:7001", masterId: "master-a" });
    const second = await advertise({ file, address: "127.0.0.1:7002", masterId: "master-b" });
    expect(await lines(file)).toEqual(["127.0.0.1:7001 # master-a", "127.0.0.1:7002 # master-b"]);
    await first.close();
    expect(await lines(file)).toEqual(["127.0.0.1:7002 # master-b"]);
    await second.close();
    expect(await lines(file)).toEqual([]);
    expect(await readdir(path.dirname(file))).toEqual(["masters"]);
  });

  test("replaces the line of a killed master whose port is used again, and stays bounded", async () => {
    const file = path.join(directory, "masters");
    for (let index = 0; index < MAX_ADVERTISED + 5; index += 1)
      await advertise({ file, address: `127.0.0.1:${8000 + index}`, masterId: `m${index}` });
    expect(await lines(file)).toHaveLength(MAX_ADVERTISED);
    const again = await advertise({ file, address: "127.0.0.1:8015", masterId: "new" });
    expect((await lines(file)).filter((line) => line.startsWith("127.0.0.1:8015 "))).toEqual(["127.0.0.1:8015 # new"]);
    await again.close();
  });

  test("an unwritable place is a clear error", async () => {
    const notADirectory = path.join(directory, "file");
    await writeFile(notADirectory, "");
    await expect(advertise({ file: path.join(notADirectory, "masters"), address: "a:1", masterId: "m" })).rejects.toMatchObject({
      code: "DISK_FAILED",
    });
  });
});
