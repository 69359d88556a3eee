/**
 * What a worker says it runs against what the master knows: nothing is stopped unless its application is known to be over or further on.
 *
 * For each process reported:      of a final application, an older attempt, a cancelled application, or given back: stop
 *                                 ended: taken like any other end, then acknowledged
 *                                 of the current attempt: counted, and adopted
 *                                 an executor of an older attempt whose work the current one may take over: counted, adopted, and shown to its driver
 *                                 of an unknown application: mode `none` rebuilds it; otherwise it is over and forgotten: stop
 *                                 of a quarantined record: counted and left alone
 * For each process not reported:  ordered or expected: ordered again (a repeated order is harmless); seen running before: ended, nobody knows how
 */
import { type ApplicationState, isFinal } from "../wire/application.js";
import { type ParsedProcessId, parseProcessId } from "../wire/ids.js";
import type { ProcessReport } from "../wire/worker-messages.js";
import { carryOutCancel } from "./cancellation.js";
import { processEnded } from "./ends.js";
import { mayBeTakenOver, showAdopted, tellFormer } from "./executors.js";
import { isCleaner } from "./leftovers.js";
import { order, place, sendStop } from "./processes.js";
import { adoptRecord } from "./rebuild.js";
import type { Application, MasterState, PlacedProcess, Step, Worker } from "./state.js";

/** Returns the number of live processes. */
export function reconcile(state: MasterState, step: Step, worker: Worker, inventory: readonly ProcessReport[]): number {
  const reported = new Set<string>();
  const ended: string[] = [];
  let live = 0;
  for (const report of inventory) {
    reported.add(report.processId);
    if (report.end === null) {
      live += 1;
      adoptLive(state, step, worker, report);
    } else if (!state.quarantine.hasProcess(report.processId)) {
      rebuildFrom(state, step, report);
      processEnded(state, step, worker, report.processId, report.end, null);
      ended.push(report.processId);
    }
  }
  for (const process of [...worker.processes.values()]) {
    if (!reported.has(process.processId)) missing(state, step, worker, process);
  }
  if (ended.length > 0 && worker.linkId !== null) {
    step.turn.effects.push({ kind: "send", linkId: worker.linkId, message: "worker.acknowledge", body: { processIds: ended } });
  }
  return live;
}

function adoptLive(state: MasterState, step: Step, worker: Worker, report: ProcessReport): void {
  const parsed = parseProcessId(report.processId);
  if (parsed === null) return;
  rebuildFrom(state, step, report);
  const app = state.applications.get(parsed.application);
  const known = worker.processes.get(report.processId);
  const process: PlacedProcess = {
    processId: report.processId,
    applicationId: parsed.application,
    attempt: parsed.attempt,
    role: parsed.executor !== null ? "executor" : roleOf(report),
    resources: report.resources,
    phase: "running",
    stopping: null,
  };
  if (known === undefined) place(state, worker, process);
  else known.phase = "running";
  const isFormer = app !== undefined && isFormerExecutor(app, report.processId, parsed);
  const reason =
    isFormer || state.quarantine.hasProcess(report.processId) ? null : reasonToStop(app, report.processId, parsed.attempt);
  if (reason !== null) {
    const counted = worker.processes.get(report.processId);
    if (counted !== undefined) counted.stopping = reason;
    sendStop(step, worker, report.processId, reason, state.settings.stopGraceMs);
    return;
  }
  // What was to be stopped while the worker was away is told now.
  if (known !== undefined && known.stopping !== null)
    sendStop(step, worker, known.processId, known.stopping, state.settings.stopGraceMs);
  if (app === undefined || (parsed.attempt !== app.record.attempt && !isFormer)) return;
  if (parsed.executor === null) adoptDriver(state, step, app, report);
  else if (!isFormer || (known?.stopping ?? null) === null) adoptExecutor(state, step, app, worker, report);
  if (app.record.cancelRequested) carryOutCancel(state, step, app);
}

/** Of a driver or a program. Earlier releases tell the application instead. */
const roleOf = ({ role, application }: ProcessReport): "driver" | "program" =>
  role === "program" || (role === undefined && application?.spec.job === null) ? "program" : "driver";

function rebuildFrom(state: MasterState, step: Step, { application }: ProcessReport): void {
  if (state.mode === "none" && application !== null) adoptRecord(state, step, application);
}

/** Not of the current attempt, or of one that is over, and not given back: what it runs may still be taken over. */
function isFormerExecutor(app: Application, processId: string, { attempt, executor }: ParsedProcessId): boolean {
  if (executor === null || attempt > app.record.attempt || app.released.has(processId)) return false;
  return mayBeTakenOver(app) && (attempt < app.record.attempt || BETWEEN_ATTEMPTS.has(app.record.state));
}

const BETWEEN_ATTEMPTS: ReadonlySet<ApplicationState> = new Set(["restarting", "parked", "waiting"]);

function reasonToStop(app: Application | undefined, processId: string, attempt: number): string | null {
  if (app === undefined) return "its application is over and forgotten";
  if (isCleaner(app, processId)) return null;
  if (isFinal(app.record.state)) return `its application is ${app.record.state}`;
  // Between two attempts the record still names the last one, which is over.
  if (attempt !== app.record.attempt || BETWEEN_ATTEMPTS.has(app.record.state)) return "its attempt is superseded";
  if (app.released.has(processId)) return "its driver gave it back";
  return null;
}

function adoptDriver(state: MasterState, step: Step, app: Application, report: ProcessReport): void {
  const { driver } = app;
  if (driver === null || driver.processId !== report.processId) return;
  driver.pid = report.pid > 0 ? report.pid : driver.pid;
  driver.seen = true;
  if (app.record.spec.job === null) driver.deadlineAt = null;
  if (app.record.spec.job === null || driver.linkId !== null) return;
  driver.deadlineAt = step.now.instant + state.settings.driverDeadlineMs;
  state.deadlines.add(driver.deadlineAt, { kind: "driver", id: app.id, attempt: driver.attempt });
}

function adoptExecutor(state: MasterState, step: Step, app: Application, worker: Worker, report: ProcessReport): void {
  app.executors.set(report.processId, {
    processId: report.processId,
    workerId: worker.id,
    pid: report.pid > 0 ? report.pid : null,
    state: "running",
    reason: null,
  });
  showAdopted(state, step, app);
  tellFormer(state, step, app, report.processId);
}

function missing(state: MasterState, step: Step, worker: Worker, process: PlacedProcess): void {
  if (process.phase === "reserved") return;
  const app = state.applications.get(process.applicationId);
  const isWanted = app !== undefined && (!app.record.cancelRequested || isCleaner(app, process.processId));
  if (app !== undefined && isWanted && process.phase !== "running" && process.stopping === null) {
    order(step, app, worker, process);
    state.recovery.drivers.delete(app.id);
    if (
      app.driver !== null &&
      app.driver.processId === process.processId &&
      process.role === "driver" &&
      app.driver.linkId === null
    ) {
      app.driver.deadlineAt = step.now.instant + state.settings.driverStartMs;
      state.deadlines.add(app.driver.deadlineAt, { kind: "driver", id: app.id, attempt: app.driver.attempt });
    }
    return;
  }
  processEnded(state, step, worker, process.processId, { exitCode: null, signal: null, reason: null }, null);
}
