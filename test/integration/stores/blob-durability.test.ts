/** In which order the file store syncs and renames: what a power cut may take is decided there. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";

const events = vi.hoisted((): string[] => []);
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  return {
    ...real,
    open: async (...words: Parameters<typeof real.open>) => {
      const handle = await real.open(...words);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => {
        await sync();
        events.push(`sync ${words[0]}`);
      };
      return handle;
    },
    rename: async (from: string, to: string) => {
      await real.rename(from, to);
      events.push(`rename ${to}`);
    },
  };
});
// Files share a process: the module may be there already, without these calls.
vi.resetModules();
const { createFileBlobStore } = await import("../../../src/node/files/blob-store.js");

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "holdfast-durable-"));
});
afterAll(async () => {
  vi.resetModules();
  await rm(folder, { recursive: true });
});
beforeEach(() => void events.splice(0));

/** Temporary files have names of chance. */
const seen = () => events.map((event) => event.replaceAll(folder, "").replace(/\.part-.*/, "(temporary)"));

test("a blob's file is synced before it has its name, its folder after, and new folders before either", async () => {
  const store = await createFileBlobStore(path.join(folder, "state", "app-1-1"));
  expect(seen()).toEqual(["sync /state", "sync "]);
  events.splice(0);
  const sha256 = await store.put(Uint8Array.of(1, 2, 3));
  expect(seen()).toEqual(["sync /state/app-1-1/(temporary)", `rename /state/app-1-1/${sha256}`, "sync /state/app-1-1"]);
});

test("a blob that was there already is not taken for durable before its folder is synced", async () => {
  const store = await createFileBlobStore(path.join(folder, "again"));
  await store.put(Uint8Array.of(4));
  events.splice(0);
  await store.put(Uint8Array.of(4));
  expect(seen()).toEqual(["sync /again"]);
});
