/** I10, I11: what runs on a worker never takes more than the worker has, and nothing stays counted at the end. */
import type { Checker } from "./context.js";

export const checkResources: Checker = ({ cluster, violate }) => ({
  launched: ({ workerId, processId }) => {
    const slot = cluster.workers.find(({ name }) => name === workerId);
    if (slot === undefined) return;
    let cores = 0;
    for (const seen of slot.disk.living()) cores += seen.cores;
    if (cores > cluster.options.workerCores + 1e-9)
      violate("I11", `${processId} makes ${cores} cores on ${workerId}, which has ${cluster.options.workerCores}`);
  },
  finished: () => {
    for (const { name, disk } of cluster.workers) {
      const kept = disk.unforgotten();
      if (kept.length > 0) violate("I10", `${name} still keeps ${kept.join(", ")}, whose ends were never acknowledged`);
    }
  },
  workersRead: (workers) => {
    for (const worker of workers) {
      if (worker.cores.used > worker.cores.total)
        violate("I11", `${worker.id} has granted ${worker.cores.used} of ${worker.cores.total} cores`);
      if (worker.cores.used !== 0 || worker.memoryBytes.used !== 0)
        violate("I11", `nothing runs any more, and ${worker.cores.used} cores of ${worker.id} are still granted`);
    }
  },
});
