/**
 * Somebody takes the cluster's records away: the head, the whole path, all data of ZooKeeper. Nothing can be decided any more, and nothing may
 * be lost: what runs goes on, no master makes an empty cluster in its place, and each says what happened.
 */
import { expect, test } from "vitest";
import { storePath } from "../../chaos/faults/operator-faults.js";
import type { Arena } from "../../chaos/round.js";
import { until } from "../../support/holdfast.js";
import { MASTERS, type Machines, ROOT_PATH, startMachines } from "../../support/partition/machines.js";
import { type Life, livesOf, readTicks } from "../../support/partition/ticks.js";
import { evidencePath, missing, openArena, titled } from "./arena.js";

const TEST_MS = 180_000;
const REFUSED_WITHIN_MS = 60_000;
const RUNS_ON_MS = 3_000;

interface Loss {
  readonly take: (machines: Machines) => Promise<void>;
  /** What every master that met it says. */
  readonly sentence: RegExp;
}

const steadyLives = ({ workload }: Arena): readonly Life[] =>
  workload.acknowledged.filter(({ kind }) => kind === "steady").flatMap(({ file }) => livesOf(readTicks(file)));

function refused(sentence: string, loss: Loss): void {
  test.skipIf(missing !== null)(
    titled(sentence),
    async ({ onTestFailed }) => {
      const machines = await startMachines();
      let failed = true;
      onTestFailed(() => console.error(`evidence: ${evidencePath(sentence)}`));
      try {
        const arena = await openArena(machines);
        await until("the first lines", () => steadyLives(arena).length === 1);
        const [before] = steadyLives(arena);
        await loss.take(machines);
        await until(
          "every master to say what happened",
          () => MASTERS.every((name) => loss.sentence.test(machines.process(name).log())),
          REFUSED_WITHIN_MS,
        );
        await runsOn(arena, before);
        arena.workload.end();
        failed = false;
      } finally {
        await machines.close(failed ? evidencePath(sentence) : null);
      }
    },
    TEST_MS,
  );
}

/** The same process, still writing its lines. */
async function runsOn(arena: Arena, before: Life | undefined): Promise<void> {
  const from = Date.now();
  await until("the program to go on", () => steadyLives(arena).some(({ toMs }) => toMs > from + RUNS_ON_MS));
  expect(steadyLives(arena).map(({ process, pid }) => ({ process, pid }))).toEqual([
    { process: before?.process, pid: before?.pid },
  ]);
}

refused("the operator deletes the head of the log: refused, and nothing that runs is lost", {
  take: async (machines) => {
    await machines.client.znode({ op: "delete", path: `${await storePath(machines)}/head` });
  },
  sentence: /STORE_UNUSABLE.*(no longer at|held this cluster's store)|the records of this cluster are no longer at/,
});

refused("the operator deletes the whole path: refused, and nothing that runs is lost", {
  take: async (machines) => {
    // Masters may write meanwhile, so a znode may have new children: again until nothing is there.
    await until("the path to be gone", async () => {
      await machines.client.znode({ op: "deleteTree", path: ROOT_PATH }).catch(() => {});
      return machines.client.znode({ op: "tree", path: ROOT_PATH }).then(
        () => false,
        () => true,
      );
    });
  },
  sentence: /STORE_UNUSABLE|no longer at|held this cluster's store/,
});

refused("the ensemble is restarted empty: refused, and nothing that runs is lost", {
  take: async ({ zookeeper }) => {
    await Promise.all(zookeeper.servers.map((server) => server.kill()));
    for (const server of zookeeper.servers) {
      await server.wipe();
      server.start();
    }
    await Promise.all(zookeeper.servers.map((server) => server.serving()));
  },
  sentence: /held this cluster's store|no longer at/,
});
