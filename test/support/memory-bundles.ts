/** Job bundles in memory; a test may hold or fail its calls. */
import { CodedError } from "../../src/base/errors.js";
import type { BundleStore } from "../../src/env/bundle-store.js";
import type { Digest } from "../../src/env/env.js";

export interface MemoryBundles extends BundleStore {
  /** `folder/sha256`. */
  readonly kept: Map<string, Uint8Array>;
  /** Before each removal. */
  beforeRemoval: () => Promise<void>;
}

export function memoryBundles(digest: Digest): MemoryBundles {
  const kept = new Map<string, Uint8Array>();
  const store: MemoryBundles = {
    kept,
    beforeRemoval: async () => {},
    put: async (folder, bytes) => {
      const sha256 = digest.sha256Hex(bytes);
      kept.set(`${folder}/${sha256}`, bytes);
      return sha256;
    },
    has: async ({ folder, sha256 }) => kept.has(`${folder}/${sha256}`),
    get: async ({ folder, sha256 }) => {
      const bytes = kept.get(`${folder}/${sha256}`);
      if (bytes === undefined) throw new CodedError("NOT_FOUND", `no bundle ${sha256}`);
      return bytes;
    },
    folders: async () => [...new Set([...kept.keys()].map((key) => key.split("/")[0] ?? ""))],
    list: async (folder) => [...kept.keys()].flatMap((key) => (key.startsWith(`${folder}/`) ? [key.slice(folder.length + 1)] : [])),
    removeUnfinished: async () => {},
    remove: async ({ folder, sha256 }) => {
      await store.beforeRemoval();
      kept.delete(`${folder}/${sha256}`);
    },
  };
  return store;
}
