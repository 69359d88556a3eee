/**
 * The executable definition of `BlobStore` and `StateStore` (src/env/blob-store.ts): every kind of storage passes this suite.
 *
 * Each check gets stores with nothing in them. `damage` and `count` look past the store at what really lies there.
 */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { BlobStore, StateStore } from "../env/blob-store.js";

export interface OpenedBlobs {
  readonly blobs: BlobStore;
  /** The same place opened again, as another process would. */
  readonly again: () => Promise<BlobStore>;
  /** Of an application, with that bundle. */
  readonly state: (applicationId: string, bundle: string) => Promise<StateStore>;
  /** Changes a byte of a blob behind the store's back; of state with the application's id. */
  readonly damage: (sha256: string, applicationId?: string) => Promise<void>;
  /** Everything that lies there. */
  readonly count: () => Promise<number>;
  readonly cleanUp: () => Promise<void>;
}

export interface BlobSuite {
  readonly name: string;
  readonly open: () => Promise<OpenedBlobs>;
  /** Of its `put`. */
  readonly maxBlobBytes: number;
}

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const bytesOf = (size: number, seed: number): Uint8Array => Uint8Array.from({ length: size }, (_, i) => (i * 31 + seed) % 251);
const coded = (code: string) => expect.objectContaining({ code });

export function blobStoreSuite(suite: BlobSuite): void {
  const check = (sentence: string, run: (opened: OpenedBlobs) => Promise<void>): void =>
    test(sentence, async () => {
      const opened = await suite.open();
      try {
        await run(opened);
      } finally {
        await opened.cleanUp();
      }
    });

  describe(`the blob store of ${suite.name}`, () => {
    check("gives the bytes back that were put, under their sha-256, also to another process", async ({ blobs, again }) => {
      for (const bytes of [new Uint8Array(), bytesOf(1, 7), bytesOf(100_000, 3), bytesOf(5_000_000, 1)]) {
        const sha256 = await blobs.put(bytes);
        expect(sha256).toBe(hash(bytes));
        expect(await blobs.has(sha256)).toBe(true);
        expect(Buffer.compare(Buffer.from(await (await again()).get(sha256)), Buffer.from(bytes))).toBe(0);
      }
    });

    check("the same bytes may be put again, also by many at once, and lie there once", async ({ blobs, again, count }) => {
      const other = await again();
      const puts = Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? blobs : other).put(bytesOf(10_000, 9)));
      expect(new Set(await Promise.all(puts)).size).toBe(1);
      expect(await count()).toBe(1);
    });

    check("what is not there is NOT_FOUND, and a name that is no sha-256 is refused before it goes anywhere", async ({ blobs }) => {
      const missing = hash(bytesOf(3, 3));
      expect(await blobs.has(missing)).toBe(false);
      await expect(blobs.get(missing)).rejects.toEqual(coded("NOT_FOUND"));
      for (const name of ["", "../../etc/passwd", "A".repeat(64), `${missing}/x`])
        await expect(Promise.resolve().then(() => blobs.get(name))).rejects.toEqual(coded("INVALID_ARGUMENT"));
    });

    check("damaged bytes are never given out", async ({ blobs, damage }) => {
      const sha256 = await blobs.put(bytesOf(1_000, 5));
      await damage(sha256);
      await expect(blobs.get(sha256)).rejects.toEqual(coded("ARTIFACT_CORRUPT"));
    });

    check("a blob above the limit is refused, and nothing of it lies there", async ({ blobs, count }) => {
      await expect(blobs.put(new Uint8Array(suite.maxBlobBytes + 1))).rejects.toEqual(coded("LIMIT_EXCEEDED"));
      expect(await count()).toBe(0);
    });
  });

  describe(`the state of applications in ${suite.name}`, () => {
    check("is kept apart by application, removed by name, and all at once", async ({ blobs, state, count }) => {
      const bundle = await blobs.put(bytesOf(10, 1));
      const [one, other] = [await state("app-1-1", bundle), await state("app-1-2", bundle)];
      const handles = [];
      for (let i = 0; i < 12; i++) handles.push(await one.put(bytesOf(100, i)));
      const kept = await other.put(bytesOf(100, 0));
      const [first = kept, second = kept] = handles;
      await one.remove(first);
      await one.remove(first);
      await expect(one.get(first)).rejects.toEqual(coded("CHECKPOINT_UNREADABLE"));
      expect((await one.get(second)).length).toBe(100);
      expect(await count()).toBe(1 + 11 + 1);
      await one.removeAll();
      await one.removeAll();
      expect(await count()).toBe(2);
      expect(Buffer.from(await other.get(kept))).toEqual(Buffer.from(bytesOf(100, 0)));
    });

    check("damaged, cut or missing state is CHECKPOINT_UNREADABLE", async ({ blobs, state, damage }) => {
      const store = await state("app-1-1", await blobs.put(bytesOf(10, 1)));
      const handle = await store.put(bytesOf(1_000, 2));
      await expect(store.get({ ...handle, sizeBytes: 999 })).rejects.toEqual(coded("CHECKPOINT_UNREADABLE"));
      await damage(handle.sha256, "app-1-1");
      await expect(store.get(handle)).rejects.toEqual(coded("CHECKPOINT_UNREADABLE"));
    });

    check("a storage without the job's bundle is not the masters': CHECKPOINT_STORAGE", async ({ state }) => {
      await expect(state("app-1-1", hash(bytesOf(4, 4)))).rejects.toEqual(coded("CHECKPOINT_STORAGE"));
    });
  });
}
