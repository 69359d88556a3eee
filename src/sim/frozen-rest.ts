/**
 * The first half of liveness: a random core of the cluster heals, the rest stays frozen, and the core alone has to bring everything to its end
 * (as TigerBeetle's simulator does it: healing everything at once would hide what waits for somebody who never comes back).
 *
 * A frozen machine is without power, or cut off from every other and from the store, or its master or worker is stopped.
 * The core: one master, and workers enough for every application; the machines of clients.
 */
import type { Cluster, MasterSlot, WorkerSlot } from "./cluster.js";
import type { SeededRandom } from "./seed.js";

export interface FrozenRest {
  readonly subjects: readonly string[];
  /** Everything that was frozen heals. */
  thaw(): void;
}

type Way = "no power" | "cut off" | "stopped";
const WAYS: readonly Way[] = ["no power", "cut off", "stopped"];

/** Undefined: in this cluster nobody can be done without. */
export function freezeRest(cluster: Cluster, random: SeededRandom): FrozenRest | undefined {
  const { options } = cluster;
  // What is drained has to stay away from where it is drained to, and who holds removals wants nobody to become lost.
  const spareWorkers = options.workerDuty !== "none" || options.isHolding ? 0 : Math.floor(options.workers / 2);
  const workers = some(cluster.workers, random.below(spareWorkers + 1), random);
  // Masters of an exclusive store share a machine: there a master can only be gone.
  const masters = some(cluster.masters, random.below(options.masters), random);
  if (workers.length + masters.length === 0) return undefined;
  const subjects: string[] = [];
  const thaws: (() => void)[] = [];
  const freeze = (slot: MasterSlot | WorkerSlot, way: Way, act: () => () => void) => {
    subjects.push(`${slot.name} (${way})`);
    thaws.push(act());
  };
  for (const slot of masters) {
    if (options.mode === "exclusive") freeze(slot, "no power", () => keepDead(cluster, slot));
    else {
      const way = random.pick(WAYS) ?? "stopped";
      freeze(slot, way, () => frozen(cluster, slot, way));
    }
  }
  for (const slot of workers) {
    const way = random.pick(WAYS) ?? "stopped";
    freeze(slot, way, () => frozen(cluster, slot, way));
  }
  return {
    subjects,
    thaw: () => {
      for (const thaw of thaws) thaw();
    },
  };
}

function some<T>(items: readonly T[], count: number, random: SeededRandom): readonly T[] {
  const left = [...items];
  return Array.from({ length: count }, () => left.splice(random.below(left.length), 1)).flat();
}

function keepDead(cluster: Cluster, slot: MasterSlot): () => void {
  cluster.keptDown.add(slot.name);
  slot.process?.kill();
  return () => {
    cluster.keptDown.delete(slot.name);
    cluster.startAll();
  };
}

function frozen(cluster: Cluster, slot: MasterSlot | WorkerSlot, way: Way): () => void {
  const { machine } = slot;
  switch (way) {
    case "no power":
      cluster.powerOff(machine);
      return () => cluster.powerOn(machine);
    case "cut off":
      return cutOff(cluster, slot);
    case "stopped": {
      const { process } = slot;
      process?.pause();
      return () => process?.resume();
    }
  }
}

function cutOff(cluster: Cluster, slot: MasterSlot | WorkerSlot): () => void {
  const { machine, process } = slot;
  const ends = cluster.machines().flatMap((other) => {
    if (other === machine) return [];
    return [cluster.network.cut(machine, other), cluster.network.cut(other, machine)];
  });
  // A master that reaches the store and no worker would lead for ever, and rightly so.
  if (process !== null) cluster.store.disconnect(process, "hang");
  return () => {
    for (const end of ends) end();
    if (process !== null) cluster.store.reconnect(process);
  };
}
