/**
 * A worker that its operator stops in order: first nothing more is placed on it and what is supervised moves elsewhere (`leaving`), then, when
 * nothing of it runs, it is `gone`, durably and at once. Without the second word it is judged like any other whose connection ended.
 */
import { tell } from "./events.js";
import { endExecutor } from "./executors.js";
import { rememberLost } from "./lost-workers.js";
import { refreshCapacity } from "./processes.js";
import { enqueue } from "./scheduling.js";
import { changeWorker, type LinkState, type MasterState, type Step, type Worker } from "./state.js";
import { dropProcesses } from "./workers.js";

export function workerLeaving(state: MasterState, step: Step, link: LinkState): void {
  const worker = workerOf(state, link);
  if (worker === undefined || worker.leaving) return;
  worker.leaving = true;
  state.capacityVersion += 1;
  refreshCapacity(state, worker);
  tell(
    state,
    step,
    "worker.leaving",
    worker.id,
    `Worker ${worker.id} is being stopped by its operator; what it runs ends or moves.`,
  );
  for (const process of worker.processes.values()) {
    const app = state.applications.get(process.applicationId);
    if (app === undefined) continue;
    if (process.role !== "executor") {
      const move = { kind: "move-off", applicationId: app.id, attempt: process.attempt, workerId: worker.id } as const;
      state.backlog.push({ ...move, isForced: false });
    } else if (process.attempt === app.record.attempt) {
      // Its driver need not wait for the end: others take its place now.
      endExecutor(state, step, app, process.processId, "lost", "its worker is being stopped");
      enqueue(state, app);
    }
  }
}

export function workerLeft(state: MasterState, step: Step, link: LinkState): void {
  const worker = workerOf(state, link);
  if (worker === undefined) return;
  link.workerId = null;
  worker.linkId = null;
  worker.attached = false;
  worker.leaving = false;
  worker.heardAt = step.now.instant;
  changeWorker(state, worker, { state: "gone", drainUntil: null, changedAt: step.now.wall });
  state.capacityVersion += 1;
  refreshCapacity(state, worker);
  rememberLost(state, worker.id);
  tell(state, step, "worker.gone", worker.id, `Worker ${worker.id} was stopped by its operator and is gone.`);
  // Orders that crossed its word: it has carried none of them out.
  dropProcesses(state, step, worker, "its worker was stopped", step.now.instant);
  step.turn.effects.push({ kind: "close-link", linkId: link.id, reason: "the worker has left" });
}

const workerOf = (state: MasterState, link: LinkState): Worker | undefined =>
  link.workerId === null ? undefined : state.workers.get(link.workerId);
