/**
 * `gone`: the operator's word that a worker never comes back. Durable first; then everything of it is given up without waiting for a deadline,
 * and its id is refused for ever, whatever incarnation speaks.
 *
 * The word is believed. Of a worker that nobody hears, programs start elsewhere at once. One that is connected evidently lives: it is told to shut
 * down, and what may not run twice waits as long as it would for a worker that has just been heard for the last time.
 */
import { tell } from "./events.js";
import { rememberLost } from "./lost-workers.js";
import { refreshCapacity } from "./processes.js";
import { forgetRemoval } from "./removals.js";
import { changeWorker, type MasterState, type Step, type Worker } from "./state.js";
import { dropProcesses, refuseWorker } from "./workers.js";

export function retireWorker(state: MasterState, step: Step, worker: Worker): void {
  if (worker.record.retired === true) return;
  const { linkId } = worker;
  const wasConnected = linkId !== null;
  changeWorker(state, worker, { state: "gone", retired: true, drainUntil: null, changedAt: step.now.wall });
  worker.deadlineAt = null;
  worker.attached = false;
  worker.leaving = false;
  state.capacityVersion += 1;
  state.passWanted = true;
  forgetRemoval(state, worker.id);
  rememberLost(state, worker.id);
  state.recovery.workers.delete(worker.id);
  if (linkId !== null) {
    const link = state.links.get(linkId);
    if (link !== undefined) link.workerId = null;
    worker.linkId = null;
    refuseWorker(state, step, linkId, worker, "gone");
  }
  state.unlinked.delete(worker.id);
  refreshCapacity(state, worker);
  const count = worker.processes.size;
  const message = `Worker ${worker.id} is gone, said its operator: it may never register again, and ${count} ${count === 1 ? "process" : "processes"} on it ${count === 1 ? "is" : "are"} given up.`;
  tell(state, step, "worker.gone", worker.id, message);
  const { workerDeadlineMs, programFenceMs } = state.settings;
  const mayRunForMs = wasConnected ? workerDeadlineMs + programFenceMs : 0;
  dropProcesses(state, step, worker, "its worker is gone", step.now.instant + mayRunForMs);
}
