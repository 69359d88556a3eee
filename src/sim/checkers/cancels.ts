/**
 * I9 nothing of a cancelled application lives 10 s later on any machine that can be reached. Time counts while nothing is disturbed: from the last
 * fault that touched masters, wires or that machine, or from its end.
 */
import type { LaunchedSeen } from "../observe.js";
import { type Checker, keepsRecords } from "./context.js";

const LIMIT_MS = 10_000;
/** After a disturbance workers have to find the leader, and it has to recover, before a cancel can go on. */
const RECOVERY_MS = 40_000;
const LOOK_EVERY_MS = 1_000;

export const checkCancels: Checker = (context) => {
  const { violate, cluster, history } = context;
  const cancelledAt = new Map<string, number>();
  const living = new Map<string, Set<LaunchedSeen>>();
  let disturbedAt = 0;
  let lookedAt = 0;
  let frozenWorkers: ReadonlySet<string> = new Set();
  const disturbed = () => {
    disturbedAt = cluster.world.now();
  };
  return {
    fault: disturbed,
    faultEnded: disturbed,
    calm: (frozen) => {
      frozenWorkers = new Set(frozen.map((subject) => subject.split(" ")[0] ?? ""));
      disturbed();
    },
    thawed: () => {
      frozenWorkers = new Set();
      disturbed();
    },
    // Without recovery a restarted master knows nothing of it.
    storeReset: () => cancelledAt.clear(),
    masterState: disturbed,
    client: (_process, seen) => {
      if (seen.kind === "cancelled" && !cancelledAt.has(seen.id)) cancelledAt.set(seen.id, cluster.world.now());
    },
    launched: (seen) => {
      const set = living.get(seen.applicationId) ?? new Set();
      living.set(seen.applicationId, set);
      set.add(seen);
    },
    processEnded: (seen) => void living.get(seen.applicationId)?.delete(seen),
    stepped: () => {
      const now = cluster.world.now();
      if (now < lookedAt + LOOK_EVERY_MS) return;
      lookedAt = now;
      for (const [id, at] of cancelledAt) {
        const left = [...(living.get(id) ?? [])].filter(({ workerId }) => !frozenWorkers.has(workerId));
        if (left.length === 0) continue;
        const record = history.applications.get(id);
        // A decided output is finished first.
        if (record?.commit != null || (record === undefined && !keepsRecords(context))) continue;
        const since = disturbedAt === 0 || at > disturbedAt + RECOVERY_MS ? at + LIMIT_MS : Math.max(at, disturbedAt) + RECOVERY_MS;
        if (now <= since) continue;
        violate("I9", `${left.map(({ processId }) => processId).join(", ")} still run, cancelled ${Math.round(now - at)} ms ago`);
      }
    },
  };
};
