/** The coordination store at a `zk://` URL. */
import type { ZooKeeperUrl } from "../../coordination/zookeeper-url.js";
import type { CoordinationStore } from "../../env/coordination-store.js";
import { createCoordinationStore, type ZooKeeperStoreOptions } from "../../zookeeper-store/store.js";
import { connectEnsemble } from "./zookeeper-ensemble.js";

export type CreateZooKeeperStore = Omit<ZooKeeperStoreOptions, "root" | "isProtected" | "address" | "connect"> & {
  readonly url: ZooKeeperUrl;
};

/** Throws INVALID_ARGUMENT for a path that cannot be a cluster's. */
export function createZooKeeperStore({ url, ...options }: CreateZooKeeperStore): CoordinationStore {
  return createCoordinationStore({
    ...options,
    root: url.path,
    isProtected: url.credentials !== null,
    address: url.address,
    connect: ({ timeoutMs }) => connectEnsemble(url, { timeoutMs }),
  });
}
