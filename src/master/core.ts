/**
 * The master's core: one `step` per event, in the order drawn here.
 *
 *   event -> its noun -> work cut off earlier -> recovery complete? -> placement -> records of all that changed -> who waited for it
 *
 * Invariants: pure and synchronous (base/core.ts); the records of a step are written before its effects are carried out, because both are in
 * one turn; a step makes a bounded number of durable changes.
 */
import { unreachable } from "../base/assert.js";
import type { Core, Now, Turn } from "../base/core.js";
import { type CommitManifest, type FailureNotes, isFinal, onPartitionOf } from "../wire/application.js";
import type { CheckpointAnswer, FailedCheckpoint } from "../wire/checkpoint.js";
import type { driverToMaster } from "../wire/driver-messages.js";
import type { OperationInput } from "../wire/operations.js";
import type { Progress } from "../wire/progress.js";
import {
  applicationKey,
  encodeApplicationRecord,
  encodeRemovalsRecord,
  encodeWorkerRecord,
  REMOVALS_KEY,
  workerKey,
} from "../wire/records.js";
import { noticeAway, pulse } from "./away.js";
import { bundleIdle, removeReleased } from "./bundles.js";
import { cancelDeadline, carryOutCancel } from "./cancellation.js";
import { checkpointFailed, checkpointsAnswered } from "./checkpoint-requests.js";
import { driverCheckpoint } from "./checkpoints.js";
import { drainDeadline, moveOff } from "./drain.js";
import {
  driverCommit,
  driverDeadline,
  driverExecutors,
  driverFinished,
  driverLinkClosed,
  jobRestored,
  jobTakenOver,
  registerDriver,
} from "./drivers.js";
import type { MasterEffect, MasterEvent } from "./effects.js";
import { EventHistory } from "./event-history.js";
import { endWait, flushEvents, writeEvents } from "./events.js";
import { flushViews, viewDeadline } from "./executors.js";
import { forgetIfClean, settleEnded, stateRemoved } from "./forgetting.js";
import { workerLeaving, workerLeft } from "./leaving.js";
import { cleanUpDeadline, lostAfterEnd } from "./leftovers.js";
import { sweepLost } from "./lost-workers.js";
import type {
  DriverCheckpoint,
  DriverExecutors,
  DriverFinished,
  DriverRegister,
  DriverRestored,
  DriverTookOver,
  WorkerRegister,
  WorkerReport,
} from "./messages.js";
import { flushStatus, isOperation, operate, waiterDeadline } from "./operations.js";
import { stop } from "./processes.js";
import { Quarantine, type Quarantined } from "./quarantine.js";
import { completeIfDone, elected, load, type Records, recoveryDeadline } from "./recovery.js";
import { removeOverdue, workerOverdue } from "./removals.js";
import { scheduleIfWanted } from "./scheduling.js";
import { MAX_STEP_CHANGES, type MasterSettings } from "./settings.js";
import {
  type Backlog,
  changeApplication,
  createState,
  type DeadlineKind,
  type Identity,
  type LinkState,
  type MasterState,
  type RecoveryMode,
  replyError,
  type Step,
  shape,
  touch,
} from "./state.js";
import { endAttempt } from "./supervision.js";
import { registerWorker, renewWorker, workerLinkClosed, workerReport } from "./workers.js";

export interface MasterCoreOptions extends Identity {
  readonly mode: RecoveryMode;
  readonly settings: MasterSettings;
  /** Pure: the same text gives the same hash (sha-256 in hex). */
  readonly contentHash: (canonicalSpec: string) => string;
  readonly records: Records;
  /** Records that could not be decoded: shown, and never written. */
  readonly quarantined: readonly Quarantined[];
}

export type MasterCore = Core<MasterEvent, MasterEffect>;

/** Its first event is `elected`. */
export function createMasterCore(options: MasterCoreOptions): MasterCore {
  const { epoch, masterId, clusterId, address, pid, build, mode, settings, contentHash } = options;
  const quarantine = new Quarantine(options.quarantined);
  const history = new EventHistory({
    maxEvents: settings.maxEvents,
    recorded: mode === "store",
    stored: options.records.events ?? [],
  });
  const self = { epoch, masterId, clusterId, address, pid, build };
  const state = createState({ self, mode, settings, contentHash, quarantine, history });
  load(state, options.records);
  return {
    step(event: MasterEvent, now: Now, turn: Turn<MasterEffect>): void {
      const step: Step = { now, turn };
      noticeAway(state, step);
      take(state, step, event);
      dueDeadlines(state, step);
      removeOverdue(state, step);
      workOff(state, step);
      completeIfDone(state, step);
      scheduleIfWanted(state, step);
      waitForRoom(state);
      removeReleased(state, step);
      writeMarked(state, step);
      writeEvents(state, step);
      flushViews(state, step);
      flushStatus(state, step);
      flushEvents(state, step);
    },
    nextWakeAt: () => state.deadlines.earliest(),
  };
}

function take(state: MasterState, step: Step, event: MasterEvent): void {
  switch (event.kind) {
    case "elected":
      elected(state, step);
      return;
    case "opened":
      state.links.set(event.linkId, {
        id: event.linkId,
        role: event.role,
        peerId: event.peerId,
        scope: event.scope,
        workerId: null,
        driver: null,
        waiters: new Set(),
      });
      return;
    case "closed":
      linkClosed(state, step, event.linkId, event.heardAt);
      return;
    case "message":
      message(state, step, event);
      return;
    case "state-removed":
      stateRemoved(state, step, event.applicationId, event.error);
      return;
    case "bundle-idle":
      bundleIdle(state, step, event.bundle);
      return;
    case "standbys":
      state.standbys = event.masters;
      return;
    case "wake-up":
      return;
    default:
      unreachable(event, "event");
      return;
  }
}

function linkClosed(state: MasterState, step: Step, linkId: number, heardAt: number): void {
  const link = state.links.get(linkId);
  if (link === undefined) return;
  for (const waiter of [...link.waiters]) endWait(state, waiter);
  state.links.delete(linkId);
  const worker = link.workerId === null ? undefined : state.workers.get(link.workerId);
  if (worker?.linkId === linkId) workerLinkClosed(state, step, worker, heardAt);
  const app = link.driver === null ? undefined : state.applications.get(link.driver.applicationId);
  if (app?.driver?.linkId === linkId) driverLinkClosed(state, step, app, app.driver, heardAt);
}

function message(state: MasterState, step: Step, event: MasterEvent & { readonly kind: "message" }): void {
  const { message: kind, body, requestId } = event;
  const job = kind === "submit" ? (body as OperationInput<"submit">).spec.job : null;
  if (job !== null) step.turn.effects.push({ kind: "submission-taken", sha256: job.artifact });
  const link = state.links.get(event.linkId);
  if (link === undefined) return;
  switch (kind) {
    case "worker.register":
      if (link.role === "worker" && link.scope === "cluster") registerWorker(state, step, link, body as WorkerRegister);
      return;
    case "worker.report":
      workerReport(state, step, link, body as WorkerReport);
      return;
    case "worker.renew":
      renewWorker(state, step, link, (body as { readonly sequence: number }).sequence);
      return;
    case "worker.leaving":
      workerLeaving(state, step, link);
      return;
    case "worker.left":
      workerLeft(state, step, link);
      return;
    case "driver.register":
      registerDriver(state, step, link, requestId, body as DriverRegister);
      return;
    case "driver.executors":
    case "driver.progress":
    case "driver.failures":
    case "driver.restored":
    case "driver.took-over":
    case "driver.checkpoint-failed":
    case "driver.checkpoint-answers":
    case "driver.commit":
    case "driver.checkpoint":
    case "driver.finished":
      driverMessage(state, step, link, kind, body, requestId);
      return;
    default:
      if (!isOperation(kind) || requestId === null) return;
      if (link.scope !== "cluster") {
        replyError(step, link.id, requestId, shape("FORBIDDEN", `an application's own connection may not ask for ${kind}`));
        return;
      }
      operate(state, step, link.id, requestId, kind, body);
      return;
  }
}

type DriverKind = Exclude<keyof typeof driverToMaster, "driver.register">;

function driverMessage(
  state: MasterState,
  step: Step,
  link: LinkState,
  kind: DriverKind,
  body: unknown,
  requestId: number | null,
): void {
  const app = link.driver === null ? undefined : state.applications.get(link.driver.applicationId);
  const driver = app?.driver;
  if (app === undefined || driver == null || driver.linkId !== link.id || isFinal(app.record.state)) {
    // The last answer may have been lost on the way: to the attempt whose word was taken it is given again.
    const repeated = kind === "driver.finished" && driver?.linkId === link.id && driver.finished;
    if (repeated && requestId !== null) step.turn.effects.push({ kind: "reply", linkId: link.id, requestId, body: {} });
    else replyError(step, link.id, requestId, shape("SUPERSEDED", "this driver's attempt is over"));
    return;
  }
  switch (kind) {
    case "driver.executors":
      driverExecutors(state, step, app, body as DriverExecutors);
      return;
    case "driver.progress":
      app.progress = body as Progress;
      touch(state, app);
      return;
    case "driver.failures":
      changeApplication(state, app, { failures: body as FailureNotes });
      return;
    case "driver.restored":
      jobRestored(state, step, app, body as DriverRestored);
      return;
    case "driver.took-over":
      jobTakenOver(state, step, app, body as DriverTookOver);
      return;
    case "driver.checkpoint-failed":
      checkpointFailed(state, app, body as FailedCheckpoint);
      return;
    case "driver.checkpoint-answers":
      checkpointsAnswered(state, step, app, (body as { readonly answers: readonly CheckpointAnswer[] }).answers);
      return;
    case "driver.commit":
      if (requestId !== null) driverCommit(state, step, app, driver, link, requestId, body as CommitManifest);
      return;
    case "driver.checkpoint":
      if (requestId !== null) driverCheckpoint(state, step, app, driver, link, requestId, body as DriverCheckpoint);
      return;
    case "driver.finished":
      if (requestId !== null) driverFinished(state, step, app, driver, link, requestId, body as DriverFinished);
      return;
    default:
      unreachable(kind, "message of a driver");
      return;
  }
}

function dueDeadlines(state: MasterState, step: Step): void {
  for (;;) {
    if (state.marked.applications.size + state.marked.workers.size >= MAX_STEP_CHANGES) return;
    const due = state.deadlines.takeDue(step.now.instant);
    if (due === null) return;
    deadline(state, step, due.what);
  }
}

function deadline(state: MasterState, step: Step, what: DeadlineKind): void {
  switch (what.kind) {
    case "worker": {
      const worker = state.workers.get(what.id);
      if (worker !== undefined) workerOverdue(state, step, worker);
      return;
    }
    case "drain": {
      const worker = state.workers.get(what.id);
      if (worker !== undefined) drainDeadline(state, step, worker);
      return;
    }
    case "sweep":
      sweepLost(state, step);
      return;
    case "removals":
      return;
    case "pulse":
      pulse(state, step);
      return;
    case "driver":
    case "cancel":
    case "view":
    case "clean-up":
    case "forget":
    case "ready": {
      const app = state.applications.get(what.id);
      if (app === undefined) return;
      if (what.kind === "driver") driverDeadline(state, step, app, what.attempt);
      else if (what.kind === "cancel") cancelDeadline(state, step, app);
      else if (what.kind === "view") viewDeadline(state, step, app);
      else if (what.kind === "clean-up") cleanUpDeadline(state, step, app, what.processId);
      else if (what.kind === "forget") forgetIfClean(state, step, app);
      else state.passWanted = true;
      return;
    }
    case "linger": {
      const worker = state.workers.get(what.workerId);
      const process = worker?.processes.get(what.processId);
      if (worker !== undefined && process !== undefined)
        stop(state, step, worker, process, "its application is over", state.settings.stopGraceMs);
      return;
    }
    case "waiter":
      waiterDeadline(state, step, what.waiter);
      return;
    case "recovery":
      recoveryDeadline(state, step);
      return;
    case "events":
      state.events.isDue = true;
      return;
    case "pass":
      state.passDueAt = null;
      return;
    default:
      unreachable(what, "deadline");
      return;
  }
}

/** Continues work of which each piece is a durable change, as far as this step may go. */
function workOff(state: MasterState, step: Step): void {
  let done = 0;
  for (const work of state.backlog) {
    if (state.marked.applications.size >= MAX_STEP_CHANGES) break;
    done += 1;
    carryOn(state, step, work);
  }
  state.backlog = state.backlog.slice(done);
  if (state.backlog.length > 0) state.deadlines.add(step.now.instant, { kind: "pass" });
}

function carryOn(state: MasterState, step: Step, work: Backlog): void {
  const app = state.applications.get(work.applicationId);
  if (app === undefined) return;
  if (work.kind === "cancel") {
    carryOutCancel(state, step, app);
    return;
  }
  const worker = state.workers.get(work.workerId);
  if (work.kind === "move-off") {
    if (worker !== undefined) moveOff(state, step, app, work.attempt, worker, work.isForced);
    return;
  }
  const { driver, record } = app;
  if (isFinal(record.state)) {
    lostAfterEnd(state, step, app, work.attempt);
    settleEnded(state, step, app);
    return;
  }
  if (driver?.attempt !== work.attempt || driver.workerId !== work.workerId) return;
  const isGone = worker?.record.state === "gone";
  const reason = shape(
    "WORKER_LOST",
    `worker ${work.workerId}, on which attempt ${work.attempt} ran, ${isGone ? "was stopped" : "is lost"}`,
  );
  // What stops with its worker's lease has ended by then: never two at once (I12). What runs on does not delay the next one.
  const waitMs = onPartitionOf(record.spec) === "stop" ? Math.max(0, work.mayRunUntil - step.now.instant) : 0;
  endAttempt(state, step, app, { reason, exitCode: null, fault: "cluster", mayRestart: record.spec.supervise, waitMs });
}

/** What was accepted in this step and not placed by its pass waits, whether a pass looks at it soon or not. */
function waitForRoom(state: MasterState): void {
  for (const app of state.marked.applications) {
    const { record } = app;
    if (record.state === "submitted" && record.spec.deployMode === "cluster" && !record.cancelRequested)
      changeApplication(state, app, { state: "waiting" });
  }
}

function writeMarked(state: MasterState, step: Step): void {
  const { marked } = state;
  const write = (key: string, value: Uint8Array | null) => {
    if (!state.quarantine.has(key)) step.turn.writes.push({ key, value });
  };
  // The operator's word comes before what it allows: a turn may be cut.
  if (marked.removals !== null) write(REMOVALS_KEY, encodeRemovalsRecord(marked.removals));
  for (const worker of marked.workers) write(workerKey(worker.id), encodeWorkerRecord(worker.record));
  for (const app of marked.applications) write(applicationKey(app.id), encodeApplicationRecord(app.record));
  for (const key of marked.deleted) write(key, null);
  marked.workers.clear();
  marked.removals = null;
  marked.applications.clear();
  marked.deleted.clear();
}
