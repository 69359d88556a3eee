/** `--recovery` and `--storage`: which coordination store and which blob store a master uses. */
import { type FileHandle, open } from "node:fs/promises";
import path from "node:path";
import { CodedError } from "../base/errors.js";
import { createMemoryStore } from "../coordination/memory-store.js";
import { isZooKeeperUrl, parseZooKeeperUrl, secretsOf, type ZooKeeperUrl } from "../coordination/zookeeper-url.js";
import type { BundleStore } from "../env/bundle-store.js";
import type { CoordinationStore } from "../env/coordination-store.js";
import type { Env } from "../env/env.js";
import { makeTemporaryDirectory } from "../node/files/temporary-directory.js";
import { createLevelStore } from "../node/level-store/level-store.js";
import { formatS3Url, isS3Url, parseS3Url } from "../node/s3/s3-url.js";
import { createBundleStore } from "../node/storage.js";
import { createZooKeeperStore } from "../node/zookeeper-store/zookeeper-store.js";

export interface Recovery {
  readonly mode: "none" | "store";
  readonly store: CoordinationStore;
  readonly bundles: BundleStore;
  /** Its directory or s3:// URL: where jobs keep their checkpoints. */
  readonly storage: string;
  close(): Promise<void>;
}

/** Where records are kept, as `--recovery` says. */
export type RecoveryPlace =
  | { readonly kind: "none" }
  | { readonly kind: "directory"; readonly directory: string }
  | { readonly kind: "zookeeper"; readonly url: ZooKeeperUrl };

export interface OpenRecovery {
  /** `--storage`. */
  readonly storage: string | undefined;
  /** Of the first connection to a store that others run; undefined: for ever. */
  readonly timeoutMs: number | undefined;
  readonly env: Env;
}

const WANTED = '"none", "file:DIRECTORY" or "zk://HOST:2181/PATH"';
const MAX_URL_FILE_BYTES = 4_096;
const OTHERS_MAY_READ = 0o044;

/** A path that is a file, not a directory, holds the URL. Rejects with INVALID_ARGUMENT, INSECURE_SECRET, DISK_FAILED. */
export async function readRecovery(recovery: string): Promise<RecoveryPlace> {
  if (recovery === "none") return { kind: "none" };
  if (isZooKeeperUrl(recovery)) return zooKeeperPlace(recovery);
  const directory = fileUrl("--recovery", recovery, WANTED);
  const text = await readUrlFile(directory);
  if (text === undefined) return { kind: "directory", directory };
  if (isZooKeeperUrl(text)) return zooKeeperPlace(text);
  throw new CodedError("INVALID_ARGUMENT", `--recovery names the file ${directory}, which does not hold a zk:// URL`, {
    hint: "Give a directory, or a file whose one line is zk://[user:password@]host1:2181,host2:2181/path.",
  });
}

function zooKeeperPlace(text: string): RecoveryPlace {
  try {
    return { kind: "zookeeper", url: parseZooKeeperUrl(text) };
  } catch (thrown) {
    const { message, hint } = CodedError.from(thrown);
    throw new CodedError("INVALID_ARGUMENT", `--recovery: ${message}`, hint === null ? {} : { hint });
  }
}

/** What a log must never show. */
export function secretsOfRecovery(place: RecoveryPlace): readonly string[] {
  return place.kind === "zookeeper" ? secretsOf(place.url) : [];
}

/** Rejects with INVALID_ARGUMENT, DISK_FAILED. */
export async function openRecovery(place: RecoveryPlace, options: OpenRecovery): Promise<Recovery> {
  switch (place.kind) {
    case "none":
      return openMemory(options);
    case "directory":
      return openDirectory(place.directory, options);
    case "zookeeper":
      return openZooKeeper(place.url, options);
  }
}

async function openMemory({ storage }: OpenRecovery): Promise<Recovery> {
  const { directory, remove } = await storageDirectory(storage);
  const store = createMemoryStore();
  const bundles = await createBundleStore(directory);
  const close = async () => {
    await store.close();
    bundles.close?.();
    await remove();
  };
  return { mode: "none", store, bundles, storage: directory, close };
}

async function openDirectory(directory: string, { storage, env }: OpenRecovery): Promise<Recovery> {
  const store = createLevelStore({ directory: path.join(directory, "records"), clock: env.clock, log: env.log });
  const blobsDirectory = storage === undefined ? path.join(directory, "blobs") : storageUrl(storage);
  const bundles = await createBundleStore(blobsDirectory);
  return { mode: "store", store, bundles, storage: blobsDirectory, close: () => closeBoth(store, bundles) };
}

/** Masters on several machines have no directory in common unless somebody names one. */
async function openZooKeeper(url: ZooKeeperUrl, { storage, timeoutMs, env }: OpenRecovery): Promise<Recovery> {
  if (storage === undefined) {
    throw new CodedError("INVALID_ARGUMENT", "with --recovery zk:// the master has to be told where job bundles are kept", {
      hint: "Give --storage s3://BUCKET/PREFIX, or --storage file:DIRECTORY: a directory that every master of the cluster reaches under this path (a network file system, or a local one if all run on this machine).",
    });
  }
  const directory = storageUrl(storage);
  const bundles = await createBundleStore(directory);
  const { clock, random, log } = env;
  const timeout = timeoutMs === undefined ? {} : { firstOpenTimeoutMs: timeoutMs };
  const store = createZooKeeperStore({ url, clock, random, log, ...timeout });
  return { mode: "store", store, bundles, storage: directory, close: () => closeBoth(store, bundles) };
}

async function closeBoth(store: CoordinationStore, bundles: { close?(): void }): Promise<void> {
  await store.close();
  bundles.close?.();
}

/** Without records nothing refers to the bundles of an earlier master, so they go with it unless a place was named. */
async function storageDirectory(
  storage: string | undefined,
): Promise<{ readonly directory: string; readonly remove: () => Promise<void> }> {
  if (storage !== undefined) return { directory: storageUrl(storage), remove: async () => {} };
  const temporary = makeTemporaryDirectory("blobs");
  return { directory: temporary.path, remove: temporary.remove };
}

/** Undefined where no file is. One with a password in it must not be readable by others. */
async function readUrlFile(file: string): Promise<string | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch {
    // Missing, or a directory that may not even be read: the store that is opened there says what is wrong.
    return undefined;
  }
  try {
    const status = await handle.stat();
    if (!status.isFile()) return undefined;
    const text = status.size > MAX_URL_FILE_BYTES ? "" : (await handle.readFile("utf8")).trim();
    if (text.includes("@") && (status.mode & OTHERS_MAY_READ) !== 0) {
      throw new CodedError("INSECURE_SECRET", `${file} holds a password and may be read by others`, {
        hint: `Run: chmod 600 ${file}. If others may have read it, change the password.`,
      });
    }
    return text;
  } finally {
    await handle.close();
  }
}

const storageUrl = (storage: string): string =>
  isS3Url(storage) ? formatS3Url(parseS3Url(storage)) : fileUrl("--storage", storage, '"file:DIRECTORY" or "s3://BUCKET/PREFIX"');

function fileUrl(option: string, text: string, wanted: string): string {
  const match = /^file:(?:\/\/)?(.+)$/.exec(text);
  if (match?.[1] === undefined) {
    // What is not understood may hold a password: only its scheme is repeated.
    const shown = text.includes("@") ? `${/^[a-z]*/i.exec(text)?.[0] ?? ""}...` : text;
    throw new CodedError("INVALID_ARGUMENT", `${option} is "${shown}", which this release does not know.`, {
      hint: `Give ${wanted}.`,
    });
  }
  return path.resolve(match[1]);
}
