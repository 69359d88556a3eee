/** ZooKeeper's servers cut off, killed, stopped and restarted under a cluster that works. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import * as network from "../../chaos/faults/network-faults.js";
import * as processes from "../../chaos/faults/process-faults.js";
import type { Machines } from "../../support/partition/machines.js";
import { livesOf, readTicks } from "../../support/partition/ticks.js";
import { onMachines } from "./arena.js";

const QUORUM_LOST_MS = 60_000;
/** A leader still acts for two thirds of its session; the rest is for a busy machine. */
const DOUBT_MS = 10_000;

onMachines("ZooKeeper disturbed", ({ arena, round }) => {
  round("one server of three cut off: nothing is lost", { fault: network.zookeeperMinority, holdMs: 3_000, leadership: "either" });

  round("ZooKeeper's leader is killed: its followers choose another, and nothing is lost", {
    fault: processes.zookeeperLeaderKilled,
    holdMs: 3_000,
    leadership: "either",
  });

  round("ZooKeeper's leader is isolated from all: nothing that it answered alone counts", {
    fault: network.zookeeperLeaderIsolated,
    holdMs: 4_000,
    leadership: "either",
  });

  round("ZooKeeper's leader is cut from its followers, while masters still reach it", {
    fault: network.zookeeperLeaderFromFollowers,
    holdMs: 4_000,
    leadership: "either",
  });

  round(`no quorum for ${QUORUM_LOST_MS / 1_000} s: nothing is decided, everything runs on, and afterwards all goes on`, {
    fault: processes.quorumLost,
    holdMs: QUORUM_LOST_MS,
    withJob: true,
    leadership: "either",
    meanwhile: async ({ machines }) => {
      expect(Date.now() - lastAnswerAt(machines), "nothing is decided").toBeGreaterThan(QUORUM_LOST_MS - DOUBT_MS);
      const steady = arena().workload.acknowledged.find(({ kind }) => kind === "steady");
      const [life] = livesOf(readTicks(steady?.file ?? ""));
      expect(Date.now() - (life?.toMs ?? 0), "the program runs").toBeLessThan(5_000);
    },
  });

  round("the whole ensemble is killed and restarted: what was acknowledged is there", {
    fault: processes.ensembleKilled,
    holdMs: 1_000,
    leadership: "either",
  });
});

/** When a client was last told that its submission is recorded. */
function lastAnswerAt({ cluster }: Machines): number {
  const lines = readFileSync(cluster.file("history", "client.jsonl"), "utf8").trimEnd().split("\n");
  const answers = lines.map((line) => JSON.parse(line) as { readonly at: string; readonly ok?: string }).filter(({ ok }) => ok);
  return Date.parse(answers.at(-1)?.at ?? "");
}
