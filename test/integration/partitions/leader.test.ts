/** The leader's machine is cut off, in every direction. While each cut is in force a client submits, and programs run on all workers. */
import { writeFileSync } from "node:fs";
import { expect } from "vitest";
import { storeHistory } from "../../chaos/checks.js";
import * as network from "../../chaos/faults/network-faults.js";
import * as processes from "../../chaos/faults/process-faults.js";
import { until } from "../../support/holdfast.js";
import { type Machines, SESSION_MS } from "../../support/partition/machines.js";
import { footprint, onMachines, play } from "./arena.js";

const FROZEN_MS = 30_000;
/** In 4 s of 0.1 s, 0.2 s, ... for each of two that suspect each other, with jitter down to half of it. */
const MAX_EXCHANGES = 12;

onMachines("leaders cut off", ({ round, scene }) => {
  round("a leader cut from ZooKeeper only stands by in the same process, another leads, and nothing that runs notices", {
    fault: network.leaderFromZooKeeper,
    withJob: true,
    leadership: "moves",
    afterwards: async ({ leader, machines }) => {
      const { masters } = await machines.view();
      const { address } = machines.network.host(leader);
      const old = masters.find((master) => master.address.startsWith(`${address}:`));
      expect(old).toMatchObject({ state: "STANDBY", pid: expect.any(Number) });
      expect(machines.process(leader).log()).not.toContain("uncaught");
    },
  });

  round("a leader cut from the workers only goes on leading: nobody else could do better", {
    fault: network.leaderFromWorkers,
    holdMs: 2_000,
    leadership: "stays",
  });

  round("a leader cut from the other masters only goes on leading: silence is no proof of its death", {
    fault: network.leaderFromMastersBy("drop"),
    holdMs: 4_000,
    leadership: "stays",
  });

  scene(
    "a leader whose machine rejects the other masters looks dead to them: each deposes the other ever later, and nothing that runs notices",
    async (one) => {
      const sentence = "a leader whose machine rejects the other masters";
      const before = (await storeHistory(one.machines)).epochs.length;
      await play(one, sentence, { fault: network.leaderFromMastersBy("reset"), holdMs: 4_000, withJob: true, leadership: "moves" });
      // Each exchange leaves somebody who waits longer before it believes its next suspicion: 0.1 s, doubling.
      expect((await storeHistory(one.machines)).epochs.length - before).toBeLessThanOrEqual(MAX_EXCHANGES);
    },
  );

  round("a leader cut from everything is replaced when its session expires", {
    fault: network.leaderFromEverything,
    leadership: "moves",
  });

  round("a leader that hears nobody, while everybody hears it, is replaced", {
    fault: network.leaderDeaf,
    leadership: "moves",
  });

  round("a leader that hears everybody, and is heard by nobody, is replaced", {
    fault: network.leaderMute,
    leadership: "moves",
  });

  round("a leader whose packets to ZooKeeper are lost one way is replaced", {
    fault: network.leaderMuteToZooKeeper,
    leadership: "moves",
  });

  round("a leader that does not get ZooKeeper's answers is replaced, and what it did not hear of was done once or never", {
    fault: network.leaderDeafToZooKeeper,
    leadership: "moves",
  });

  for (const fault of [
    network.leaderMuteToWorkers,
    network.leaderDeafToWorkers,
    network.leaderMuteToMasters,
    network.leaderDeafToMasters,
  ])
    round(`${fault.name}, packets lost one way for a moment: it goes on leading`, { fault, holdMs: 2_000, leadership: "stays" });

  round("two halves that see only the leader: what is submitted is kept, and nothing is done twice", {
    fault: network.bridge,
    holdMs: 2_500,
    leadership: "either",
  });

  round("a standby cut from everything changes nothing", {
    fault: network.standbyFromEverything,
    holdMs: 3_000,
    leadership: "stays",
  });

  round("a leader that is stopped alone is killed by its parent, and another leads", {
    fault: processes.leaderStopped,
    leadership: "moves",
    afterwards: async ({ machines, leader, masterPids }) =>
      expect(machines.process(leader).servingPid()).not.toBe(masterPids.get(leader)),
  });

  scene(
    "a leader stopped for 30 s together with its parent: another leads, a job ends meanwhile, and the woken one stands by and has committed nothing",
    async (one) => {
      const { machines, workload } = one;
      const release = machines.cluster.file("release-frozen");
      const [job, program] = [await workload.job({ hold: release }), workload.acknowledged.find(({ kind }) => kind === "steady")];
      const ids = [job?.id ?? "", program?.id ?? ""];
      await until("the job to run", async () => {
        const { driver, executors } = await machines.status(ids[0] ?? "");
        return (
          executors.length === 2 && [driver, ...executors].every((process) => process?.state === "running" && process.pid !== null)
        );
      });
      const undisturbed = () => Promise.all(ids.map((id) => footprint(one, id)));
      const [before, incarnations] = [await undisturbed(), await incarnationsOf(machines)];
      const played = await play(one, "a leader stopped for 30 s", {
        fault: processes.leaderFrozen,
        holdMs: FROZEN_MS,
        leadership: "moves",
        meanwhile: async () => {
          expect(await undisturbed()).toEqual(before);
          writeFileSync(release, "");
          await until("the job to end", async () => (await machines.status(ids[0] ?? "")).state === "finished");
        },
        afterwards: async ({ leader, masterPids }) => {
          expect(machines.process(leader).servingPid()).toBe(masterPids.get(leader));
          const woken = (await machines.view()).masters.find(({ pid }) => pid === masterPids.get(leader));
          expect(woken).toMatchObject({ state: "STANDBY" });
        },
      });
      // A session's time, and as much again for a busy machine.
      expect(played.newLeaderAfterMs).toBeLessThan(2 * SESSION_MS);
      expect(await incarnationsOf(machines)).toEqual(incarnations);
      expect((await machines.status(ids[0] ?? "")).attempt).toBe(1);
    },
  );
});

async function incarnationsOf(machines: Machines): Promise<readonly string[]> {
  const { workers } = await machines.client.call("workers", {});
  return workers.map(({ id, incarnation }) => `${id} ${incarnation}`).sort();
}
