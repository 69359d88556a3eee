/** LevelDB stores in temporary directories, for tests. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { OpenedStore } from "../../../src/conformance/coordination-store.js";
import type { Clock } from "../../../src/env/clock.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import { createLevelStore } from "../../../src/node/level-store/level-store.js";

export const realClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  at(instant, run) {
    const timer = setTimeout(run, Math.max(0, instant - performance.now()));
    return { cancel: () => clearTimeout(timer) };
  },
};

export async function temporaryDirectory(): Promise<{ readonly path: string; readonly remove: () => Promise<void> }> {
  const directory = await mkdtemp(path.join(tmpdir(), "holdfast-level-"));
  return { path: directory, remove: () => rm(directory, { recursive: true, force: true }) };
}

export function testLevelStore(directory: string, reserveBytes = 0): CoordinationStore {
  return createLevelStore({ directory, clock: realClock, reserveBytes });
}

export async function openLevel(): Promise<OpenedStore> {
  const directory = await temporaryDirectory();
  let store = testLevelStore(directory.path);
  return {
    store,
    reopen: async () => {
      await store.close();
      store = testLevelStore(directory.path);
      return store;
    },
    async cleanUp() {
      await store.close();
      await directory.remove();
    },
  };
}
