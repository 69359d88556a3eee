/** Stores on real ZooKeeper servers, each on a path of its own, for tests. */
import type { OpenedStore } from "../../../src/conformance/coordination-store.js";
import { parseZooKeeperUrl } from "../../../src/coordination/zookeeper-url.js";
import type { CoordinationStore } from "../../../src/env/coordination-store.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { createNodeRandom } from "../../../src/node/env.js";
import { createZooKeeperStore } from "../../../src/node/zookeeper-store/zookeeper-store.js";
import { startTcpProxy, type TcpProxy } from "../../support/tcp-proxy.js";

let paths = 0;
export const newPath = (): string => `/test-${process.pid}-${++paths}/cluster`;

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

export async function cuttingCommits(port: number, when: "before" | "after", onCut: () => void): Promise<OpenedStore> {
  const proxy = await startTcpProxy(port);
  cutEverySecondCommit(proxy, when, onCut);
  return openZooKeeper(`zk://${proxy.address}${newPath()}`, () => proxy.close());
}

/** How a log entry begins: its letters and kind (sealed.ts). Only commits hold one. */
const ENTRY = Buffer.from([0x48, 0x46, 2]);

/** By a log entry in what the client says. `after`: the server has it, the answer is lost. */
export function cutEverySecondCommit(proxy: TcpProxy, when: "before" | "after", onCut: () => void): void {
  let commits = 0;
  const doomed = new Set<unknown>();
  proxy.onBytes((chunk, direction, link) => {
    if (direction === "down") {
      if (!doomed.delete(link)) return "forward";
      onCut();
      return { forward: 0, ending: "rst" };
    }
    if (!chunk.includes(ENTRY) || ++commits % 2 === 1) return "forward";
    if (when === "after") {
      doomed.add(link);
      return "forward";
    }
    onCut();
    return { forward: 0, ending: "rst" };
  });
}
