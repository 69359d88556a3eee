/**
 * Processes on workers as the master counts and orders them: placed -> ordered -> running -> released.
 *
 * Invariants:
 *   1. A process is counted on its worker from `place` to `release`; the scheduler's view (`capacity`) always has the same sum (I11).
 *   2. Only workers that are connected, have told what they run, are not draining and not being stopped are in `capacity`.
 *   3. Orders name a process id and may be repeated: after a reconnect everything that is not confirmed is ordered again.
 */
import { amountOf } from "../scheduler/capacity.js";
import type { Application, MasterState, PlacedProcess, Step, Worker } from "./state.js";

export function usedOf(worker: Worker): { readonly cores: number; readonly memoryBytes: number } {
  let milliCores = 0;
  let memoryBytes = 0;
  for (const process of worker.processes.values()) {
    milliCores += amountOf(process.resources).milliCores;
    memoryBytes += process.resources.memoryBytes;
  }
  return { cores: milliCores / 1000, memoryBytes };
}

/** After a worker's link, state or resources changed. */
export function refreshCapacity(state: MasterState, worker: Worker): void {
  if (worker.linkId !== null && worker.attached && !worker.leaving && worker.record.state === "alive") {
    state.capacity.put(worker.id, amountOf(worker.record.resources), amountOf(usedOf(worker)));
    state.passWanted = true;
  } else {
    state.capacity.remove(worker.id);
  }
}

export function place(state: MasterState, worker: Worker, process: PlacedProcess): void {
  if (worker.processes.has(process.processId)) release(state, worker, process.processId);
  worker.processes.set(process.processId, process);
  state.applications.get(process.applicationId)?.processes.set(process.processId, worker.id);
  state.capacity.take(worker.id, amountOf(process.resources));
}

/** It does not run there (any more). */
export function release(state: MasterState, worker: Worker, processId: string): PlacedProcess | null {
  const process = worker.processes.get(processId);
  if (process === undefined) return null;
  worker.processes.delete(processId);
  const app = state.applications.get(process.applicationId);
  if (app?.processes.get(processId) === worker.id) app.processes.delete(processId);
  state.capacity.give(worker.id, amountOf(process.resources));
  state.passWanted = true;
  return process;
}

/** Sends the launch order, or leaves it to the worker's next registration. */
export function order(step: Step, app: Application, worker: Worker, process: PlacedProcess): void {
  process.phase = "ordered";
  if (worker.linkId === null || !worker.attached) return;
  step.turn.effects.push({
    kind: "launch",
    linkId: worker.linkId,
    order: {
      processId: process.processId,
      role: process.role,
      resources: process.resources,
      application: app.record,
      driverAddress: process.role === "executor" ? (app.driver?.address ?? null) : null,
    },
  });
}

/** The launch order again, for an executor that runs: its driver is another one now. Harmless where it has ended meanwhile. */
export function redirect(step: Step, app: Application, worker: Worker, process: PlacedProcess, driverAddress: string): void {
  if (worker.linkId === null || !worker.attached) return;
  const { processId, role, resources } = process;
  const order = { processId, role, resources, application: app.record, driverAddress };
  step.turn.effects.push({ kind: "launch", linkId: worker.linkId, order });
}

/** Asks for the end of a process; what was never ordered is forgotten at once. Its end is reported like any other. */
export function stop(
  state: MasterState,
  step: Step,
  worker: Worker,
  process: PlacedProcess,
  reason: string,
  graceMs: number,
): void {
  if (process.phase === "reserved") {
    release(state, worker, process.processId);
    return;
  }
  if (process.stopping !== null) return;
  process.stopping = reason;
  sendStop(step, worker, process.processId, reason, graceMs);
}

export function sendStop(step: Step, worker: Worker, processId: string, reason: string, graceMs: number): void {
  if (worker.linkId === null) return;
  step.turn.effects.push({ kind: "send", linkId: worker.linkId, message: "worker.stop", body: { processId, graceMs, reason } });
}

/** Every process of the application for which `which` says so. */
export function stopProcesses(
  state: MasterState,
  step: Step,
  app: Application,
  reason: string,
  which: (process: PlacedProcess) => boolean = () => true,
): void {
  for (const [processId, workerId] of [...app.processes]) {
    const worker = state.workers.get(workerId);
    const process = worker?.processes.get(processId);
    if (worker !== undefined && process !== undefined && which(process)) {
      stop(state, step, worker, process, reason, state.settings.stopGraceMs);
    }
  }
}
