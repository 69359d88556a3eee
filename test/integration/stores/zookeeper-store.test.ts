/** ZooKeeper as coordination store: the conformance suite on a real server, also through connections that break at each commit. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { coordinationStoreSuite } from "../../../src/conformance/coordination-store.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { openedFaulty } from "../../unit/coordination/opened-stores.js";
import { cuttingCommits, newPath, openZooKeeper, testZooKeeperStore } from "./zookeeper-support.js";

let ensemble: ZooKeeperServers;
beforeAll(async () => {
  // Each check leaves what it wrote: some have 12 records of 1 MB.
  ensemble = await startZooKeeper({ java: ["-Xmx640m"] });
});
afterAll(() => ensemble.close());

const cuts = { before: 0, after: 0 };

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
    open: () => cuttingCommits(port(), when, () => cuts[when]++),
    supports: { reopen: true, faults: false },
  });
}

test("connections did break in the suites above", () => {
  expect(cuts.before).toBeGreaterThan(30);
  expect(cuts.after).toBeGreaterThan(30);
});
