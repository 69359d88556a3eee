/** `--recovery` and `--storage`: which coordination store and which blob store a master uses. */
import path from "node:path";
import { CodedError } from "../base/errors.js";
import { createMemoryStore } from "../coordination/memory-store.js";
import type { BlobStore } from "../env/blob-store.js";
import type { CoordinationStore } from "../env/coordination-store.js";
import type { Env } from "../env/env.js";
import { createFileBlobStore } from "../node/blob-store.js";
import { createLevelStore } from "../node/level-store.js";
import { makeTemporaryDirectory } from "../node/temporary-directory.js";

export interface Recovery {
  readonly mode: "none" | "store";
  readonly store: CoordinationStore;
  readonly blobs: BlobStore;
  close(): Promise<void>;
}

/** Rejects with INVALID_ARGUMENT, DISK_FAILED. */
export async function openRecovery(recovery: string, storage: string | undefined, env: Env): Promise<Recovery> {
  if (recovery === "none") {
    const { directory, remove } = await storageDirectory(storage);
    const store = createMemoryStore();
    return {
      mode: "none",
      store,
      blobs: await createFileBlobStore(directory),
      close: async () => {
        await store.close();
        await remove();
      },
    };
  }
  const directory = fileUrl("--recovery", recovery, '"none" or "file:DIRECTORY"');
  const store = createLevelStore({ directory: path.join(directory, "records"), clock: env.clock, log: env.log });
  const blobs = await createFileBlobStore(
    storage === undefined ? path.join(directory, "blobs") : fileUrl("--storage", storage, '"file:DIRECTORY"'),
  );
  return { mode: "store", store, blobs, close: () => store.close() };
}

/** Without records nothing refers to the bundles of an earlier master, so they go with it unless a place was named. */
async function storageDirectory(
  storage: string | undefined,
): Promise<{ readonly directory: string; readonly remove: () => Promise<void> }> {
  if (storage !== undefined) return { directory: fileUrl("--storage", storage, '"file:DIRECTORY"'), remove: async () => {} };
  const temporary = makeTemporaryDirectory("blobs");
  return { directory: temporary.path, remove: temporary.remove };
}

function fileUrl(option: string, text: string, wanted: string): string {
  const match = /^file:(?:\/\/)?(.+)$/.exec(text);
  if (match?.[1] === undefined) {
    throw new CodedError("INVALID_ARGUMENT", `${option} is "${text}", which this release does not know.`, {
      hint: `Give ${wanted}.`,
    });
  }
  return path.resolve(match[1]);
}
