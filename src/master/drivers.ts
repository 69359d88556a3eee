/**
 * Drivers of jobs: each has a connection of its own, by which the master judges it.
 *
 * Invariants:
 *   1. Only the current attempt of an application that has not ended is listened to; any other gets SUPERSEDED (I7).
 *   2. `commit` and `finished` are answered after they are durable; repeating them gives the same answer.
 *   3. A driver whose connection ended has `driverDeadlineMs` to come back; when its worker reports its end that is decisive at once.
 */
import { canonicalJson, type JsonValue } from "../base/json.js";
import { type CommitManifest, isFinal, MAX_RESULT_BYTES } from "../wire/application.js";
import { encodeApplicationRecord } from "../wire/records.js";
import { finishApplication } from "./applications.js";
import { judgedAt } from "./away.js";
import { carryOutCancel, requestCancel, settleCancel } from "./cancellation.js";
import { tellAnswer, withAnswers } from "./checkpoint-requests.js";
import { tell } from "./events.js";
import {
  expectExecutor,
  formerExecutors,
  givenBack,
  isLive,
  orderExecutors,
  showExecutors,
  stayingExecutors,
  tellFormer,
} from "./executors.js";
import type { DriverExecutors, DriverFinished, DriverRegister, DriverRestored, DriverTookOver } from "./messages.js";
import { parkApplication } from "./parking.js";
import { release, stop, stopProcesses } from "./processes.js";
import { adoptRecord } from "./rebuild.js";
import { waitsForRemoval } from "./removals.js";
import { enqueue } from "./scheduling.js";
import {
  type Application,
  changeApplication,
  type DriverRun,
  type LinkState,
  log,
  type MasterState,
  replyError,
  type Step,
  shape,
  touch,
} from "./state.js";
import { endAttempt, lingerDriver } from "./supervision.js";
import { refuseHigherEpoch } from "./workers.js";

/** Ids of given-back executors that are remembered, so that a late report of one is answered with a stop. */
const MAX_RELEASED = 10_000;

export function registerDriver(
  state: MasterState,
  step: Step,
  link: LinkState,
  requestId: number | null,
  body: DriverRegister,
): void {
  const { applicationId, attempt } = body;
  const refuse = (
    code: "SUPERSEDED" | "FORBIDDEN" | "RECORD_QUARANTINED",
    message: string,
    details?: Readonly<Record<string, unknown>>,
  ) => replyError(step, link.id, requestId, { ...shape(code, message), ...(details === undefined ? {} : { details }) });
  if (link.scope !== "cluster" && link.scope !== `application/${applicationId}`) {
    refuse("FORBIDDEN", `this connection may not speak for ${applicationId}`);
    return;
  }
  if (refuseHigherEpoch(state, step, link.id, `driver of ${applicationId}`, body.highestEpoch)) return;
  if (state.mode === "none") adoptRecord(state, step, body.application);
  const app = state.applications.get(applicationId);
  if (app === undefined) {
    const quarantined = state.quarantine.refusal(applicationId);
    if (quarantined !== null) {
      refuse("RECORD_QUARANTINED", quarantined.message);
      return;
    }
    refuse("SUPERSEDED", `${applicationId} is over and forgotten`);
    return;
  }
  const { record } = app;
  if (isFinal(record.state)) {
    refuse("SUPERSEDED", `${applicationId} is ${record.state}`, { state: record.state, exitCode: record.exitCode });
    return;
  }
  const { driver } = app;
  if (record.state === "parked" && record.attempt === attempt) {
    refuse("SUPERSEDED", `${applicationId} is parked`, { state: record.state });
    return;
  }
  if (driver === null || driver.attempt !== attempt) {
    refuse("SUPERSEDED", `attempt ${attempt} of ${applicationId} is superseded; attempt ${record.attempt} is current`);
    return;
  }
  const returns = driver.linkId === null && (driver.address !== null || state.recovery.drivers.has(applicationId));
  attach(state, step, app, driver, link, body);
  if (requestId !== null) {
    const settings = { heartbeatMs: state.settings.heartbeatMs, deadlineMs: state.settings.driverDeadlineMs };
    const former = formerExecutors(app);
    step.turn.effects.push({
      kind: "reply",
      linkId: link.id,
      requestId,
      body: {
        clusterId: state.self.clusterId,
        ...settings,
        application: app.record,
        ...(former.length === 0 ? {} : { former }),
      },
    });
  }
  if (returns)
    log(state, step, "info", `The driver of ${applicationId} re-attached (attempt ${attempt}).`, { app: applicationId, attempt });
  if (app.record.cancelRequested) carryOutCancel(state, step, app);
}

function attach(state: MasterState, step: Step, app: Application, driver: DriverRun, link: LinkState, body: DriverRegister): void {
  if (driver.linkId !== null && driver.linkId !== link.id) {
    const old = state.links.get(driver.linkId);
    if (old !== undefined) old.driver = null;
    step.turn.effects.push({
      kind: "close-link",
      linkId: driver.linkId,
      reason: "the driver has registered on another connection",
    });
  }
  link.driver = { applicationId: app.id, attempt: body.attempt };
  driver.linkId = link.id;
  driver.seen = true;
  driver.pid = body.pid;
  driver.address = body.address;
  driver.deadlineAt = null;
  state.recovery.drivers.delete(app.id);
  if (app.record.state === "submitted" || app.record.state === "waiting") {
    // Client mode: the first attempt starts by registering.
    changeApplication(state, app, {
      state: "running",
      attempt: body.attempt,
      startedAt: app.record.startedAt ?? step.now.wall,
      reason: null,
    });
  }
  for (const processId of body.executors) {
    if (!app.executors.has(processId))
      app.executors.set(processId, { processId, workerId: null, pid: null, state: "running", reason: null });
  }
  giveBack(state, step, app, body.released);
  tellFormer(state, step, app);
  for (const { processId, workerId } of body.expected ?? []) expectExecutor(state, app, processId, workerId);
  touch(state, app);
  showExecutors(state, app);
  want(state, step, app, body.wanted);
}

export function driverExecutors(state: MasterState, step: Step, app: Application, body: DriverExecutors): void {
  giveBack(state, step, app, body.released);
  want(state, step, app, body.wanted);
  showExecutors(state, app);
}

function want(state: MasterState, step: Step, app: Application, wanted: number): void {
  app.wanted = wanted;
  let surplus = stayingExecutors(state, app) - wanted;
  for (const executor of [...app.executors.values()].reverse()) {
    if (surplus <= 0) break;
    if (executor.state !== "waiting" || executor.workerId === null) continue;
    const worker = state.workers.get(executor.workerId);
    if (worker !== undefined) release(state, worker, executor.processId);
    app.executors.delete(executor.processId);
    surplus -= 1;
  }
  orderExecutors(state, step, app);
  enqueue(state, app);
}

function giveBack(state: MasterState, step: Step, app: Application, processIds: readonly string[]): void {
  for (const processId of processIds) {
    app.released.add(processId);
    const executor = app.executors.get(processId);
    if (executor === undefined || !isLive(executor)) continue;
    const worker = executor.workerId === null ? undefined : state.workers.get(executor.workerId);
    const process = worker?.processes.get(processId);
    if (worker !== undefined && process !== undefined)
      stop(state, step, worker, process, "its driver gave it back", state.settings.stopGraceMs);
    givenBack(state, app, executor);
  }
  for (const oldest of app.released) {
    if (app.released.size <= MAX_RELEASED) break;
    app.released.delete(oldest);
  }
}

export function jobTakenOver(state: MasterState, step: Step, app: Application, taken: DriverTookOver): void {
  const { attempt } = app.record;
  const message = `Attempt ${attempt} of the driver of ${app.id} goes on with try ${taken.try}, on the ${taken.executors} executors that run it.`;
  tell(state, step, "job.taken-over", app.id, message);
}

/** Counters go back: that is an event, however short somebody looked away. */
export function jobRestored(state: MasterState, step: Step, app: Application, restored: DriverRestored): void {
  const seen = app.progress?.recordsIn ?? null;
  const recordsBack = restored.recordsBack ?? (seen === null ? null : Math.max(0, seen - restored.recordsIn));
  const back = recordsBack === null ? "" : `, ${recordsBack} records back`;
  const whose = restored.slice === undefined ? "" : ` for slice ${restored.slice}`;
  const message = `Try ${restored.try} of ${app.id} restored checkpoint ${restored.checkpoint}${whose}${back}.`;
  tell(state, step, "job.restored", app.id, message);
}

export function driverCommit(
  state: MasterState,
  step: Step,
  app: Application,
  driver: DriverRun,
  link: LinkState,
  requestId: number,
  manifest: CommitManifest,
): void {
  const { record } = app;
  const refuse = (code: "SUPERSEDED" | "CONFLICT" | "INVALID_ARGUMENT" | "LIMIT_EXCEEDED", message: string) =>
    replyError(step, link.id, requestId, shape(code, message));
  if (manifest.attempt !== driver.attempt) {
    refuse("INVALID_ARGUMENT", `attempt ${driver.attempt} cannot decide for attempt ${manifest.attempt}`);
    return;
  }
  if (record.commit !== null && record.commit.attempt !== manifest.attempt) {
    refuse("CONFLICT", `the output of ${app.id} was decided by attempt ${record.commit.attempt}: finish that`);
    return;
  }
  if (record.commit === null) {
    if (record.cancelRequested) {
      refuse("SUPERSEDED", `${app.id} is being cancelled`);
      return;
    }
    if (canonicalJson((manifest.result ?? null) as JsonValue).length > MAX_RESULT_BYTES) {
      refuse("LIMIT_EXCEEDED", `the result of ${app.id} is larger than ${MAX_RESULT_BYTES} bytes`);
      return;
    }
    if (encodeApplicationRecord({ ...record, commit: manifest }).length > state.settings.maxRecordBytes) {
      refuse(
        "LIMIT_EXCEEDED",
        `what the sinks of ${app.id} are to commit does not fit its record of ${state.settings.maxRecordBytes} bytes`,
      );
      return;
    }
    const { stopped } = manifest;
    const checkpoints =
      stopped === undefined || record.checkpoints === undefined ? {} : { checkpoints: withAnswers(record.checkpoints, [stopped]) };
    changeApplication(state, app, { commit: manifest, ...checkpoints });
    if (stopped !== undefined) tellAnswer(state, step, app, stopped);
    // Executors that end now were done: an end that is reported before the driver says so must not make room for new ones.
    app.wanted = 0;
    log(state, step, "info", `The output of ${app.id} is decided by attempt ${manifest.attempt}.`, {
      app: app.id,
      attempt: manifest.attempt,
    });
  }
  step.turn.effects.push({ kind: "reply", linkId: link.id, requestId, body: {} });
}

export function driverFinished(
  state: MasterState,
  step: Step,
  app: Application,
  driver: DriverRun,
  link: LinkState,
  requestId: number,
  body: DriverFinished,
): void {
  if (driver.finished) {
    step.turn.effects.push({ kind: "reply", linkId: link.id, requestId, body: {} });
    return;
  }
  if (body.outcome === "finished" && canonicalJson((body.result ?? null) as JsonValue).length > MAX_RESULT_BYTES) {
    replyError(
      step,
      link.id,
      requestId,
      shape("LIMIT_EXCEEDED", `the result of ${app.id} is larger than ${MAX_RESULT_BYTES} bytes`),
    );
    return;
  }
  step.turn.effects.push({ kind: "reply", linkId: link.id, requestId, body: {} });
  const reason = body.reason ?? shape("APPLICATION_FAILED", `the driver of attempt ${driver.attempt} gave no reason`);
  if (body.outcome === "failed" && body.restart && !app.record.cancelRequested) {
    const { supervise } = app.record.spec;
    endAttempt(state, step, app, { reason, exitCode: 1, fault: "application", mayRestart: supervise, waitMs: 0, byItself: true });
    return;
  }
  driver.finished = true;
  driver.reported = body.leftovers !== true;
  if (app.record.cancelRequested || body.outcome === "cancelled") {
    if (!app.record.cancelRequested) requestCancel(state, step, app);
    if (app.record.commit !== null) {
      // Too late to cancel: the decision stands, and the next attempt carries it out.
      endAttempt(state, step, app, { reason, exitCode: null, fault: "cluster", mayRestart: true, waitMs: 0, byItself: true });
      return;
    }
    stopProcesses(state, step, app, "cancelled", (process) => process.processId !== driver.processId);
    lingerDriver(state, step, app, driver.processId);
    settleCancel(state, step, app);
    return;
  }
  if (body.outcome === "parked") {
    parkApplication(state, step, app, reason);
    return;
  }
  const end =
    body.outcome === "finished"
      ? ({ state: "finished", reason: null, exitCode: 0, result: body.result ?? null } as const)
      : ({ state: "failed", reason, exitCode: 1, result: body.result ?? null } as const);
  finishApplication(state, step, app, end);
}

export function driverLinkClosed(state: MasterState, step: Step, app: Application, driver: DriverRun, heardAt: number): void {
  driver.linkId = null;
  touch(state, app);
  if (isFinal(app.record.state)) return;
  if (driver.finished || app.record.cancelRequested) {
    carryOutCancel(state, step, app);
    return;
  }
  driver.deadlineAt = Math.max(step.now.instant, judgedAt(state, heardAt, state.settings.driverDeadlineMs));
  state.deadlines.add(driver.deadlineAt, { kind: "driver", id: app.id, attempt: driver.attempt });
  log(state, step, "info", `The connection of the driver of ${app.id} ended (attempt ${driver.attempt}).`, {
    app: app.id,
    attempt: driver.attempt,
  });
}

export function driverDeadline(state: MasterState, step: Step, app: Application, attempt: number): void {
  const { driver, record } = app;
  if (driver === null || driver.attempt !== attempt || driver.deadlineAt === null || driver.deadlineAt > step.now.instant) return;
  if (driver.linkId !== null || isFinal(record.state)) return;
  const dueAt = judgedAt(state, Number.NEGATIVE_INFINITY, state.settings.driverDeadlineMs);
  if (dueAt > step.now.instant) {
    driver.deadlineAt = dueAt;
    state.deadlines.add(dueAt, { kind: "driver", id: app.id, attempt });
    return;
  }
  driver.deadlineAt = null;
  if (record.spec.deployMode === "client") {
    const message = `the client that ran the driver of ${app.id} is gone`;
    state.recovery.drivers.delete(app.id);
    if (record.cancelRequested) carryOutCancel(state, step, app);
    else
      finishApplication(state, step, app, {
        state: "failed",
        reason: shape("APPLICATION_FAILED", message),
        exitCode: null,
        result: null,
      });
    return;
  }
  // While its worker is late too, the worker's own removal decides, whenever that may be.
  const worker = driver.workerId === null ? undefined : state.workers.get(driver.workerId);
  if (worker !== undefined && (worker.deadlineAt !== null || waitsForRemoval(state, worker))) {
    const isLate = worker.deadlineAt !== null && worker.deadlineAt > step.now.instant;
    driver.deadlineAt =
      isLate && worker.deadlineAt !== null ? worker.deadlineAt : step.now.instant + state.settings.driverDeadlineMs;
    state.deadlines.add(driver.deadlineAt, { kind: "driver", id: app.id, attempt });
    return;
  }
  const silent = driver.seen ? "has not been heard of for too long" : "did not register in time";
  log(state, step, "warn", `The driver of ${app.id} (attempt ${attempt}) ${silent}.`, { app: app.id, attempt });
  const reason = shape("APPLICATION_FAILED", `the driver of attempt ${attempt} on worker ${driver.workerId ?? "?"} ${silent}`);
  endAttempt(state, step, app, { reason, exitCode: null, fault: "application", mayRestart: record.spec.supervise, waitMs: 0 });
}
