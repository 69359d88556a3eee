/** The conformance suite on three ZooKeeper servers: sessions are spread over them, so that what one writes another reads on a server that follows. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { coordinationStoreSuite } from "../../../src/conformance/coordination-store.js";
import { startZooKeeper, type ZooKeeperServers } from "../../support/zookeeper.js";
import { newPath, openZooKeeper, testZooKeeperStore } from "./zookeeper-support.js";

const SIGNAL = { signal: new AbortController().signal };

let ensemble: ZooKeeperServers;
beforeAll(async () => {
  ensemble = await startZooKeeper({ servers: 3, java: ["-Xmx320m"] });
});
afterAll(() => ensemble.close());

coordinationStoreSuite({
  name: "three ZooKeeper servers",
  open: () => openZooKeeper(`zk://${ensemble.connectString}${newPath()}`),
  supports: { reopen: true, faults: false },
});

test("whatever server leads, follows or is killed: every acknowledged commit is there once, and sessions on other servers read it at once", async () => {
  const url = (servers: string) => `zk://${servers}${path}`;
  const path = newPath();
  const all = testZooKeeperStore(url(ensemble.connectString));
  const writer = await all.openSession({ ttlMs: 20_000, candidate: "writer", ...SIGNAL });
  const value = new TextEncoder().encode("x");
  let written = 0;
  const write = async () => {
    const result = await writer.commit(
      { guards: [{ key: `k/${written}`, absent: true }], writes: [{ put: `k/${written}`, value }] },
      SIGNAL,
    );
    expect(result.ok).toBe(true);
    written++;
  };
  for (let round = 0; round < 3; round++) {
    const victim = ensemble.servers[round];
    const through = (async () => {
      for (let count = 0; count < 60; count++) await write();
    })();
    await victim?.kill();
    await through;
    const others = ensemble.servers.filter((server) => server !== victim);
    for (const { address } of others) {
      const store = testZooKeeperStore(url(address));
      const reader = await store.openSession({ ttlMs: 20_000, candidate: "reader", ...SIGNAL });
      expect((await reader.list({ prefix: "k/", limit: 1_000 }, SIGNAL)).records.map(({ version }) => version)).toEqual(
        Array.from({ length: written }, () => 0),
      );
      await store.close();
    }
    victim?.start();
    await victim?.serving();
  }
  await all.close();
});
