/**
 * Blobs as objects of S3, named by their sha-256: the masters' bundles under `bundles/FOLDER/` (s3-bundle-store.ts), state of an application under
 * `state/APPLICATION/`.
 *
 * Invariants:
 *   1. An object is there whole or not at all (S3's own promise for one PUT), and `put` resolves when the server has it durably.
 *   2. Bytes are checked against their name whenever they are read; what was put before and has another size is put again.
 *   3. No name comes from outside: it is a checked sha-256 or id.
 */
import { createHash } from "node:crypto";
import os from "node:os";
import { CodedError } from "../../base/errors.js";
import type { BlobHandle, BlobStore, StateStore } from "../../env/blob-store.js";
import { readStateFrom } from "../state-reading.js";
import { openS3, type S3Objects } from "./s3-client.js";
import { formatS3Url, parseS3Url, type S3Place } from "./s3-url.js";

/** One PUT; larger blobs would need uploads in parts, and nothing here is larger. */
export const MAX_S3_BLOB_BYTES = 256 * 1024 * 1024;
/** Objects that are removed at once. */
const REMOVALS = 8;

export interface S3StoreOptions {
  /** Ends what is under way when the store is no longer used. */
  readonly signal?: AbortSignal;
  readonly maxBlobBytes?: number;
  /** How long a server that is away is asked again; default DEFAULT_RETRY_FOR_MS. */
  readonly retryForMs?: number;
}

export interface ClosableBlobStore extends BlobStore {
  close(): void;
}

/** Rejects with INVALID_ARGUMENT, and with DISK_FAILED when the bucket can't be reached: better at the start than at the first job. */
export async function createS3BlobStore(url: string, options: S3StoreOptions = {}): Promise<ClosableBlobStore> {
  const place = parseS3Url(url);
  const closing = new AbortController();
  const signal = options.signal === undefined ? closing.signal : AbortSignal.any([options.signal, closing.signal]);
  const objects = await openS3(place, signal, options.retryForMs);
  const blobs = blobsUnder(place, objects, "", options.maxBlobBytes ?? MAX_S3_BLOB_BYTES);
  await objects.sizeOf(keyOf(place, "", "0".repeat(64))).catch((thrown: unknown) => {
    objects.close();
    throw thrown;
  });
  return {
    ...blobs,
    close: () => {
      closing.abort(new CodedError("CLOSED", "the blob store is closed"));
      objects.close();
    },
  };
}

export interface S3StateOptions {
  readonly storage: string;
  readonly applicationId: string;
  /** sha-256 of the job's bundle. */
  readonly bundle: string;
  /** Of the bundle; absent: it is looked for. */
  readonly bundleFolder?: string;
}

/** As `openStateStore` of files. Rejects with CHECKPOINT_STORAGE. */
export async function openS3StateStore({ storage, applicationId, bundle, bundleFolder }: S3StateOptions): Promise<StateStore> {
  const unreachable = (why: string, cause?: unknown): CodedError =>
    new CodedError("CHECKPOINT_STORAGE", `The checkpoint storage ${storage} can't be used from ${os.hostname()}: ${why}.`, {
      hint: "Every machine of the cluster needs the package @aws-sdk/client-s3 and credentials for this bucket (~/.aws/credentials of the worker's user, or a role); or submit with --checkpoint-interval none.",
      details: { storage, host: os.hostname() },
      cause,
    });
  const place = parseS3Url(storage);
  const folder = stateFolder(applicationId);
  let objects: S3Objects | null = null;
  try {
    // It lives as long as this process, which has one application.
    objects = await openS3(place, new AbortController().signal);
    if (!(await hasBundle(place, objects, bundle, bundleFolder)))
      throw unreachable("the job's bundle, which a master put there, is not in it");
  } catch (thrown) {
    objects?.close();
    const error = CodedError.from(thrown);
    throw error.code === "CHECKPOINT_STORAGE" ? error : unreachable(error.message, thrown);
  }
  const blobs = blobsUnder(place, objects, folder, MAX_S3_BLOB_BYTES);
  return {
    put: async (bytes) => ({ sha256: await blobs.put(bytes), sizeBytes: bytes.length }),
    get: (handle) => readStateFrom(storage, handle, (sha256) => blobs.get(sha256)),
    list: () => listBlobs(objects, prefixOf(place, folder)),
    remove: ({ sha256 }) => objects.remove(keyOf(place, folder, sha256)),
    removeAll: () => removeAll(objects, prefixOf(place, folder)),
  };
}

async function listBlobs(objects: S3Objects, prefix: string): Promise<readonly BlobHandle[]> {
  const found: BlobHandle[] = [];
  for await (const key of objects.list(prefix)) {
    const sha256 = key.slice(prefix.length);
    const sizeBytes = /^[0-9a-f]{64}$/.test(sha256) ? await objects.sizeOf(key) : undefined;
    if (sizeBytes !== undefined) found.push({ sha256, sizeBytes });
  }
  return found;
}

/** Everything that the application keeps there; harmless when it is gone. Rejects with DISK_FAILED. */
export async function removeS3State(storage: string, applicationId: string): Promise<void> {
  const place = parseS3Url(storage);
  const objects = await openS3(place, new AbortController().signal);
  try {
    await removeAll(objects, prefixOf(place, stateFolder(applicationId)));
  } finally {
    objects.close();
  }
}

function stateFolder(applicationId: string): string {
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(applicationId))
    throw new CodedError("INVALID_ARGUMENT", `${applicationId} is no id of an application`);
  return `state/${applicationId}/`;
}

export const bundleFolderOf = (folder: string | null): string => (folder === null ? "" : `bundles/${folder}/`);

async function hasBundle(place: S3Place, objects: S3Objects, sha256: string, folder: string | undefined): Promise<boolean> {
  const key = keyOf(place, bundleFolderOf(folder ?? null), sha256);
  if ((await objects.sizeOf(key)) !== undefined) return true;
  if (folder !== undefined) return false;
  for await (const other of objects.list(prefixOf(place, "bundles/"))) if (other.endsWith(`/${sha256}`)) return true;
  return false;
}

async function removeAll(objects: S3Objects, prefix: string): Promise<void> {
  let removals: Promise<void>[] = [];
  for await (const key of objects.list(prefix)) {
    removals.push(objects.remove(key));
    if (removals.length < REMOVALS) continue;
    await Promise.all(removals);
    removals = [];
  }
  await Promise.all(removals);
}

export function blobsUnder(place: S3Place, objects: S3Objects, folder: string, maxBlobBytes: number): BlobStore {
  return {
    put: async (bytes) => {
      if (bytes.length > maxBlobBytes)
        throw new CodedError("LIMIT_EXCEEDED", `a blob of ${bytes.length} bytes is larger than the limit of ${maxBlobBytes}`);
      const sha256 = hash(bytes);
      const key = keyOf(place, folder, sha256);
      if ((await objects.sizeOf(key)) !== bytes.length) await objects.put(key, bytes);
      return sha256;
    },
    has: async (sha256) => (await objects.sizeOf(keyOf(place, folder, sha256))) !== undefined,
    get: async (sha256) => {
      const bytes = await objects.get(keyOf(place, folder, sha256));
      const where = formatS3Url(place);
      if (bytes === undefined) throw new CodedError("NOT_FOUND", `there is no blob ${sha256} in ${where}`);
      if (hash(bytes) === sha256) return bytes;
      throw new CodedError("ARTIFACT_CORRUPT", `the blob ${sha256} in ${where} has other bytes than its name says`, {
        hint: "Remove the object, and put the blob again.",
      });
    },
  };
}

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export const prefixOf = ({ prefix }: S3Place, folder: string): string => `${prefix === "" ? "" : `${prefix}/`}${folder}`;

export function keyOf(place: S3Place, folder: string, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw new CodedError("INVALID_ARGUMENT", `${JSON.stringify(sha256.slice(0, 80))} is not a sha-256`);
  return `${prefixOf(place, folder)}${sha256}`;
}
