/** Both kinds of storage through the conformance suite: files, and a real S3 server; and what only S3 can do wrong. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blobStoreSuite } from "../../../src/conformance/blob-store.js";
import { createFileBlobStore } from "../../../src/node/files/blob-store.js";
import { createS3BlobStore } from "../../../src/node/s3/s3-blob-store.js";
import { createBundleStore, openStateStore, removeState } from "../../../src/node/storage.js";
import { type S3Server, startS3 } from "../../support/s3.js";

const LIMIT = 6_000_000;

async function flipByte(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[0] = (bytes[0] ?? 0) ^ 1;
  await writeFile(file, bytes);
}

blobStoreSuite({
  name: "files",
  maxBlobBytes: LIMIT,
  open: async () => {
    const directory = await mkdtemp(path.join(os.tmpdir(), "holdfast-blobs-"));
    const again = () => createFileBlobStore(directory, { maxBlobBytes: LIMIT });
    return {
      blobs: await again(),
      again,
      state: (applicationId, bundle) => openStateStore({ storage: directory, applicationId, bundle }),
      damage: (sha256, applicationId) =>
        flipByte(path.join(directory, ...(applicationId === undefined ? [] : ["state", applicationId]), sha256)),
      count: async () =>
        (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).length,
      cleanUp: () => rm(directory, { recursive: true }),
    };
  },
});

let server: S3Server;
const before = { HOME: process.env.HOME };
beforeAll(async () => {
  server = await startS3();
  process.env.HOME = server.home();
}, 120_000);
afterAll(async () => {
  process.env.HOME = before.HOME;
  await server?.close();
});

let folders = 0;
blobStoreSuite({
  name: "S3",
  maxBlobBytes: LIMIT,
  open: async () => {
    const prefix = `suite-${folders++}`;
    const storage = server.url(prefix);
    const opened: { close(): void }[] = [];
    const again = async () => {
      const store = await createS3BlobStore(storage, { maxBlobBytes: LIMIT });
      opened.push(store);
      return store;
    };
    return {
      blobs: await again(),
      again,
      state: (applicationId, bundle) => openStateStore({ storage, applicationId, bundle }),
      damage: (sha256, applicationId) =>
        flipByte(server.fileOf(`${prefix}/${applicationId === undefined ? "" : `state/${applicationId}/`}${sha256}`)),
      count: async () => (await server.files()).filter((name) => name.startsWith(`${prefix}/`)).length,
      cleanUp: async () => {
        for (const store of opened) store.close();
      },
    };
  },
});

describe.each([
  ["files", async () => `${await mkdtemp(path.join(os.tmpdir(), "holdfast-bundles-"))}`],
  ["S3", async () => server.url(`bundles-${folders++}`)],
])("bundles in %s", (_kind, newStorage) => {
  test("lie in folders, are found in each, and go one by one, an empty folder with its last one", async () => {
    const storage = await newStorage();
    const store = await createBundleStore(storage);
    const bytes = Uint8Array.of(1, 2, 3);
    const sha256 = await store.put("c.1", bytes);
    const other = await store.put("c.1", Uint8Array.of(4));
    await store.put("c.2", bytes);
    expect((await store.folders()).toSorted()).toEqual(["c.1", "c.2"]);
    expect((await store.list("c.1")).toSorted()).toEqual([sha256, other].toSorted());
    expect(await store.list("c.3")).toEqual([]);
    expect(await Promise.all(["c.1", "c.2", "c.3", null].map((folder) => store.has({ folder, sha256 })))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    await expect(store.get({ folder: "c.3", sha256 })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await store.remove({ folder: "c.1", sha256 });
    await store.remove({ folder: "c.1", sha256 });
    expect(await store.has({ folder: "c.1", sha256 })).toBe(false);
    expect(new Uint8Array(await store.get({ folder: "c.2", sha256 }))).toEqual(bytes);
    await store.remove({ folder: "c.1", sha256: other });
    expect(await store.folders()).toEqual(["c.2"]);
    expect(await store.put("c.1", bytes)).toBe(sha256);
    store.close?.();
    if (!storage.startsWith("s3:")) await rm(storage, { recursive: true });
  });

  test("may be put, read and removed by many at once: a put ends with the bundle there, or lost to a later removal, and never fails", async () => {
    const storage = await newStorage();
    const stores = await Promise.all([createBundleStore(storage), createBundleStore(storage)]);
    const bytes = Uint8Array.of(7);
    for (let round = 0; round < 15; round++) {
      const sha256s = await Promise.all(stores.map((store) => store.put("c.1", bytes)));
      const bundle = { folder: "c.1", sha256: sha256s[0] ?? "" };
      const outcomes = await Promise.allSettled(
        stores.flatMap((store) => [
          store.remove(bundle),
          store.put("c.1", bytes),
          store.list("c.1"),
          store.folders(),
          store.has(bundle),
        ]),
      );
      expect(outcomes.filter(({ status }) => status === "rejected")).toEqual([]);
      const read = await stores[0]?.get(bundle).catch((thrown: unknown) => (thrown as { readonly code: string }).code);
      if (read !== "NOT_FOUND") expect(new Uint8Array(read as Uint8Array)).toEqual(bytes);
    }
    for (const store of stores) store.close?.();
    if (!storage.startsWith("s3:")) await rm(storage, { recursive: true });
  });

  test("prove to a driver or an executor that it reaches the masters' storage; a master removes the state without them", async () => {
    const storage = await newStorage();
    const store = await createBundleStore(storage);
    const bundle = await store.put("c.1", Uint8Array.of(1));
    const open = (more: { readonly bundleFolder?: string }) =>
      openStateStore({ storage, applicationId: "app-1-1", bundle, ...more });
    await (await open({ bundleFolder: "c.1" })).put(Uint8Array.of(5));
    expect(await (await open({})).list()).toHaveLength(1);
    await expect(open({ bundleFolder: "c.2" })).rejects.toMatchObject({ code: "CHECKPOINT_STORAGE" });
    await store.remove({ folder: "c.1", sha256: bundle });
    await expect(open({})).rejects.toMatchObject({ code: "CHECKPOINT_STORAGE" });
    await removeState(storage, "app-1-1");
    await store.put("c.1", Uint8Array.of(1));
    expect(await (await open({})).list()).toEqual([]);
    store.close?.();
    if (!storage.startsWith("s3:")) await rm(storage, { recursive: true });
  });
});

describe("S3", () => {
  test("a wrong secret key is told by that, at the start, and the key is not repeated", async () => {
    // The SDK remembers what it has read of a home directory; the environment counts before that.
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: "S3RVER", AWS_SECRET_ACCESS_KEY: "a-wrong-secret" });
    try {
      const store = createS3BlobStore(server.url("p")).then((opened) => opened.put(Uint8Array.of(1)));
      const failure = await store.catch((thrown: unknown) => thrown);
      expect(failure).toMatchObject({ code: "DISK_FAILED", hint: expect.stringContaining(".aws/credentials") });
      expect(String((failure as Error).message)).not.toContain("a-wrong-secret");
    } finally {
      delete process.env.AWS_ACCESS_KEY_ID;
      delete process.env.AWS_SECRET_ACCESS_KEY;
    }
  });

  test("a bucket that is not there is told by its name", async () => {
    const url = server.url("p").replace("holdfast-tests", "another-bucket");
    const opened = await createS3BlobStore(url)
      .then(
        (store) => store.put(Uint8Array.of(1)),
        (thrown: unknown) => Promise.reject(thrown),
      )
      .catch((thrown: unknown) => thrown);
    expect(opened).toMatchObject({ code: "DISK_FAILED", message: expect.stringContaining("another-bucket") });
  });

  test("a server that is away for a moment is tried again, and one that stays away is told", async () => {
    const store = await createS3BlobStore(server.url("away"));
    const impatient = await createS3BlobStore(server.url("away"), { retryForMs: 1 });
    const sha256 = await store.put(Uint8Array.of(1, 2, 3));
    await server.kill();
    const [read] = await Promise.all([store.get(sha256), server.start()]);
    expect(read).toEqual(Uint8Array.of(1, 2, 3));
    await server.kill();
    await expect(impatient.get(sha256)).rejects.toMatchObject({ code: "DISK_FAILED" });
    await server.start();
    store.close();
    impatient.close();
  });

  test("closing the store ends what waits for a server that hangs", async () => {
    const closing = new AbortController();
    const store = await createS3BlobStore(server.url("hanging"), { signal: closing.signal });
    server.freeze();
    const waiting = store.has("0".repeat(64));
    closing.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    server.thaw();
    store.close();
  });

  test("a storage is opened by its name", async () => {
    const store = await createBundleStore(server.url("by-name"));
    expect(await store.get({ folder: "c.1", sha256: await store.put("c.1", Uint8Array.of(9)) })).toEqual(Uint8Array.of(9));
    store.close?.();
  });
});

test("what a leader that died had begun to put goes with its folder; another folder is not touched", async () => {
  const storage = await mkdtemp(path.join(os.tmpdir(), "holdfast-bundles-"));
  const store = await createBundleStore(storage);
  for (const folder of ["c.1", "c.2"]) await store.remove({ folder, sha256: await store.put(folder, Uint8Array.of(1)) });
  for (const folder of ["c.1", "c.2"]) {
    await mkdir(path.join(storage, "bundles", folder), { recursive: true });
    await writeFile(path.join(storage, "bundles", folder, ".part-0fdfc622437fc4eb-95275faf7648554e"), "half of it");
  }
  await store.removeUnfinished("c.1");
  await store.removeUnfinished("c.3");
  expect(await store.folders()).toEqual(["c.2"]);
  await rm(storage, { recursive: true });
});
