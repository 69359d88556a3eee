/**
 * The start of an attempt: durable first (the record names the attempt and its worker), then the launch order.
 *
 * What must not run twice (`onPartition: "stop"`) starts again when the process of the attempt before has ended, as its worker says, or cannot run any
 * more, as its lease says. An attempt may be over before its process is: a job's driver that was not heard of, moved off a draining worker, or ends
 * by itself.
 */
import { present } from "../base/assert.js";
import { onPartitionOf } from "../wire/application.js";
import { driverProcessId, parseProcessId } from "../wire/ids.js";
import { emit, tell } from "./events.js";
import { keptExecutors, placeExecutors } from "./executors.js";
import { debtOfElectionMs } from "./lease-debts.js";
import { order, place } from "./processes.js";
import {
  type Application,
  changeApplication,
  type DriverRun,
  type Executor,
  type MasterState,
  type PlacedProcess,
  type Step,
} from "./state.js";

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
    reported: false,
    moving: false,
  };
}

/** Forgets what belonged to the attempt before, but for the executors that are `kept`. */
export function resetAttempt(app: Application, kept: ReadonlyMap<string, Executor> = new Map()): void {
  app.driver = null;
  app.executors = new Map(kept);
  if (kept.size === 0) app.released = new Set();
  app.executorsMinted = 0;
  app.wanted = null;
  app.cancelAt = null;
}

/** Of an application between two attempts. */
export function waitsForFormer(app: Application): boolean {
  if (app.driver !== null || onPartitionOf(app.record.spec) !== "stop") return false;
  for (const processId of app.processes.keys()) if (parseProcessId(processId)?.executor === null) return true;
  return false;
}

/** The worker of the attempt before is given up; its process may run until then. */
export function delayNext(state: MasterState, app: Application, mayRunUntil: number): void {
  if (app.driver !== null || onPartitionOf(app.record.spec) !== "stop" || mayRunUntil <= app.readyAt) return;
  app.readyAt = mayRunUntil;
  state.deadlines.add(mayRunUntil, { kind: "ready", id: app.id });
}

/** An earlier leader has ended the attempt: its worker has not told this one whether the process has ended as well. */
export function expectFormer(state: MasterState, step: Step, app: Application): void {
  const { spec, attempt, attempts } = app.record;
  if (spec.job === null || onPartitionOf(spec) !== "stop") return;
  const worker = state.workers.get(attempts.at(-1)?.workerId ?? "");
  if (worker === undefined || worker.record.state === "gone") return;
  if (worker.record.state === "lost") {
    delayNext(state, app, step.now.instant + debtOfElectionMs(state));
    return;
  }
  place(state, worker, {
    processId: driverProcessId(app.id, attempt),
    applicationId: app.id,
    attempt,
    role: "driver",
    resources: spec.driver,
    phase: "expected",
    stopping: "its attempt is superseded",
  });
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
  resetAttempt(app, keptExecutors(state, app));
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
