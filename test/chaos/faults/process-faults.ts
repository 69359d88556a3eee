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
  begin: async ({ leader, masterPids }) => {
    const pid = masterPids.get(leader);
    signal(pid, "SIGSTOP");
    return { what: `stopped the master on ${leader} (pid ${pid})`, end: async () => signal(pid, "SIGCONT") };
  },
};

/** Together with its parent, which would kill it else: as a virtual machine that is paused. Its connections stay open, and it wakes up in the middle of a step. */
export const leaderFrozen: Fault = {
  name: "leader-frozen",
  reach: "leader",
  begin: async ({ machines, leader }) => {
    const frozen = machines.process(leader);
    frozen.freeze();
    return { what: `froze ${frozen.name} with its parent`, end: async () => frozen.thaw() };
  },
};

/** Another fault, or its parent, may have ended it meanwhile. */
function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, name);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ESRCH") throw thrown;
  }
}

/** The machine's master with whatever guards it; another one is started there at the end. */
function masterKilled(name: string, choose: (scene: Scene) => string): Fault {
  return {
    name,
    reach: "control",
    begin: async (scene) => {
      const { machines } = scene;
      const victim = choose(scene);
      for (const pid of await machines.network.pids(victim)) signal(pid, "SIGKILL");
      await machines.process(victim).exited;
      return { what: `killed ${machines.process(victim).name}`, end: async () => void machines.startMaster(victim) };
    },
  };
}

export const leaderKilled = masterKilled("leader-killed", ({ leader }) => leader);
export const standbyKilled = masterKilled("standby-killed", ({ standbys, chance }) => chance.pick(standbys));

/** Its process only: what it had started runs on, and the next one adopts it. One that stays away past its deadline is lost with what ran there. */
export const workerKilled: Fault = {
  name: "worker-killed",
  reach: "work",
  begin: async ({ machines, chance }) => {
    const victim = chance.pick(WORKERS);
    const worker = machines.process(victim);
    worker.signal("SIGKILL");
    await worker.exited;
    return { what: `killed ${worker.name}`, end: async () => void machines.startWorker(victim) };
  },
};
