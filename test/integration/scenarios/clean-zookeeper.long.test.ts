/** The same as clean.test.ts with the records in ZooKeeper: no node is left but the bounded history. */
import { expect, test } from "vitest";
import { playClean } from "../../chaos/clean/clean.js";
import { zooKeeperMissing } from "../../support/zookeeper.js";

const APPLICATIONS = 30;

test.skipIf(zooKeeperMissing() !== null)(
  `after ${APPLICATIONS} applications with kills, records in ZooKeeper, store and directories are as before`,
  { timeout: 300_000 },
  async () => {
    const { problems, kills } = await playClean({ applications: APPLICATIONS, seed: 1, store: "zookeeper", say: () => {} });
    expect(problems).toEqual([]);
    expect(kills).toBeGreaterThan(0);
  },
);
