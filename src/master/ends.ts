/** A process on a worker has ended, or could not be started: what that means for its application. */
import type { ErrorShape } from "../base/errors.js";
import { isFinal } from "../wire/application.js";
import { driverProcessId, parseProcessId } from "../wire/ids.js";
import { finishApplication } from "./applications.js";
import { settleCancel } from "./cancellation.js";
import { whyMoved } from "./drain.js";
import { endExecutor, endText } from "./executors.js";
import { settleEnded } from "./forgetting.js";
import { cleanerEnded, isCleaner, noteLeftovers } from "./leftovers.js";
import type { ProcessEnd } from "./messages.js";
import { release } from "./processes.js";
import { enqueue } from "./scheduling.js";
import { type Application, changeApplication, type DriverRun, type MasterState, type Step, shape, type Worker } from "./state.js";
import { endAttempt } from "./supervision.js";

export function processEnded(
  state: MasterState,
  step: Step,
  worker: Worker,
  processId: string,
  end: ProcessEnd,
  launchFailed: string | null,
): void {
  release(state, worker, processId);
  const parsed = parseProcessId(processId);
  const app = parsed === null ? undefined : state.applications.get(parsed.application);
  if (parsed === null || app === undefined) return;
  const current = parsed.attempt === app.record.attempt && !isFinal(app.record.state);
  if (parsed.executor !== null && !isFinal(app.record.state) && (current || app.executors.has(processId))) {
    endExecutor(state, step, app, processId, "ended", launchFailed ?? endText(end));
    enqueue(state, app);
  } else if (current && app.driver?.processId === processId) {
    driverEnded(state, step, app, app.driver, end, launchFailed);
  }
  settleCancel(state, step, app);
  endedAfterEnd(state, step, app, processId, end, launchFailed);
}

/** Of an application that has ended: what is left to do may wait for just this process. */
function endedAfterEnd(
  state: MasterState,
  step: Step,
  app: Application,
  processId: string,
  end: ProcessEnd,
  launchFailed: string | null,
): void {
  const { record } = app;
  if (!isFinal(record.state)) return;
  if (isCleaner(app, processId)) {
    const why = launchFailed ?? (end.exitCode === 0 ? null : `the process that did it ${asVerb(endText(end))}`);
    cleanerEnded(state, step, app, why);
  } else if (processId === driverProcessId(app.id, record.attempt) && end.exitCode === null && record.spec.job !== null) {
    // Killed after it had said the end, while it removed what its sinks staged.
    noteLeftovers(state, app);
  }
  settleEnded(state, step, app);
}

function driverEnded(
  state: MasterState,
  step: Step,
  app: Application,
  driver: DriverRun,
  end: ProcessEnd,
  launchFailed: string | null,
): void {
  const { record } = app;
  const { spec } = record;
  if (record.cancelRequested) {
    driver.finished = true;
    if (end.exitCode === null) driver.reported = false;
    state.recovery.drivers.delete(app.id);
    if (spec.job === null) changeApplication(state, app, { exitCode: end.exitCode });
    return;
  }
  if (driver.moving) {
    const why = whyMoved(state.workers.get(driver.workerId ?? ""));
    const reason = shape("WORKER_LOST", `${driver.processId} was moved off worker ${driver.workerId}, ${why}`);
    // What is not supervised was stopped because the drain's deadline has passed.
    const mayRestart = spec.supervise;
    endAttempt(state, step, app, { reason, exitCode: end.exitCode, fault: "cluster", mayRestart, waitMs: 0 });
    return;
  }
  if (launchFailed !== null) {
    const reason = shape("LAUNCH_FAILED", `${driver.processId} could not be started on worker ${driver.workerId}: ${launchFailed}`);
    endAttempt(state, step, app, { reason, exitCode: null, fault: "application", mayRestart: true, waitMs: 0 });
    return;
  }
  if (spec.job === null && end.exitCode === 0) {
    finishApplication(state, step, app, { state: "finished", reason: null, exitCode: 0, result: null });
    return;
  }
  const reason = reasonOfEnd(app, driver, end);
  endAttempt(state, step, app, { reason, exitCode: end.exitCode, fault: "application", mayRestart: spec.supervise, waitMs: 0 });
}

function reasonOfEnd(app: Application, driver: DriverRun, end: ProcessEnd): ErrorShape {
  const what = app.record.spec.job === null ? "the program" : "the driver";
  const code = /out of memory/i.test(end.reason ?? "") ? "OUT_OF_MEMORY" : "APPLICATION_FAILED";
  const hint = code === "OUT_OF_MEMORY" ? "Submit it with more memory." : `See its log: holdfast logs ${app.id}`;
  return shape(code, `${what} of attempt ${driver.attempt} on worker ${driver.workerId} ${asVerb(endText(end))}`, hint);
}

const asVerb = (text: string): string => (text.startsWith("ended") ? text : `ended: ${text}`);
