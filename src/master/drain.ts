/** Draining: nothing more is placed on the worker, supervised drivers and programs there move, what else runs may finish. Durable. */
import { isFinal } from "../wire/application.js";
import { tell } from "./events.js";
import { refreshCapacity, stop } from "./processes.js";
import { type Application, changeWorker, type MasterState, type Step, shape, type Worker } from "./state.js";
import { endAttempt } from "./supervision.js";

export function drainWorker(state: MasterState, step: Step, worker: Worker): void {
  if (worker.record.state !== "alive") return;
  changeWorker(state, worker, { state: "draining", changedAt: step.now.wall });
  state.capacityVersion += 1;
  refreshCapacity(state, worker);
  tell(state, step, "worker.draining", worker.id, `Worker ${worker.id} is draining: nothing more is placed on it.`);
  for (const process of worker.processes.values()) {
    if (process.role === "executor") continue;
    state.backlog.push({ kind: "move-off", applicationId: process.applicationId, attempt: process.attempt, workerId: worker.id });
  }
}

/** A program ends before it starts elsewhere; a job's driver is fenced by its attempt, so the next one need not wait. */
export function moveOff(state: MasterState, step: Step, app: Application, attempt: number, worker: Worker): void {
  const { record, driver } = app;
  if (isFinal(record.state) || record.cancelRequested || !record.spec.supervise) return;
  if (driver === null || driver.attempt !== attempt || driver.workerId !== worker.id || driver.moving) return;
  if (record.spec.job !== null) {
    const reason = shape("WORKER_LOST", `the driver of attempt ${attempt} was moved off worker ${worker.id}, ${whyMoved(worker)}`);
    endAttempt(state, step, app, { reason, exitCode: null, fault: "cluster", mayRestart: true, waitMs: 0 });
    return;
  }
  const process = worker.processes.get(driver.processId);
  if (process === undefined) return;
  driver.moving = true;
  stop(
    state,
    step,
    worker,
    process,
    worker.leaving ? "its worker is stopped" : "its worker is draining",
    state.settings.stopGraceMs,
  );
}

export const whyMoved = (worker: Worker | undefined): string =>
  worker?.leaving === true ? "which is being stopped" : "which is draining";
