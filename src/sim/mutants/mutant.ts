/** A planted bug: a wrapper around parts of the product, injected by the simulator, that makes one mistake. Product code is untouched. */
import type { SinkConnector, SourceConnector } from "../../dataflow/connector.js";
import type { FailoverRegions } from "../../dataflow/failover-regions.js";
import type { StateStore } from "../../env/blob-store.js";
import type { Env } from "../../env/env.js";
import type { ExchangeNetwork } from "../../executor/run/network.js";
import type { Link } from "../../host/link/link.js";
import type { MasterHostOptions } from "../../host/master/master-host.js";
import type { WorkerHostOptions } from "../../host/worker/worker-host.js";
import type { JobProcess } from "../jobs/counting-world.js";
import type { SimStateStore } from "../jobs/state-world.js";
import type { SimProcess } from "../world.js";

export interface Mutant {
  readonly name: string;
  /** The mistake, as a sentence. */
  readonly mistake: string;
  master(options: MasterHostOptions, process: SimProcess): MasterHostOptions;
  worker(options: WorkerHostOptions): WorkerHostOptions;
  /** The link of a job's driver to the master. */
  driverLink(link: Link, process: SimProcess): Link;
  /** Everything that a driver or an executor reaches the world with. */
  runner(env: Env, role: "driver" | "executor", process: SimProcess): Env;
  /** Of jobs that take checkpoints: their storage, source and sink, and the channels between their executors. */
  state(store: SimStateStore, of: JobProcess): StateStore;
  source(connector: SourceConnector<unknown>, of: JobProcess): SourceConnector<unknown>;
  sink(connector: SinkConnector<unknown>, of: JobProcess): SinkConnector<unknown>;
  network(network: ExchangeNetwork, of: JobProcess): ExchangeNetwork;
  /** What restarts with a lost executor. */
  failover(restarts: FailoverRegions["restarts"]): FailoverRegions["restarts"];
}

const same = <T>(value: T): T => value;

export const HEALTHY: Mutant = {
  name: "none",
  mistake: "none",
  master: same,
  worker: same,
  driverLink: same,
  runner: same,
  state: same,
  source: same,
  sink: same,
  network: same,
  failover: same,
};

export const mutant = (name: string, mistake: string, change: Partial<Mutant>): Mutant => ({
  ...HEALTHY,
  ...change,
  name,
  mistake,
});
