/** The end of a worker: it says that it leaves, ends its processes (or leaves them to the next one), waits until the master has their ends. */
import { STOPPED, stop } from "./worker-processes.js";
import { changeIdentity, liveCount, log, send, type WorkerState, type WorkerStep } from "./worker-state.js";

export function close(worker: WorkerState, step: WorkerStep, leave: boolean): void {
  if (worker.closing !== null) return;
  worker.closing = { deadline: step.now.instant + worker.limits.closeDeadlineMs, leave, done: false };
  log(step, "info", leave ? "This worker ends; its processes run on." : "This worker is stopped, and its processes with it.", {
    processes: liveCount(worker),
  });
  if (leave) return;
  sayLeaving(worker, step);
  for (const entry of [...worker.processes.values()]) if (entry.phase !== "ended") stop(worker, step, entry, STOPPED);
}

export function sayLeaving(worker: WorkerState, step: WorkerStep): void {
  if (worker.closing?.leave === false && worker.link?.state === "registered")
    send(worker, step, { kind: "worker.leaving", body: {} });
}

export function settleClosing(worker: WorkerState, step: WorkerStep): void {
  const { closing, limits } = worker;
  if (closing === null || closing.done) return;
  const isListenedTo = worker.link?.state === "registered";
  if (!closing.leave && isListenedTo && worker.processes.size === 0) leave(worker, step);
  const isAwaited = (isListenedTo && worker.processes.size > 0) || worker.link?.state === "left";
  if (liveCount(worker) === 0 && isAwaited)
    closing.deadline = Math.min(closing.deadline, step.now.instant + limits.closeAcknowledgeMs);
  if (closing.leave || closing.deadline <= step.now.instant || (liveCount(worker) === 0 && !isAwaited)) {
    closing.done = true;
    step.turn.effects.push({ kind: "closed" });
  }
}

/** The last word. The next process on this directory is another incarnation, whether the master heard it or not. */
function leave(worker: WorkerState, step: WorkerStep): void {
  if (worker.link === null) return;
  changeIdentity(worker, step, { incarnation: worker.identity.incarnation + 1 });
  send(worker, step, { kind: "worker.left", body: {} });
  worker.link.state = "left";
}
