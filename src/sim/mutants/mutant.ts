/** A planted bug: a wrapper around parts of the product, injected by the simulator, that makes one mistake. Product code is untouched. */
import type { Link } from "../../host/link/link.js";
import type { MasterHostOptions } from "../../host/master/master-host.js";
import type { WorkerHostOptions } from "../../host/worker/worker-host.js";
import type { SimProcess } from "../world.js";

export interface Mutant {
  readonly name: string;
  /** The mistake, as a sentence. */
  readonly mistake: string;
  master(options: MasterHostOptions, process: SimProcess): MasterHostOptions;
  worker(options: WorkerHostOptions): WorkerHostOptions;
  /** The link of a job's driver to the master. */
  driverLink(link: Link): Link;
}

const same = <T>(value: T): T => value;

export const HEALTHY: Mutant = { name: "none", mistake: "none", master: same, worker: same, driverLink: same };

export const mutant = (name: string, mistake: string, change: Partial<Mutant>): Mutant => ({
  ...HEALTHY,
  ...change,
  name,
  mistake,
});
