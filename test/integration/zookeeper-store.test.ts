/** ZooKeeper as coordination store: the conformance suite on a real server, also through connections that break at each commit. */
import { afterAll, beforeAll } from "vitest";
import { coordinationStoreSuite } from "../../src/conformance/coordination-store.js";
import { openedFaulty } from "../unit/coordination/opened-stores.js";
import { type ZooKeeperServers, startZooKeeper } from "../support/zookeeper.js";
import { cuttingCommits, newPath, openZooKeeper, testZooKeeperStore } from "./zookeeper-support.js";

let ensemble: ZooKeeperServers;
beforeAll(async () => {
  ensemble = await startZooKeeper();
});
afterAll(() => ensemble.close());

const port = () => ensemble.servers[0]?.port ?? 0;
const url = (user = "") => `zk://${user}${ensemble.connectString}${newPath()}`;

coordinationStoreSuite({
  name: "ZooKeeper",
  open: () => openZooKeeper(url()),
  supports: { reopen: true, faults: false },
});

coordinationStoreSuite({
  name: "ZooKeeper as a user",
  open: () => openZooKeeper(url("cluster:s3cret%40@")),
  supports: { reopen: true, faults: false },
});

coordinationStoreSuite({
  name: "ZooKeeper behind faults",
  open: async () => openedFaulty(testZooKeeperStore(url()), async () => {}),
  supports: { reopen: false, faults: true },
});

for (const when of ["before", "after"] as const) {
  coordinationStoreSuite({
    name: `ZooKeeper through connections that break ${when} every second commit is applied`,
    open: () => cuttingCommits(port(), when),
    supports: { reopen: true, faults: false },
  });
}
