/** The faults that a random run is made of. Those that end a cluster for good (its records are taken away) have tests of their own. */
import type { Fault } from "./fault.js";
import * as network from "./network-faults.js";
import * as operator from "./operator-faults.js";
import * as processes from "./process-faults.js";
import * as slow from "./slow-faults.js";

const isFault = (value: unknown): value is Fault => typeof value === "object" && value !== null && "begin" in value;

export const FAULTS: readonly Fault[] = [network, processes, operator, slow]
  .flatMap((family) => Object.values(family))
  .filter(isFault)
  .sort((a, b) => (a.name < b.name ? -1 : 1));
