/**
 * Workers, by the registrar's rules (design.md 2; Mesos' registrar): durable first, then acted upon.
 *
 *   unknown --register--> alive --link closed--> suspect --register--> alive
 *                           |                       \--deadline, if the limits allow (removals.ts)--> lost (its processes count as gone)
 *                           \--drain--> draining, and the same from there (drain.ts)
 *                           \--leaving, left--> gone (leaving.ts); --its operator says so--> gone for ever (retirement.ts)
 *
 * `suspect` is the absence of a link, not a state of the record. A lost incarnation may not come back: it is told so, stops what it runs and
 * registers as the next one.
 */
import { isFinal, type WorkerRecord } from "../wire/application.js";
import { leaseMsFor } from "../wire/partition-lease.js";
import { MAX_MASTERS_TOLD } from "../wire/worker-messages.js";
import { delayNext } from "./attempts.js";
import { judgedAt } from "./away.js";
import { settleCancel } from "./cancellation.js";
import { processEnded } from "./ends.js";
import { emit, tell } from "./events.js";
import { endExecutor, isLive } from "./executors.js";
import { settleEnded } from "./forgetting.js";
import { reconcile } from "./inventory.js";
import { removeStateOfEnded } from "./kept-state.js";
import { rememberLost } from "./lost-workers.js";
import type { WorkerRegister, WorkerReport } from "./messages.js";
import { refreshCapacity, release, sendStop } from "./processes.js";
import { forgetRemoval } from "./removals.js";
import { enqueue } from "./scheduling.js";
import { changeWorker, type LinkState, log, type MasterState, type Step, touch, type Worker } from "./state.js";

export function newWorker(record: WorkerRecord): Worker {
  return {
    id: record.workerId,
    record,
    linkId: null,
    pid: 0,
    attached: false,
    leaving: false,
    attachedOnce: false,
    drained: false,
    drainLookAt: null,
    heardAt: 0,
    deadlineAt: null,
    processes: new Map(),
  };
}

export const isDown = (worker: Worker): boolean => worker.record.state === "lost" || worker.record.state === "gone";

export function registerWorker(state: MasterState, step: Step, link: LinkState, body: WorkerRegister): void {
  if (refuseHigherEpoch(state, step, link.id, `worker ${body.workerId}`, highestSeen(state, body))) return;
  const known = state.workers.get(body.workerId);
  if (known?.record.retired === true) {
    refuseWorker(state, step, link.id, known, "gone");
    return;
  }
  if (known !== undefined && incarnationIsOver(known, body.incarnation)) {
    refuseWorker(state, step, link.id, known, "incarnation-over", body.incarnation);
    return;
  }
  if (known !== undefined && body.incarnation > known.record.incarnation && !isDown(known))
    dropProcesses(state, step, known, "its worker started anew", step.now.instant);
  const worker = known ?? newWorker({ ...recordOf(body, step), state: "alive" });
  const isNew = known === undefined || body.incarnation > known.record.incarnation;
  if (worker.linkId !== null && worker.linkId !== link.id) {
    const old = state.links.get(worker.linkId);
    if (old !== undefined) old.workerId = null;
    step.turn.effects.push({
      kind: "close-link",
      linkId: worker.linkId,
      reason: "the worker has registered on another connection",
    });
  }
  const returns = !isNew && (worker.linkId === null || !worker.attached);
  state.workers.set(worker.id, worker);
  state.lost.delete(worker.id);
  state.unlinked.delete(worker.id);
  forgetRemoval(state, worker.id);
  if (isNew) {
    changeWorker(state, worker, { ...recordOf(body, step), state: "alive", drainUntil: null });
    worker.drained = false;
  } else if (differs(worker.record, body)) changeWorker(state, worker, { address: body.address, resources: body.resources });
  if (isNew || differs(worker.record, body) || returns) state.capacityVersion += 1;
  link.workerId = worker.id;
  worker.linkId = link.id;
  worker.pid = body.pid;
  worker.heardAt = step.now.instant;
  worker.deadlineAt = null;
  const { workerDeadlineMs: deadlineMs, programFenceMs, heartbeatMs } = state.settings;
  const settings = { deadlineMs, heartbeatMs, leaseMs: leaseMsFor(deadlineMs, programFenceMs) };
  step.turn.effects.push({
    kind: "send",
    linkId: link.id,
    message: "worker.registered",
    body: { clusterId: state.self.clusterId, ...settings },
  });
  worker.attached = true;
  worker.attachedOnce = true;
  worker.leaving = false;
  const count = reconcile(state, step, worker, body.inventory);
  refreshCapacity(state, worker);
  state.recovery.workers.delete(worker.id);
  if (worker.record.state === "draining") {
    worker.drainLookAt = step.now.instant;
    state.deadlines.add(step.now.instant, { kind: "drain", id: worker.id });
  }
  const runs = count === 0 ? "" : ` and runs ${count} ${count === 1 ? "process" : "processes"}`;
  if (isNew)
    tell(state, step, "worker.registered", worker.id, `Worker ${worker.id} registered: ${body.resources.cores} cores${runs}.`);
  else if (returns) tell(state, step, "worker.returned", worker.id, `Worker ${worker.id} re-attached${runs}.`);
}

/** It is told to shut down: to go on as the next incarnation, or never to come back. */
export function refuseWorker(
  state: MasterState,
  step: Step,
  linkId: number,
  worker: Worker,
  reason: "incarnation-over" | "gone",
  incarnation = worker.record.incarnation,
): void {
  const message =
    reason === "gone"
      ? `worker ${worker.id} was declared gone for good by its operator: stop its processes and end`
      : `incarnation ${incarnation} of worker ${worker.id} was declared ${worker.record.state}: stop its processes and register as the next one`;
  step.turn.effects.push({ kind: "send", linkId, message: "worker.refused", body: { reason, message } });
  log(state, step, "warn", `Worker ${worker.id} was refused: ${message}.`, { worker: worker.id, incarnation });
}

const incarnationIsOver = (known: Worker, incarnation: number): boolean =>
  incarnation < known.record.incarnation || (incarnation === known.record.incarnation && isDown(known));

const recordOf = (body: WorkerRegister, step: Step): Omit<WorkerRecord, "state"> => ({
  workerId: body.workerId,
  incarnation: body.incarnation,
  address: body.address,
  resources: body.resources,
  changedAt: step.now.wall,
});

const differs = (record: WorkerRecord, body: WorkerRegister): boolean =>
  record.address !== body.address ||
  record.resources.cores !== body.resources.cores ||
  record.resources.memoryBytes !== body.resources.memoryBytes;

/**
 * The highest epoch that the worker tells of: as a number, or by an application of this epoch or a later one that this leader never made
 * (two masters of recovery mode `none` that started with the same epoch).
 */
function highestSeen(state: MasterState, body: WorkerRegister): number {
  let seen = body.highestEpoch;
  if (state.mode !== "none") return seen;
  for (const { application } of body.inventory) {
    if (application === null) continue;
    if (state.applications.has(application.id)) continue;
    const minted = Number(application.id.split("-")[1]);
    if (minted >= state.self.epoch) seen = Math.max(seen, minted, state.self.epoch + 1);
  }
  return seen;
}

/** Somebody has followed a later leader: this one must not give orders until its epoch is above. True when refused. */
export function refuseHigherEpoch(state: MasterState, step: Step, linkId: number, who: string, seen: number): boolean {
  if (seen <= state.self.epoch) return false;
  log(state, step, "warn", `The ${who} has seen epoch ${seen}, above this leader's epoch ${state.self.epoch}.`, { seen });
  step.turn.effects.push({ kind: "close-link", linkId, reason: "this leader's epoch is too low" }, { kind: "epoch-too-low", seen });
  return true;
}

/** It is heard, and not given up: what must not run twice may go on there. Answered after the turn's commit, like everything. */
export function renewWorker(state: MasterState, step: Step, link: LinkState, sequence: number): void {
  const worker = link.workerId === null ? undefined : state.workers.get(link.workerId);
  if (worker === undefined || worker.linkId !== link.id || isDown(worker)) return;
  worker.heardAt = step.now.instant;
  const masters = [state.self.address, ...state.standbys.map(({ address }) => address)].slice(0, MAX_MASTERS_TOLD);
  step.turn.effects.push({ kind: "send", linkId: link.id, message: "worker.renewed", body: { sequence, masters } });
}

export function workerReport(state: MasterState, step: Step, link: LinkState, report: WorkerReport): void {
  const worker = link.workerId === null ? undefined : state.workers.get(link.workerId);
  if (worker === undefined) return;
  const { processId } = report;
  worker.heardAt = step.now.instant;
  if (report.end !== null || report.launchFailed !== null) {
    if (state.quarantine.hasProcess(processId)) return;
    const end = report.end ?? { exitCode: null, signal: null, reason: report.launchFailed };
    processEnded(state, step, worker, processId, end, report.launchFailed);
    step.turn.effects.push({ kind: "send", linkId: link.id, message: "worker.acknowledge", body: { processIds: [processId] } });
    return;
  }
  const process = worker.processes.get(processId);
  if (process === undefined) {
    if (!state.quarantine.hasProcess(processId))
      sendStop(step, worker, processId, "nobody waits for it any more", state.settings.stopGraceMs);
    return;
  }
  process.phase = "running";
  const app = state.applications.get(process.applicationId);
  if (app === undefined) return;
  if (app.driver?.processId === processId) {
    app.driver.pid = report.pid > 0 ? report.pid : app.driver.pid;
    app.driver.seen = true;
    touch(state, app);
  }
  const executor = app.executors.get(processId);
  if (executor !== undefined && isLive(executor)) {
    executor.state = "running";
    executor.pid = report.pid > 0 ? report.pid : executor.pid;
    touch(state, app);
    state.marked.views.add(app);
  }
}

export function workerLinkClosed(state: MasterState, step: Step, worker: Worker, heardAt: number): void {
  worker.linkId = null;
  state.unlinked.add(worker.id);
  worker.heardAt = heardAt;
  worker.deadlineAt = Math.max(step.now.instant, judgedAt(state, heardAt, state.settings.workerDeadlineMs));
  state.deadlines.add(worker.deadlineAt, { kind: "worker", id: worker.id });
  refreshCapacity(state, worker);
  emit(state, step, "worker.suspect", worker.id, `The connection of worker ${worker.id} ended.`);
  log(
    state,
    step,
    "info",
    `The connection of worker ${worker.id} ended; it is lost unless it returns within ${state.settings.workerDeadlineMs} ms.`,
    { worker: worker.id },
  );
}

/** Past its deadline, and the limits allow it (removals.ts). */
export function loseWorker(state: MasterState, step: Step, worker: Worker): void {
  worker.attached = false;
  state.unlinked.delete(worker.id);
  changeWorker(state, worker, { state: "lost", drainUntil: null, changedAt: step.now.wall });
  state.capacityVersion += 1;
  state.passWanted = true;
  refreshCapacity(state, worker);
  rememberLost(state, worker.id);
  state.recovery.workers.delete(worker.id);
  const count = worker.processes.size;
  tell(
    state,
    step,
    "worker.lost",
    worker.id,
    `Worker ${worker.id} is lost: nothing heard for ${state.settings.workerDeadlineMs} ms; ${count} ${count === 1 ? "process" : "processes"} on it ${count === 1 ? "is" : "are"} given up.`,
  );
  // A leader that was deposed without knowing it may have confirmed the leases of a worker that never came to this one.
  const deposedMs = worker.attachedOnce ? 0 : state.settings.deposedWithinMs;
  dropProcesses(state, step, worker, "its worker is lost", step.now.instant + state.settings.programFenceMs + deposedMs);
}

/** All that was counted on this incarnation is gone: executors at once, drivers and programs one after the other (each is a record). */
export function dropProcesses(state: MasterState, step: Step, worker: Worker, why: string, mayRunUntil: number): void {
  for (const process of [...worker.processes.values()]) {
    release(state, worker, process.processId);
    const app = state.applications.get(process.applicationId);
    if (app === undefined) continue;
    // It may have been the last one of an application that has ended: nobody reports the end of what went with its worker.
    removeStateOfEnded(step, app);
    if (process.role === "executor") {
      if (isFinal(app.record.state)) settleEnded(state, step, app);
      if (process.attempt !== app.record.attempt && !app.executors.has(process.processId)) continue;
      endExecutor(state, step, app, process.processId, "lost", why);
      enqueue(state, app);
      settleCancel(state, step, app);
    } else {
      const lost = { kind: "driver-worker-lost", applicationId: app.id, attempt: process.attempt, workerId: worker.id } as const;
      state.backlog.push({ ...lost, mayRunUntil });
      delayNext(state, app, mayRunUntil);
    }
  }
}
