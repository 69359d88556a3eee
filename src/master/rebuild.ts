/**
 * Recovery mode `none`: a restarted master rebuilds what runs from what workers and drivers say, because each of them carries the
 * application's record. The newest attempt told of counts. Nothing is ever stopped for want of a record.
 */
import { type ApplicationRecord, isFinal } from "../wire/application.js";
import { addApplication, expectClient } from "./applications.js";
import { newDriverRun, resetAttempt } from "./attempts.js";
import { remember } from "./forgetting.js";
import { type Application, changeApplication, log, type MasterState, newApplication, type Step } from "./state.js";

export function adoptRecord(state: MasterState, step: Step, record: ApplicationRecord): void {
  const known = state.applications.get(record.id);
  if (known !== undefined) {
    if (isFinal(known.record.state) || known.record.attempt >= record.attempt) return;
    resetAttempt(known);
    known.record = record;
    changeApplication(state, known, {});
    expectDriver(state, step, known);
    return;
  }
  const other = state.byKey.get(record.submissionKey);
  const app = newApplication(record);
  // What is told first may be of an attempt that is over: the next one waits until everybody had the time to speak, or it would run twice.
  app.restartsFrom = state.recovery.startedAt + Math.max(state.settings.recoveryDeadlineMs, state.settings.workerDeadlineMs);
  addApplication(state, app);
  // Two applications of one key can only be when the client submitted again before the first was heard of: the key stays with that.
  if (other !== undefined) state.byKey.set(record.submissionKey, other);
  changeApplication(state, app, {});
  log(state, step, "info", `Application ${app.id} (${record.spec.name}) was rebuilt from what its processes told.`, {
    app: app.id,
  });
  if (isFinal(record.state)) remember(state, step, app);
  else expectDriver(state, step, app);
}

function expectDriver(state: MasterState, step: Step, app: Application): void {
  const { record } = app;
  if (record.spec.deployMode === "client") {
    expectClient(state, step, app);
    return;
  }
  app.driver = newDriverRun(app, record.attempt, record.driver?.workerId ?? null);
  app.driver.deadlineAt = step.now.instant + state.settings.workerDeadlineMs;
  state.deadlines.add(app.driver.deadlineAt, { kind: "driver", id: app.id, attempt: record.attempt });
}
