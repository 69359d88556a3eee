/** Workers cut off: from the masters, from ZooKeeper, from both, from one another. */
import * as network from "../../chaos/faults/network-faults.js";
import { WORKER_DEADLINE_MS } from "../../support/partition/machines.js";
import { onMachines } from "./arena.js";

/** Past the deadline after which a silent worker is lost. */
const PAST_DEADLINE_MS = WORKER_DEADLINE_MS + 2_000;

onMachines("workers cut off", ({ round }) => {
  round("a worker cut from ZooKeeper only goes on as if nothing were", {
    fault: network.workerFromZooKeeper,
    holdMs: 2_500,
    leadership: "stays",
  });

  round("a worker cut from the masters for a moment is taken back with all that runs there", {
    fault: network.workerFromMasters,
    holdMs: 1_000,
    withJob: true,
    leadership: "stays",
  });

  round(
    "a worker cut from the masters past its deadline is lost, what ran there runs elsewhere, and it comes back as a new incarnation",
    {
      fault: network.workerFromMasters,
      holdMs: PAST_DEADLINE_MS,
      leadership: "stays",
    },
  );

  round("a worker cut from masters and ZooKeeper obeys nobody and comes back", {
    fault: network.workerFromBoth,
    holdMs: PAST_DEADLINE_MS,
    leadership: "stays",
  });

  round("a worker cut from the other workers: jobs across the cut end right", {
    fault: network.workerFromWorkers,
    holdMs: 3_000,
    withJob: true,
    leadership: "stays",
  });
});
