/** Who leads, and what this worker is to it: registration, epochs, incarnations. */
import { UNRECORDED_CLUSTER_ID } from "../wire/handshake.js";
import { sayLeaving } from "./worker-closing.js";
import { leaseRegistered } from "./worker-lease.js";
import { abandonAll, hasAbandoned, inventoryOf, report } from "./worker-processes.js";
import { changeIdentity, liveCount, log, send, type WorkerState, type WorkerStep } from "./worker-state.js";

/** Once a connection, as soon as nothing of an earlier incarnation lives. */
export function registerWhenDue(worker: WorkerState, step: WorkerStep): void {
  const { now } = step;
  if (worker.registerAt !== null && worker.registerAt <= now.instant) {
    worker.registerAt = null;
    if (worker.link !== null) worker.link.state = "new";
  }
  if (worker.link?.state !== "new" || worker.registerAt !== null || worker.goneReason !== null) return;
  // One that is stopped goes on telling of the ends of its processes, to the next master if need be.
  if (worker.closing !== null && (worker.closing.leave || worker.closing.done)) return;
  if (hasAbandoned(worker)) return;
  worker.link.state = "asked";
  worker.link.askedAt = now.instant;
  const { address, pid, resources } = worker.options;
  const { workerId, incarnation, highestEpoch } = worker.identity;
  const inventory = inventoryOf(worker);
  send(worker, step, {
    kind: "worker.register",
    body: { workerId, incarnation, highestEpoch, address, pid, resources, inventory },
  });
}

/** Orders of an epoch below the highest one seen are refused, and the connection they came over is ended (I6). */
export function admits(worker: WorkerState, step: WorkerStep, epoch: number): boolean {
  const { highestEpoch } = worker.identity;
  if (epoch < highestEpoch) {
    log(step, "warn", `An order of epoch ${epoch} was refused: epoch ${highestEpoch} leads.`, { epoch });
    if (worker.link !== null)
      step.turn.effects.push({ kind: "close-link", linkId: worker.link.id, reason: `its epoch ${epoch} is over` });
    worker.link = null;
    return false;
  }
  if (epoch > highestEpoch) changeIdentity(worker, step, { highestEpoch: epoch });
  return true;
}

export function registered(
  worker: WorkerState,
  step: WorkerStep,
  body: { readonly clusterId: string; readonly deadlineMs: number; readonly leaseMs: number },
): void {
  const { clusterId, deadlineMs, leaseMs } = body;
  if (clusterId !== UNRECORDED_CLUSTER_ID && clusterId !== worker.identity.clusterId) changeIdentity(worker, step, { clusterId });
  if (worker.link === null) return;
  worker.masterDeadlineMs = deadlineMs;
  worker.livelyAt = Math.min(worker.livelyAt ?? Number.POSITIVE_INFINITY, step.now.instant);
  worker.link.state = "registered";
  const { workerId, incarnation, highestEpoch: epoch } = worker.identity;
  log(step, "info", `Worker ${workerId} is registered with the master of epoch ${epoch}.`, {
    incarnation,
    epoch,
    processes: liveCount(worker),
  });
  leaseRegistered(worker, step, leaseMs, worker.link.askedAt);
  sayLeaving(worker, step);
  for (const entry of worker.processes.values()) report(worker, step, entry);
}

export function refused(
  worker: WorkerState,
  step: WorkerStep,
  { reason, message }: { readonly reason: "incarnation-over" | "gone" | "recovering"; readonly message: string },
): void {
  if (reason === "recovering") {
    worker.registerAt = step.now.instant + worker.limits.registerAgainMs;
    return;
  }
  if (reason === "gone") {
    if (worker.goneReason !== null) return;
    worker.goneReason = message;
    log(step, "warn", "This worker was declared gone for good: it stops its processes and ends.", { reason: message });
  } else {
    const incarnation = worker.identity.incarnation + 1;
    changeIdentity(worker, step, { incarnation });
    if (worker.link !== null) worker.link.state = "new";
    const text = `This worker was declared lost: it stops its processes and registers as incarnation ${incarnation}.`;
    log(step, "warn", text, { reason: message });
  }
  abandonAll(worker, step);
}

/** The operator's word about this worker is carried out: nothing of it lives, and it may never register again. */
export function endWhenGone(worker: WorkerState, step: WorkerStep): void {
  if (worker.goneReason === null || worker.closing !== null || liveCount(worker) > 0) return;
  worker.closing = { deadline: step.now.instant, leave: true, done: true };
  step.turn.effects.push({ kind: "gone", reason: worker.goneReason });
}
