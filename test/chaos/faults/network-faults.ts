/** Cuts of the network. All are taken back by healing it. */
import { ALL, CLIENT, MASTERS, WORKERS, ZOOKEEPERS } from "../../support/partition/machines.js";
import type { CutKind } from "../../support/partition/virtual-network.js";
import type { Fault, Reach, Scene } from "./fault.js";

/** Chosen by chance where a test does not say. */
const KINDS: readonly CutKind[] = ["drop", "drop", "reset"];

type Group = (scene: Scene) => readonly string[];

export const theLeader: Group = ({ leader }) => [leader];
export const zookeepers: Group = () => ZOOKEEPERS;
export const workers: Group = () => WORKERS;
export const otherMasters: Group = ({ standbys }) => standbys;
export const everybodyElse: Group = ({ leader }) => ALL.filter((name) => name !== leader);

const list = (names: readonly string[]): string => names.join(",");

function cutFault(name: string, reach: Reach, group: Group, others: Group, kind?: CutKind): Fault {
  return {
    name,
    reach,
    begin: async (scene) => {
      const [one, other, how] = [group(scene), others(scene), kind ?? scene.chance.pick(KINDS)];
      await scene.machines.network.cut(one, other, how);
      return { what: `${list(one)} | ${list(other)} (${how})` };
    },
  };
}

function oneWayFault(name: string, reach: Reach, from: Group, to: Group): Fault {
  return {
    name,
    reach,
    begin: async (scene) => {
      const [senders, receivers] = [from(scene), to(scene)];
      await scene.machines.network.cutOneWay(senders, receivers);
      return { what: `${list(senders)} -> ${list(receivers)} lost` };
    },
  };
}

export const leaderFromZooKeeper = cutFault("leader-from-zookeeper", "control", theLeader, zookeepers);
export const leaderFromWorkers = cutFault("leader-from-workers", "work", theLeader, workers);
export const leaderFromMasters = cutFault("leader-from-masters", "control", theLeader, otherMasters);
/** Which of the two it is decides whether leadership moves: a machine that rejects says what a dead process's machine says. */
export const leaderFromMastersBy = (kind: CutKind): Fault =>
  cutFault(`leader-from-masters-by-${kind}`, "control", theLeader, otherMasters, kind);
export const leaderFromEverything = cutFault("leader-from-everything", "leader", theLeader, everybodyElse, "drop");
/** Everybody still hears the leader, and it hears nobody. */
export const leaderDeaf = oneWayFault("leader-deaf", "leader", everybodyElse, theLeader);
export const leaderMute = oneWayFault("leader-mute", "leader", theLeader, everybodyElse);
export const leaderDeafToZooKeeper = oneWayFault("leader-deaf-to-zookeeper", "control", zookeepers, theLeader);
export const leaderMuteToZooKeeper = oneWayFault("leader-mute-to-zookeeper", "control", theLeader, zookeepers);
export const leaderDeafToWorkers = oneWayFault("leader-deaf-to-workers", "work", workers, theLeader);
export const leaderMuteToWorkers = oneWayFault("leader-mute-to-workers", "work", theLeader, workers);
export const leaderDeafToMasters = oneWayFault("leader-deaf-to-masters", "control", otherMasters, theLeader);
export const leaderMuteToMasters = oneWayFault("leader-mute-to-masters", "control", theLeader, otherMasters);

/** Two halves that do not see each other; one machine of either side, the leader's, and the client's see both. */
export const bridge: Fault = {
  name: "bridge",
  reach: "work",
  begin: async ({ machines, standbys, chance }) => {
    const [half, other] = [
      [chance.pick(ZOOKEEPERS), standbys[0] ?? "", chance.pick(WORKERS)],
      (taken: readonly string[]) => [...ZOOKEEPERS, ...standbys, ...WORKERS].filter((name) => !taken.includes(name)),
    ];
    await machines.network.cut(half, other(half));
    return { what: `${list(half)} | ${list(other(half))}, the leader sees both` };
  },
};

/** Standby: nobody may notice. */
export const standbyFromEverything = cutFault(
  "standby-from-everything",
  "control",
  ({ standbys }) => standbys.slice(0, 1),
  ({ standbys }) => ALL.filter((name) => name !== standbys[0]),
  "drop",
);

export const zookeeperMinority: Fault = {
  name: "zookeeper-minority",
  reach: "control",
  begin: async ({ machines, chance }) => {
    const one = chance.pick(ZOOKEEPERS);
    await machines.network.cut(
      [one],
      ALL.filter((name) => name !== one),
    );
    return { what: `${one} | everything` };
  },
};

/** Its followers choose another leader; clients that are connected to it hear of that late. */
export const zookeeperLeaderFromFollowers: Fault = {
  name: "zookeeper-leader-from-followers",
  reach: "control",
  begin: async ({ machines }) => {
    const leader = await zookeeperLeader(machines);
    await machines.network.cut(
      [leader],
      ZOOKEEPERS.filter((name) => name !== leader),
    );
    return { what: `${leader} | the other servers` };
  },
};

export const zookeeperLeaderIsolated: Fault = {
  name: "zookeeper-leader-isolated",
  reach: "control",
  begin: async ({ machines }) => {
    const leader = await zookeeperLeader(machines);
    await machines.network.cut(
      [leader],
      ALL.filter((name) => name !== leader),
    );
    return { what: `${leader} | everything` };
  },
};

/** No two servers see each other: there is no quorum, though all run. */
export const zookeeperApart: Fault = {
  name: "zookeeper-apart",
  reach: "control",
  begin: async ({ machines }) => {
    await machines.network.cut(ZOOKEEPERS, ZOOKEEPERS);
    return { what: "z1 | z2 | z3" };
  },
};

const oneWorker: Group = ({ chance }) => [chance.pick(WORKERS)];

/** Never by resets: a firewall that rejects forges the proof that no master runs (docs/operating.md), and what must not run twice may run twice. */
export const workerFromMasters = cutFault("worker-from-masters", "work", oneWorker, () => MASTERS, "drop");
export const workerFromLeader = cutFault("worker-from-leader", "work", oneWorker, theLeader);
export const workerFromZooKeeper = cutFault("worker-from-zookeeper", "control", oneWorker, zookeepers);
export const workerFromBoth = cutFault("worker-from-masters-and-zookeeper", "work", oneWorker, () => [...MASTERS, ...ZOOKEEPERS]);
export const workerFromWorkers: Fault = {
  name: "worker-from-workers",
  reach: "work",
  begin: async ({ machines, chance }) => {
    const one = chance.pick(WORKERS);
    await machines.network.cut(
      [one],
      WORKERS.filter((name) => name !== one),
    );
    return { what: `${one} | the other workers` };
  },
};
export const clientFromLeader = cutFault("client-from-leader", "control", () => [CLIENT], theLeader);

async function zookeeperLeader(machines: Scene["machines"]): Promise<string> {
  return `z${(await machines.zookeeperLeader())?.id ?? 1}`;
}
