/**
 * Cancel: `cancelRequested` is durable first, so that every later leader goes on with it. A job's driver that is connected is asked by
 * message and gets a share of the grace to end in order; then every process gets the polite signal, and the kill after the grace. The
 * application is `cancelled` when nothing of it runs, or only on lost workers; what a worker brings back later is stopped there.
 *
 * A cancel that comes after the driver's output was decided (`commit`) is too late: the application goes on to finish what it decided.
 */
import { isFinal } from "../wire/application.js";
import { finishApplication } from "./applications.js";
import { tell } from "./events.js";
import { stopProcesses } from "./processes.js";
import { CANCEL_BY_MESSAGE_SHARE } from "./settings.js";
import { type Application, changeApplication, type MasterState, type Step } from "./state.js";

const REASON = "cancelled";

export function requestCancel(state: MasterState, step: Step, app: Application): void {
  const { record } = app;
  if (isFinal(record.state) || record.cancelRequested || record.commit !== null) return;
  changeApplication(state, app, { cancelRequested: true, notBefore: null });
  tell(state, step, "application.cancelling", app.id, `Application ${app.id} is being cancelled.`);
  carryOutCancel(state, step, app);
}

/** Also after a failover and when something of the application shows up: everything here may be repeated. */
export function carryOutCancel(state: MasterState, step: Step, app: Application): void {
  if (isFinal(app.record.state) || !app.record.cancelRequested) return;
  stopProcesses(state, step, app, REASON, (process) => process.phase === "reserved");
  const { driver } = app;
  if (driver !== null && driver.linkId !== null && !driver.finished) {
    if (app.cancelAt === null) {
      app.cancelAt = step.now.instant + state.settings.stopGraceMs * CANCEL_BY_MESSAGE_SHARE;
      state.deadlines.add(app.cancelAt, { kind: "cancel", id: app.id });
      step.turn.effects.push({
        kind: "send",
        linkId: driver.linkId,
        message: "driver.cancel",
        body: { reason: "cancelled by a user" },
      });
    }
  } else {
    stopProcesses(state, step, app, REASON, (process) => driver?.finished !== true || process.processId !== driver.processId);
  }
  settleCancel(state, step, app);
}

/** The polite message was not enough. */
export function cancelDeadline(state: MasterState, step: Step, app: Application): void {
  if (isFinal(app.record.state) || !app.record.cancelRequested) return;
  if (app.driver !== null && app.record.spec.deployMode === "client") app.driver.finished = true;
  stopProcesses(state, step, app, REASON);
  settleCancel(state, step, app);
}

/** Cancelled when nothing is left that could run. */
export function settleCancel(state: MasterState, step: Step, app: Application): void {
  const { record } = app;
  if (!record.cancelRequested || isFinal(record.state)) return;
  if (app.processes.size > 0) return;
  // Executors are not in the records: until all workers have told what they run, some of this job may.
  if (state.phase === "RECOVERING" && record.spec.job !== null && record.attempt > 0) return;
  const atClient = record.spec.deployMode === "client" && app.driver !== null && app.driver.linkId !== null;
  if (atClient && app.driver?.finished !== true) return;
  finishApplication(state, step, app, { state: "cancelled", reason: null, exitCode: record.exitCode, result: null });
}
