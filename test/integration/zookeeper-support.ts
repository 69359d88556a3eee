/** Stores on real ZooKeeper servers, each on a path of its own, for tests. */
import type { OpenedStore } from "../../src/conformance/coordination-store.js";
import { parseZooKeeperUrl } from "../../src/coordination/zookeeper-url.js";
import type { CoordinationStore } from "../../src/env/coordination-store.js";
import { createNodeClock } from "../../src/node/clock.js";
import { createNodeRandom } from "../../src/node/env.js";
import { createZooKeeperStore } from "../../src/node/zookeeper-store/zookeeper-store.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";

let paths = 0;
export const newPath = (): string => `/test/${process.pid}-${++paths}`;

export function testZooKeeperStore(
  url: string,
  options: { readonly mergeEntries?: number; readonly firstOpenTimeoutMs?: number } = {},
): CoordinationStore {
  return createZooKeeperStore({ url: parseZooKeeperUrl(url), clock: createNodeClock(), random: createNodeRandom(), ...options });
}

export async function openZooKeeper(url: string, cleanUp: () => Promise<void> = async () => {}): Promise<OpenedStore> {
  let store = testZooKeeperStore(url);
  return {
    store,
    reopen: async () => {
      await store.close();
      store = testZooKeeperStore(url);
      return store;
    },
    cleanUp: async () => {
      await store.close();
      await cleanUp();
    },
  };
}

export async function cuttingCommits(port: number, when: "before" | "after"): Promise<OpenedStore> {
  const proxy = await startTcpProxy(port);
  cutEverySecondCommit(proxy, when);
  return openZooKeeper(`zk://${proxy.address}${newPath()}`, () => proxy.close());
}

/** By the path of a new log entry in a request. `after`: the server has it, the answer is lost. */
export function cutEverySecondCommit(proxy: TcpProxy, when: "before" | "after"): { readonly cuts: () => number } {
  let commits = 0;
  let cuts = 0;
  const doomed = new Set<unknown>();
  proxy.onBytes((chunk, direction, link) => {
    if (direction === "down") {
      if (!doomed.delete(link)) return "forward";
      cuts++;
      return { forward: 0, ending: "rst" };
    }
    if (!chunk.includes("/log/0") || !chunk.includes("/head") || ++commits % 2 === 1) return "forward";
    if (when === "after") {
      doomed.add(link);
      return "forward";
    }
    cuts++;
    return { forward: 0, ending: "rst" };
  });
  return { cuts: () => cuts };
}
