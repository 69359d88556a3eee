/** Stores for the conformance suite and for the tests of the tests. */

import type { OpenedStore } from "../../../src/conformance/coordination-store.js";
import { createFaultyStore } from "../../../src/coordination/faulty-store.js";
import { createMemoryStore, type MemoryStore } from "../../../src/coordination/memory-store.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import { createManualClock } from "../../support/manual-clock.js";

export async function openMemory(): Promise<OpenedStore> {
  return openedMemory((memory) => memory);
}

/** `wrap` may break the store on purpose. */
export function openedMemory(wrap: (memory: MemoryStore) => CoordinationStore): OpenedStore {
  let memory = createMemoryStore();
  return {
    store: wrap(memory),
    reopen: async () => {
      await memory.close();
      memory = createMemoryStore({ initialRecords: memory.records(), initialRevision: memory.revision() });
      return wrap(memory);
    },
    cleanUp: () => memory.close(),
  };
}

export async function openFaultyMemory(): Promise<OpenedStore> {
  return openedFaulty(createMemoryStore(), async () => {});
}

export function openedFaulty(inner: CoordinationStore, cleanUp: () => Promise<void>): OpenedStore {
  const clock = createManualClock();
  const store = createFaultyStore(inner, { clock });
  const signal = new AbortController().signal;
  return {
    store,
    faults: {
      failNextCommit: (outcome) => store.failNextCommit(outcome),
      disconnect: (mode) => store.disconnect(mode),
      reconnect: () => store.reconnect(),
      advance: (durationMs) => clock.advance(durationMs),
      loseWatches: () => store.loseWatches(500),
      async look(key) {
        const session = await inner.openSession({ ttlMs: 1_000, signal, candidate: "looker" });
        const record = await session.get(key, { signal });
        await session.close();
        return record?.value;
      },
    },
    async cleanUp() {
      await store.close();
      await inner.close();
      await cleanUp();
    },
  };
}
