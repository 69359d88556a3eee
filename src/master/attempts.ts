/** The start of an attempt: durable first (the record names the attempt and its worker), then the launch order. */
import { present } from "../base/assert.js";
import { driverProcessId } from "../wire/ids.js";
import { emit, tell } from "./events.js";
import { placeExecutors } from "./executors.js";
import { order, place } from "./processes.js";
import { type Application, changeApplication, type DriverRun, type MasterState, type PlacedProcess, type Step } from "./state.js";

export function newDriverRun(app: Application, attempt: number, workerId: string | null): DriverRun {
  return {
    attempt,
    processId: driverProcessId(app.id, attempt),
    workerId,
    linkId: null,
    seen: false,
    pid: null,
    address: null,
    deadlineAt: null,
    finished: false,
    moving: false,
  };
}

/** Forgets what belonged to the attempt before. */
export function resetAttempt(app: Application): void {
  app.driver = null;
  app.executors = new Map();
  app.released = new Set();
  app.executorsMinted = 0;
  app.wanted = null;
  app.cancelAt = null;
}

export function startAttempt(
  state: MasterState,
  step: Step,
  app: Application,
  workerId: string,
  executorWorkers: readonly string[],
): void {
  const { record } = app;
  const { spec } = record;
  const worker = present(state.workers.get(workerId), `worker ${workerId} of a placement`);
  const attempt = record.attempt + 1;
  resetAttempt(app);
  app.avoid = null;
  changeApplication(state, app, {
    state: "running",
    reason: null,
    attempt,
    restarts: attempt - 1,
    notBefore: null,
    startedAt: record.startedAt ?? step.now.wall,
    driver: { workerId, incarnation: worker.record.incarnation },
  });
  const driver = newDriverRun(app, attempt, workerId);
  app.driver = driver;
  const process: PlacedProcess = {
    processId: driver.processId,
    applicationId: app.id,
    attempt,
    role: spec.job === null ? "program" : "driver",
    resources: spec.driver,
    phase: "reserved",
    stopping: null,
  };
  place(state, worker, process);
  if (spec.job !== null) {
    driver.deadlineAt = step.now.instant + state.settings.driverStartMs;
    state.deadlines.add(driver.deadlineAt, { kind: "driver", id: app.id, attempt });
    app.wanted = record.commit === null ? spec.job.parallelism : 0;
    placeExecutors(state, step, app, executorWorkers);
  }
  if (attempt > 1)
    tell(state, step, "driver.restarted", app.id, `Application ${app.id} restarted: attempt ${attempt} on worker ${workerId}.`);
  else emit(state, step, "application.running", app.id, `Application ${app.id} (${spec.name}) runs on worker ${workerId}.`);
  order(step, app, worker, process);
}
