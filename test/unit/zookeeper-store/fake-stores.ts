/** Stores on a fake ensemble, for the conformance suite and the tests of this folder. */
import type { OpenedStore } from "../../../src/conformance/coordination-store.js";
import type { CoordinationSession, CoordinationStore } from "../../../src/env/coordination-store.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { createCoordinationStore } from "../../../src/zookeeper-store/store.js";
import { type FakeEnsemble, FakeTree } from "./fake-ensemble.js";

/** So few log entries are merged, so that tests need few commits. */
export const FEW = 20;
export const ROOT = "/holdfast/test";
export const live: { readonly signal: AbortSignal } = { signal: new AbortController().signal };

export interface FakeStore extends CoordinationStore {
  readonly tree: FakeTree;
  /** Of the sessions, in the order they were opened. */
  readonly ensembles: FakeEnsemble[];
}

export function fakeStore(
  tree = new FakeTree(),
  options: { readonly maxStoreBytes?: number; readonly mergeEntries?: number } = {},
): FakeStore {
  const ensembles: FakeEnsemble[] = [];
  const store = createCoordinationStore({
    root: ROOT,
    isProtected: false,
    address: "zk://fake:2181/holdfast/test",
    mergeEntries: FEW,
    clock: createNodeClock(),
    random: { fraction: () => tree.random.fraction(), bytes: (count) => tree.random.bytes(count) },
    connect: () => {
      const ensemble = tree.connect();
      ensembles.push(ensemble);
      return ensemble;
    },
    ...options,
  });
  return {
    limits: store.limits,
    openSession: (open) => store.openSession(open),
    nudge: () => store.nudge(),
    close: () => store.close(),
    tree,
    ensembles,
  };
}

export function open(store: CoordinationStore): Promise<CoordinationSession> {
  return store.openSession({ ttlMs: 6_000, signal: live.signal, candidate: "test" });
}

export const openFake = async (): Promise<OpenedStore> => openedFake(() => {});

/** `prepare` may break the tree on purpose. */
export function openedFake(prepare: (tree: FakeTree) => void): OpenedStore {
  const tree = new FakeTree();
  prepare(tree);
  let store = fakeStore(tree);
  return {
    store,
    reopen: async () => {
      await store.close();
      store = fakeStore(tree);
      return store;
    },
    cleanUp: () => store.close(),
  };
}
