import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createFileBlobStore } from "../../../src/node/files/blob-store.js";
import { openStateStore } from "../../../src/node/files/state-store.js";

let directory = "";
let bundle = "";
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

beforeEach(async () => {
  directory = mkdtempSync(path.join(os.tmpdir(), "holdfast-state-"));
  bundle = await (await createFileBlobStore(directory)).put(bytesOf("the bundle"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const open = (applicationId = "app-1-1") => openStateStore({ storage: directory, applicationId, bundle });

test("what is put comes back, under the name of its bytes, and each application has a folder of its own", async () => {
  const store = await open();
  const handle = await store.put(bytesOf("state"));
  expect(handle).toEqual({ sha256: createHash("sha256").update("state").digest("hex"), sizeBytes: 5 });
  expect(textOf(await store.get(handle))).toBe("state");
  expect(readdirSync(path.join(directory, "state", "app-1-1"))).toEqual([handle.sha256]);
  await expect((await open("app-1-2")).get(handle)).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE" });
});

test("what is missing, damaged or of another length is unreadable, by name", async () => {
  const store = await open();
  const handle = await store.put(bytesOf("state"));
  const file = path.join(directory, "state", "app-1-1", handle.sha256);
  await expect(store.get({ ...handle, sizeBytes: 6 })).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE" });
  writeFileSync(file, "stale");
  await expect(store.get(handle)).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE", message: /damaged/ });
  rmSync(file);
  await expect(store.get(handle)).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE", message: /not there/ });
});

test("blobs are removed by name, and everything of an application at its end, without touching bundles or others", async () => {
  const [store, other] = [await open(), await open("app-1-2")];
  const [one, two] = [await store.put(bytesOf("one")), await store.put(bytesOf("two"))];
  const kept = await other.put(bytesOf("kept"));
  await store.remove(one);
  await store.remove(one);
  expect(textOf(await store.get(two))).toBe("two");
  await store.removeAll();
  await store.removeAll();
  expect(textOf(await other.get(kept))).toBe("kept");
  expect(readFileSync(path.join(directory, bundle), "utf8")).toBe("the bundle");
  await other.removeAll();
  expect(existsSync(path.join(directory, "state"))).toBe(false);
});

test("a folder that is not the masters' is refused, and never made", async () => {
  const missing = path.join(directory, "not-mounted");
  const elsewhere = { storage: missing, applicationId: "app-1-1", bundle };
  await expect(openStateStore(elsewhere)).rejects.toMatchObject({
    code: "CHECKPOINT_STORAGE",
    message: expect.stringContaining(missing),
  });
  expect(existsSync(missing)).toBe(false);
  mkdirSync(missing);
  await expect(openStateStore(elsewhere)).rejects.toMatchObject({ code: "CHECKPOINT_STORAGE", message: /bundle/ });
  expect(readdirSync(missing)).toEqual([]);
});
