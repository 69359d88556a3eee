/**
 * Job bundles as files: `STORAGE/bundles/FOLDER/SHA-256`, and those of earlier releases in the storage itself.
 *
 * Invariant: a folder goes with its last bundle, and is made again by the next one. No folder goes while something is put by this process; a put that meets the
 * removal of another process begins again.
 */
import { readdir, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../../base/errors.js";
import type { BlobStore } from "../../env/blob-store.js";
import type { BundleStore, StoredBundle } from "../../env/bundle-store.js";
import { createFileBlobStore, listBlobs, readBlob, removeBlob, removeUnfinished } from "./blob-store.js";

const BUNDLES = "bundles";
/** Of a put whose folder is removed meanwhile by another process. */
const MAX_PUTS = 16;

export function bundleDirectory(storage: string, folder: string | null): string {
  return folder === null ? storage : path.join(storage, BUNDLES, folder);
}

/** Makes the storage when it is missing. Rejects with DISK_FAILED. */
export async function createFileBundles(storage: string): Promise<BundleStore> {
  await createFileBlobStore(storage);
  const opened = new Map<string, Promise<BlobStore>>();
  const blobsOf = (folder: string): Promise<BlobStore> => {
    const known = opened.get(folder);
    if (known !== undefined) return known;
    const opening = createFileBlobStore(bundleDirectory(storage, folder));
    opened.set(folder, opening);
    opening.catch(() => opened.delete(folder));
    return opening;
  };
  let puts = 0;
  const removeEmpty = async (folder: string): Promise<void> => {
    opened.delete(folder);
    if (puts > 0) return;
    const directory = bundleDirectory(storage, folder);
    await rmdir(directory).catch(() => undefined);
    if (puts === 0) await rmdir(path.dirname(directory)).catch(() => undefined);
  };
  const put = async (folder: string, bytes: Uint8Array): Promise<string> => {
    puts += 1;
    try {
      return await putAgain(folder, bytes);
    } finally {
      puts -= 1;
      // What was removed meanwhile has left its folder.
      if (puts === 0) await removeEmpty(folder);
    }
  };
  const putAgain = async (folder: string, bytes: Uint8Array): Promise<string> => {
    for (let tries = 1; ; tries += 1) {
      try {
        return await (await blobsOf(folder)).put(bytes);
      } catch (thrown) {
        opened.delete(folder);
        const { cause } = CodedError.from(thrown);
        const { code } = (cause ?? {}) as NodeJS.ErrnoException;
        // Folders are made one below the other: one that goes meanwhile is missing, or there when it should not be.
        if (tries >= MAX_PUTS || (code !== "ENOENT" && code !== "EEXIST")) throw thrown;
      }
    }
  };
  return {
    put,
    has: (bundle) => isThere(storage, bundle),
    // Reading makes no folder: another master may just be removing it.
    get: ({ folder, sha256 }) => readBlob(bundleDirectory(storage, folder), sha256),
    folders: () => foldersOf(storage),
    list: async (folder) => {
      const directory = bundleDirectory(storage, folder);
      return listBlobs(directory).then(
        (blobs) => blobs.map(({ sha256 }) => sha256),
        (thrown: CodedError) => {
          if ((thrown.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT") return [];
          throw thrown;
        },
      );
    },
    removeUnfinished: async (folder) => {
      await removeUnfinished(bundleDirectory(storage, folder));
      await removeEmpty(folder);
    },
    remove: async ({ folder, sha256 }) => {
      const directory = bundleDirectory(storage, folder);
      await removeBlob(directory, sha256);
      if (folder !== null) await removeEmpty(folder);
    },
  };
}

export async function foldersOf(storage: string): Promise<readonly string[]> {
  try {
    return await readdir(path.join(storage, BUNDLES));
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw CodedError.from(thrown, "DISK_FAILED");
  }
}

export async function isThere(storage: string, { folder, sha256 }: StoredBundle): Promise<boolean> {
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw new CodedError("INVALID_ARGUMENT", `${JSON.stringify(sha256.slice(0, 80))} is not a sha-256`);
  return stat(path.join(bundleDirectory(storage, folder), sha256)).then(
    (status) => status.isFile(),
    () => false,
  );
}
