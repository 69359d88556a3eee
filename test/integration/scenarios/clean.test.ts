/** Applications of every kind come and go, and nothing is left but the bounded history; `npm run chaos -- --clean` plays any number of them. */
import { expect, test } from "vitest";
import { playClean } from "../../chaos/clean/clean.js";
import { zooKeeperMissing } from "../../support/zookeeper.js";

const APPLICATIONS = 30;

test.each([
  ["a directory", "directory", null],
  ["ZooKeeper", "zookeeper", zooKeeperMissing()],
] as const)(
  `after ${APPLICATIONS} applications with kills, records in %s, store and directories are as before`,
  {
    timeout: 300_000,
  },
  async (_where, store, missing) => {
    if (missing !== null) {
      console.log(`skipped: ${missing}`);
      return;
    }
    const { problems, kills } = await playClean({ applications: APPLICATIONS, seed: 1, store, say: () => {} });
    expect(problems).toEqual([]);
    expect(kills).toBeGreaterThan(0);
  },
);
