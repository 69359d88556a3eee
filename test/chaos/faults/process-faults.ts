/** Processes killed, stopped and started again: masters, workers, ZooKeeper's servers. */
import { type Machines, WORKERS } from "../../support/partition/machines.js";
import type { ZooKeeperServer } from "../../support/zookeeper.js";
import type { Fault, Scene } from "./fault.js";

/** Starts what does not run any more, on all machines. */
export async function restartServers({ machines }: Pick<Scene, "machines">): Promise<void> {
  const { servers } = machines.zookeeper;
  for (const server of servers) {
    server.cont();
    if (server.pid() === undefined) server.start();
  }
  await Promise.all(servers.map((server) => server.serving()));
}

/** While no server leads, another fault is in force, and any of them will do. */
async function leaderOr(machines: Machines): Promise<ZooKeeperServer> {
  const chosen = (await machines.zookeeperLeader()) ?? machines.zookeeper.servers[0];
  if (chosen === undefined) throw new Error("this ensemble has no server");
  return chosen;
}

function serverFault(name: string, choose: (scene: Scene) => Promise<readonly ZooKeeperServer[]>): Fault {
  return {
    name,
    reach: "control",
    begin: async (scene) => {
      const victims = await choose(scene);
      await Promise.all(victims.map((server) => server.kill()));
      return { what: `killed ${victims.map(({ id }) => `z${id}`).join(", ")}`, end: () => restartServers(scene) };
    },
  };
}

export const zookeeperLeaderKilled = serverFault("zookeeper-leader-killed", async ({ machines }) => [await leaderOr(machines)]);
export const zookeeperFollowerKilled = serverFault("zookeeper-follower-killed", async ({ machines, chance }) => {
  const leader = await leaderOr(machines);
  return [chance.pick(machines.zookeeper.servers.filter((server) => server !== leader))];
});
/** Two of three: the one that is left serves nobody. */
export const quorumLost = serverFault("quorum-lost", async ({ machines, chance }) => {
  const spared = chance.pick(machines.zookeeper.servers);
  return machines.zookeeper.servers.filter((server) => server !== spared);
});
export const ensembleKilled = serverFault("ensemble-killed", async ({ machines }) => machines.zookeeper.servers);

export const zookeeperLeaderStopped: Fault = {
  name: "zookeeper-leader-stopped",
  reach: "control",
  begin: async (scene) => {
    const leader = await leaderOr(scene.machines);
    await leader.stop();
    return { what: `stopped z${leader.id}`, end: () => restartServers(scene) };
  },
};

export const leaderStopped: Fault = {
  name: "leader-stopped",
  reach: "leader",
  begin: async ({ machines, leader }) => {
    const master = machines.process(leader);
    master.signal("SIGSTOP");
    return { what: `stopped the master on ${leader}`, end: async () => master.signal("SIGCONT") };
  },
};

function killFault(name: string, role: "Master" | "Worker", choose: (scene: Scene) => string): Fault {
  return {
    name,
    // A worker that stays away past its deadline is lost, and so is what ran there.
    reach: role === "Master" ? "control" : "work",
    begin: async (scene) => {
      const { machines } = scene;
      const victim = choose(scene);
      const process = machines.process(victim);
      process.signal("SIGKILL");
      await process.exited;
      return { what: `killed ${process.name}`, end: async () => void machines[`start${role}`](victim) };
    },
  };
}

export const leaderKilled = killFault("leader-killed", "Master", ({ leader }) => leader);
export const standbyKilled = killFault("standby-killed", "Master", ({ standbys, chance }) => chance.pick(standbys));
/** Its process only: what it had started runs on, and the next one adopts it. */
export const workerKilled = killFault("worker-killed", "Worker", ({ chance }) => chance.pick(WORKERS));
