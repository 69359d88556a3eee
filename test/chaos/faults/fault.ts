/** What a fault is: something that is done to the machines of a cluster, held for a while, and taken back. */
import type { Machines } from "../../support/partition/machines.js";
import type { Chance } from "../chance.js";

/**
 * `control`: masters and ZooKeeper only, so nothing that runs may notice. `leader`: the same while somebody else can lead instead; with another fault at the
 * same time the leader may stay cut off from all workers, and lose them. `work`: workers too, whose processes may be lost.
 */
export type Reach = "control" | "leader" | "work";

export interface Scene {
  readonly machines: Machines;
  readonly chance: Chance;
  /** The machine of the present leader, and the machines of the others. */
  readonly leader: string;
  readonly standbys: readonly string[];
  /** The pid of each machine's master as the master tells it: a parent that only guards it is not meant. */
  readonly masterPids: ReadonlyMap<string, number>;
}

/** A fault in force. */
export interface Begun {
  /** What exactly was done. */
  readonly what: string;
  /** Takes back what healing the network does not. */
  readonly end?: () => Promise<void>;
}

export interface Fault {
  /** A word for the protocol of a run. */
  readonly name: string;
  readonly reach: Reach;
  /** Resolves when it is in force. */
  begin(scene: Scene): Promise<Begun>;
}
