/**
 * The worker's core: registers with all it has, obeys the leading master, keeps what runs running, reports what ends until that is durable.
 *
 *   process:  launching -> running -> ended -> (acknowledged) forgotten
 *             launching -> ended "could not be started"
 *
 * Boundary: processes are the launcher's, connections the host's. Everything durable about processes lies beside their logs (worker-notes.ts), so
 * a worker that starts again begins with the same core state: the folders are its outbox.
 * Invariants:
 *   1. Orders of an epoch below the highest one seen are refused, and the connection they came over is ended (I6). The epoch is durable before
 *      its first order is carried out.
 *   2. An order names a process id and may be repeated: what runs or has ended is not launched again, its report is repeated.
 *   3. An end is kept until the master has it durable. Nothing is stopped because no master runs, however long; what must not run twice is stopped
 *      when this worker is cut off from one that may run (worker-lease.ts).
 *   4. A worker that is stopped says so before it stops its processes, and says when none is left and all ends were acknowledged.
 *   5. An incarnation that is over stops all its processes, and the next one, durable by then, registers only when none of them lives. A worker
 *      that is gone for good stops them and ends.
 */
import { unreachable } from "../base/assert.js";
import type { Core, Now, Turn } from "../base/core.js";
import { close, settleClosing } from "./worker-closing.js";
import type { FromMaster, WorkerEffect, WorkerEvent, WorkerIdentity } from "./worker-events.js";
import { hasLeased, leaseRenewed, leaveWhenAway, nextLeaseAt, nobodyLeads, settleLeases } from "./worker-lease.js";
import { acknowledged, adopt, ended, launch, launched, launchFailed, stopOrdered } from "./worker-processes.js";
import { admits, endWhenGone, refused, registered, registerWhenDue } from "./worker-registration.js";
import { createWorkerState, liveCount, log, type WorkerCoreOptions, type WorkerState, type WorkerStep } from "./worker-state.js";

export { IDENTITY_KEY, type WorkerCoreOptions } from "./worker-state.js";

export interface WorkerCore extends Core<WorkerEvent, WorkerEffect> {
  readonly identity: WorkerIdentity;
  /** Whether the process is being launched or runs. */
  isLive(processId: string): boolean;
  /** Something lives here that ends unless a leader confirms this worker, or all masters say that nobody leads. */
  hasLeased(): boolean;
}

export function createWorkerCore(options: WorkerCoreOptions): WorkerCore {
  const worker = createWorkerState(options);
  return {
    get identity() {
      return worker.identity;
    },
    isLive: (processId) => {
      const entry = worker.processes.get(processId);
      return entry !== undefined && entry.phase !== "ended";
    },
    hasLeased: () => hasLeased(worker),
    nextWakeAt: () => nextWakeAt(worker),
    step: (event: WorkerEvent, now: Now, turn: Turn<WorkerEffect>) => {
      const step: WorkerStep = { now, turn };
      leaveWhenAway(worker, step);
      take(worker, step, event);
      // What is due or has become possible, whatever the event was.
      settleLeases(worker, step);
      registerWhenDue(worker, step);
      settleClosing(worker, step);
      endWhenGone(worker, step);
    },
  };
}

function nextWakeAt(worker: WorkerState): number | null {
  const closingAt = worker.closing?.done === false ? worker.closing.deadline : Number.POSITIVE_INFINITY;
  const at = Math.min(nextLeaseAt(worker), worker.registerAt ?? Number.POSITIVE_INFINITY, closingAt);
  return at === Number.POSITIVE_INFINITY ? null : at;
}

function take(worker: WorkerState, step: WorkerStep, event: WorkerEvent): void {
  switch (event.kind) {
    case "inventory":
      adopt(worker, step, event.processes);
      return;
    case "link-up":
      worker.link = { id: event.linkId, state: "new", askedAt: step.now.instant, tellsApplications: event.tellsApplications };
      return;
    case "link-down":
      linkDown(worker, step, event.linkId, event.reason);
      return;
    case "nobody-leads":
      nobodyLeads(worker, step, event.since);
      return;
    case "message":
      if (worker.link?.id === event.linkId && admits(worker, step, event.epoch)) hear(worker, step, event.message);
      return;
    case "launched":
      launched(worker, step, event.processId, event.pid);
      return;
    case "launch-failed":
      launchFailed(worker, step, event.processId, event.reason);
      return;
    case "ended":
      ended(worker, step, event.processId, event.end);
      return;
    case "close":
      close(worker, step, event.leave);
      return;
    case "wake-up":
      return;
    default:
      unreachable(event, "event");
  }
}

function linkDown(worker: WorkerState, step: WorkerStep, linkId: number, reason: string): void {
  if (worker.link?.id !== linkId) return;
  worker.link = null;
  worker.registerAt = null;
  if (worker.closing === null)
    log(step, "info", `The connection to the master ended (${reason}); its processes run on.`, { processes: liveCount(worker) });
}

function hear(worker: WorkerState, step: WorkerStep, message: FromMaster): void {
  switch (message.kind) {
    case "worker.registered":
      registered(worker, step, message.body);
      return;
    case "worker.refused":
      refused(worker, step, message.body);
      return;
    case "worker.renewed":
      leaseRenewed(worker, step, message.body.sequence);
      return;
    case "worker.launch":
      launch(worker, step, message.body);
      return;
    case "worker.stop":
      stopOrdered(worker, step, message.body);
      return;
    case "worker.acknowledge":
      for (const processId of message.body.processIds) acknowledged(worker, step, processId);
      return;
    default:
      unreachable(message, "message");
  }
}
