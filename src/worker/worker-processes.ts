/** The processes of a worker: adopted, launched, stopped, ended, reported until their end is durable elsewhere. */
import type { ApplicationRecord } from "../wire/application.js";
import { parseProcessId } from "../wire/ids.js";
import type { LaunchOrder, ProcessReport } from "../wire/worker-messages.js";
import type { FoundProcess, ProcessEnd } from "./worker-events.js";
import { launchLeased, livelyLeaseMs } from "./worker-lease.js";
import { readNote, writeNote } from "./worker-notes.js";
import { type Entry, isLeased, liveCount, log, send, type WorkerState, type WorkerStep } from "./worker-state.js";

const OVER = "its worker's incarnation is over";
export const STOPPED = "its worker is stopped";

export function adopt(worker: WorkerState, step: WorkerStep, found: readonly FoundProcess[]): void {
  const { identity, processes } = worker;
  for (const one of found) {
    const note = readNote(one.note);
    const isOurs = note?.workerId === identity.workerId && note.incarnation === identity.incarnation;
    if (!isOurs && one.end !== null) {
      step.turn.effects.push({ kind: "forget", processId: one.processId });
      continue;
    }
    const entry: Entry = {
      processId: one.processId,
      resources: note?.resources ?? { cores: 1, memoryBytes: 1 },
      application: note?.application ?? null,
      length: one.note.length,
      note: null,
      phase: one.end === null ? "running" : "ended",
      pid: one.pid,
      end: one.end,
      launchFailed: null,
      reported: false,
      abandoned: !isOurs,
    };
    processes.set(entry.processId, entry);
    if (isOurs) continue;
    if (note === null)
      log(step, "error", "A process is stopped, because what is noted beside it cannot be read.", { process: entry.processId });
    stop(worker, step, entry, OVER);
  }
  worker.livelyAt = step.now.instant;
  log(step, "info", `Worker ${identity.workerId} started.`, {
    incarnation: identity.incarnation,
    adopted: liveCount(worker),
  });
}

/** What lives always; ends as far as they fit, the others are reported one by one afterwards. */
export function inventoryOf(worker: WorkerState): ProcessReport[] {
  const entries = [...worker.processes.values()];
  const inventory: ProcessReport[] = [];
  const tellsApplications = worker.link?.tellsApplications ?? true;
  let length = 0;
  for (const entry of [...entries.filter((one) => one.phase !== "ended"), ...entries.filter((one) => one.phase === "ended")]) {
    const { processId, pid, resources, application } = entry;
    length += entry.length;
    entry.reported = application !== null && (entry.phase !== "ended" || length <= worker.limits.maxInventoryLength);
    if (!entry.reported || application === null) continue;
    const end = entry.launchFailed === null ? entry.end : { exitCode: null, signal: null, reason: entry.launchFailed };
    const role = roleOf(processId, application);
    inventory.push({ processId, pid, resources, role, application: tellsApplications ? application : null, end });
  }
  return inventory;
}

function roleOf(processId: string, { spec }: ApplicationRecord): LaunchOrder["role"] {
  if (parseProcessId(processId)?.executor != null) return "executor";
  return spec.job === null ? "program" : "driver";
}

/** A repeated order is harmless. While this worker is stopped, orders go unanswered: the master gives them to others when the connection has ended. */
export function launch(worker: WorkerState, step: WorkerStep, order: LaunchOrder): void {
  const { processId, role, resources, application } = order;
  if (worker.link?.state !== "registered" || worker.closing !== null) return;
  const known = worker.processes.get(processId);
  if (known !== undefined) {
    known.reported = known.phase === "launching";
    report(worker, step, known);
    if (role === "executor" && known.phase === "running" && order.driverAddress !== null)
      step.turn.effects.push({
        kind: "tell-driver",
        processId,
        driver: { attempt: application.attempt, address: order.driverAddress },
      });
    return;
  }
  if (worker.processes.size >= worker.limits.maxProcesses) {
    const launchFailed = `worker ${worker.identity.workerId} has ${worker.processes.size} processes or unacknowledged ends, which is its limit`;
    send(worker, step, { kind: "worker.report", body: { processId, pid: 0, end: null, launchFailed } });
    return;
  }
  const note = writeNote(order, worker.identity);
  const nothing = { pid: 0, end: null, launchFailed: null, reported: true, abandoned: false };
  worker.processes.set(processId, {
    processId,
    resources,
    application,
    length: note.length,
    note,
    phase: "launching",
    ...nothing,
  });
  if (isLeased(processId, application)) {
    launchLeased(worker, step, order);
    return;
  }
  const endsWithoutWorkerMs = role === "program" ? livelyLeaseMs(worker) : null;
  step.turn.effects.push({ kind: "launch", order, note, endsWithoutWorkerMs, endsWithoutLeaderMs: null });
}

export function stopOrdered(
  worker: WorkerState,
  step: WorkerStep,
  order: { readonly processId: string; readonly graceMs: number; readonly reason: string },
): void {
  const { processId, graceMs, reason } = order;
  const entry = worker.processes.get(processId);
  if (entry === undefined) {
    const end = { exitCode: null, signal: null, reason: "not known to this worker" };
    if (worker.link?.state === "registered")
      send(worker, step, { kind: "worker.report", body: { processId, pid: 0, end, launchFailed: null } });
  } else if (entry.phase === "ended") {
    entry.reported = false;
    report(worker, step, entry);
  } else {
    stop(worker, step, entry, reason, graceMs);
  }
}

/** A launch that waits for its lease has not begun: it is over at once. */
export function stop(
  worker: WorkerState,
  step: WorkerStep,
  entry: Entry,
  reason: string,
  graceMs = worker.limits.stopGraceMs,
): void {
  if (worker.lease.held.delete(entry.processId))
    launchFailed(worker, step, entry.processId, `stopped before it started: ${reason}`);
  else step.turn.effects.push({ kind: "stop", processId: entry.processId, graceMs, reason });
}

export function launched(worker: WorkerState, step: WorkerStep, processId: string, pid: number): void {
  const entry = worker.processes.get(processId);
  if (entry === undefined) return;
  entry.pid = pid;
  if (entry.phase !== "launching") return;
  entry.phase = "running";
  entry.note = null;
  entry.reported = false;
  log(step, "info", `Process ${processId} runs.`, { process: processId, pid });
  if (entry.abandoned) stop(worker, step, entry, OVER);
  else if (worker.closing !== null && !worker.closing.leave) stop(worker, step, entry, STOPPED);
  report(worker, step, entry);
}

export function launchFailed(worker: WorkerState, step: WorkerStep, processId: string, reason: string): void {
  const entry = worker.processes.get(processId);
  if (entry === undefined || entry.phase !== "launching") return;
  entry.phase = "ended";
  entry.note = null;
  entry.launchFailed = reason;
  entry.reported = false;
  log(step, "warn", `Process ${processId} could not be started: ${reason}`, { process: processId });
  if (entry.abandoned) forget(worker, step, entry);
  else report(worker, step, entry);
}

export function ended(worker: WorkerState, step: WorkerStep, processId: string, end: ProcessEnd): void {
  const entry = worker.processes.get(processId);
  if (entry === undefined || entry.phase === "ended") return;
  entry.phase = "ended";
  entry.end = end;
  entry.reported = false;
  log(step, "info", `Process ${processId} ended.`, {
    process: processId,
    exitCode: end.exitCode,
    signal: end.signal,
    reason: end.reason,
  });
  if (entry.abandoned) forget(worker, step, entry);
  else report(worker, step, entry);
}

export function acknowledged(worker: WorkerState, step: WorkerStep, processId: string): void {
  const entry = worker.processes.get(processId);
  if (entry !== undefined && entry.phase === "ended" && entry.reported) forget(worker, step, entry);
}

/** Nothing of this incarnation counts any more: it is stopped, and never reported. */
export function abandonAll(worker: WorkerState, step: WorkerStep): void {
  for (const entry of [...worker.processes.values()]) {
    entry.abandoned = true;
    if (entry.phase === "ended") forget(worker, step, entry);
    else stop(worker, step, entry, OVER);
  }
}

export const hasAbandoned = (worker: WorkerState): boolean => [...worker.processes.values()].some((entry) => entry.abandoned);

function forget(worker: WorkerState, step: WorkerStep, entry: Entry): void {
  worker.processes.delete(entry.processId);
  step.turn.effects.push({ kind: "forget", processId: entry.processId });
  const sha256 = bundleOf(entry);
  if (sha256 === undefined) return;
  for (const other of worker.processes.values()) if (bundleOf(other) === sha256) return;
  step.turn.effects.push({ kind: "bundle-unused", sha256 });
}

const bundleOf = ({ application }: Entry): string | undefined => application?.spec.job?.artifact;

export function report(worker: WorkerState, step: WorkerStep, entry: Entry): void {
  if (worker.link?.state !== "registered" || entry.reported || entry.abandoned || entry.phase === "launching") return;
  entry.reported = true;
  const { processId, pid, end, launchFailed } = entry;
  send(worker, step, { kind: "worker.report", body: { processId, pid, end, launchFailed } });
}
