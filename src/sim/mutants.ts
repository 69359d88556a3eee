/** Planted bugs; filled in by mutants of the list. */
import type { MasterHostOptions } from "../host/master-host.js";
import type { WorkerHostOptions } from "../host/worker-host.js";

export interface Mutant {
  readonly name: string;
  master(options: MasterHostOptions): MasterHostOptions;
  worker(options: WorkerHostOptions): WorkerHostOptions;
}

export const HEALTHY: Mutant = { name: "none", master: (options) => options, worker: (options) => options };
