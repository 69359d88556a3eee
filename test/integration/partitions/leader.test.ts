/** The leader's machine is cut off, in every direction. While each cut is in force a client submits, and programs run on all workers. */
import { expect } from "vitest";
import * as network from "../../chaos/faults/network-faults.js";
import * as processes from "../../chaos/faults/process-faults.js";
import { onMachines } from "./arena.js";

onMachines("leaders cut off", ({ arena, round }) => {
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

  round("a leader cut from the other masters only goes on leading", {
    fault: network.leaderFromMasters,
    holdMs: 2_500,
    leadership: "either",
  });

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

  round("a leader that was stopped and goes on later commits nothing any more", {
    fault: processes.leaderStopped,
    leadership: "moves",
    meanwhile: async () => {
      // Longer than its session by far, so that it wakes up in a world that has another leader.
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect(arena().workload.acknowledged.length).toBeGreaterThan(0);
    },
  });
});
