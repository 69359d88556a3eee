/** Job bundles as objects of S3: `PREFIX/bundles/FOLDER/SHA-256`, and those of earlier releases under the prefix itself. */
import { CodedError } from "../../base/errors.js";
import type { BlobStore } from "../../env/blob-store.js";
import type { BundleStore } from "../../env/bundle-store.js";
import { blobsUnder, bundleFolderOf, keyOf, MAX_S3_BLOB_BYTES, prefixOf, type S3StoreOptions } from "./s3-blob-store.js";
import { openS3 } from "./s3-client.js";
import { parseS3Url } from "./s3-url.js";

const SHA256 = /^[0-9a-f]{64}$/;

/** Rejects with INVALID_ARGUMENT, and with DISK_FAILED when the bucket can't be reached: better at the start than at the first job. */
export async function createS3Bundles(url: string, options: S3StoreOptions = {}): Promise<BundleStore & { close(): void }> {
  const place = parseS3Url(url);
  const closing = new AbortController();
  const signal = options.signal === undefined ? closing.signal : AbortSignal.any([options.signal, closing.signal]);
  const objects = await openS3(place, signal, options.retryForMs);
  await objects.sizeOf(keyOf(place, "", "0".repeat(64))).catch((thrown: unknown) => {
    objects.close();
    throw thrown;
  });
  const blobsOf = (folder: string | null): BlobStore =>
    blobsUnder(place, objects, bundleFolderOf(folder), options.maxBlobBytes ?? MAX_S3_BLOB_BYTES);
  const namesBelow = async (prefix: string): Promise<string[]> => {
    const names: string[] = [];
    for await (const key of objects.list(prefix)) names.push(key.slice(prefix.length));
    return names;
  };
  return {
    put: (folder, bytes) => blobsOf(folder).put(bytes),
    has: ({ folder, sha256 }) => blobsOf(folder).has(sha256),
    get: ({ folder, sha256 }) => blobsOf(folder).get(sha256),
    folders: async () => {
      const names = await namesBelow(prefixOf(place, "bundles/"));
      return [...new Set(names.flatMap((name) => (name.includes("/") ? [name.slice(0, name.indexOf("/"))] : [])))];
    },
    list: async (folder) => (await namesBelow(prefixOf(place, bundleFolderOf(folder)))).filter((name) => SHA256.test(name)),
    // An object is there whole or not at all.
    removeUnfinished: async () => {},
    remove: ({ folder, sha256 }) => objects.remove(keyOf(place, bundleFolderOf(folder), sha256)),
    close: () => {
      closing.abort(new CodedError("CLOSED", "the bundle store is closed"));
      objects.close();
    },
  };
}
