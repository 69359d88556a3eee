/** What users see of the state (wire/views.ts). Reading changes nothing; a view names only what is durable once the step's turn is committed. */
import type { z } from "zod";
import { isoTime } from "../base/iso-time.js";
import { isFinal } from "../wire/application.js";
import { type CheckpointsRecord, retainedOf } from "../wire/checkpoint.js";
import { driverProcessId, parseProcessId } from "../wire/ids.js";
import type { OperationOutput } from "../wire/operations.js";
import type { ApplicationView, applicationSummary, CheckpointsView, ClusterView, WorkerView } from "../wire/views.js";
import { usedOf } from "./processes.js";
import { removalsViewOf } from "./removals.js";
import { type Application, type Executor, type MasterState, type Step, shape, type Worker } from "./state.js";

/** Of records that cannot be read; the log of the master names all. */
const MAX_QUARANTINED_SHOWN = 1_000;

const iso = (wall: number | null): string | null => (wall === null ? null : isoTime(wall));

export function applicationView(state: MasterState, app: Application): ApplicationView {
  const { record } = app;
  const { spec } = record;
  return {
    id: app.id,
    name: spec.name,
    kind: spec.kind,
    state: record.state,
    reason: record.reason ?? noWorkerReason(state, app),
    attempt: record.attempt,
    restarts: record.restarts,
    exitCode: record.exitCode,
    submittedAt: isoTime(record.submittedAt),
    startedAt: iso(record.startedAt),
    endedAt: iso(record.endedAt),
    driver: driverView(state, app),
    executors: inOrder(app).map((executor) => ({
      id: executor.processId,
      worker: executor.workerId,
      pid: executor.pid,
      state: executor.state,
      attempt: record.attempt,
    })),
    records: recordsOf(app),
    checkpoint: checkpointView(record.checkpoints),
    result: record.result ?? null,
    submissionKey: record.submissionKey,
    progress: app.progress,
    attempts: record.attempts.map((attempt) => ({
      attempt: attempt.attempt,
      worker: attempt.workerId,
      endedAt: isoTime(attempt.endedAt),
      reason: attempt.reason,
      exitCode: attempt.exitCode,
    })),
  };
}

/** Of a job that was stopped with a savepoint: up to there, whatever was read since. */
function recordsOf({ record, progress }: Application): ApplicationView["records"] {
  const { commit } = record;
  if (progress === null || commit?.stopped !== undefined) return commit?.records ?? null;
  return { in: progress.recordsIn, out: progress.recordsOut };
}

function checkpointView(checkpoints: CheckpointsRecord | undefined): ApplicationView["checkpoint"] {
  const last = checkpoints?.completed.at(-1);
  if (last === undefined) return null;
  return {
    id: last.id,
    completedAt: isoTime(last.completedAt),
    sizeBytes: last.sizeBytes,
    records: last.records,
    durationMs: last.durationMs,
  };
}

export function checkpointsViewOf({ id, record, progress }: Application): CheckpointsView {
  const { checkpoints, spec } = record;
  const settings = spec.job?.checkpoint;
  return {
    id,
    state: record.state,
    intervalMs: checkpoints === undefined ? null : (settings?.intervalMs ?? null),
    retained: retainedOf(settings),
    storage: checkpoints?.storage ?? null,
    completed: (checkpoints?.completed ?? []).map((one) => ({
      id: one.id,
      trigger: one.trigger ?? "periodic",
      completedAt: isoTime(one.completedAt),
      sizeBytes: one.sizeBytes,
      durationMs: one.durationMs,
      alignmentMs: one.alignmentMs ?? null,
      records: one.records,
      subtasks: one.subtasks ?? [],
    })),
    failed: (checkpoints?.failed ?? []).map(({ failedAt, ...failed }) => ({ ...failed, failedAt: isoTime(failedAt) })),
    requests: (checkpoints?.requests ?? []).map(({ key, savepoint, requestedAt }) => ({
      key,
      kind: savepoint === null ? "checkpoint" : "savepoint",
      requestedAt: isoTime(requestedAt),
    })),
    answers: (checkpoints?.answers ?? []).map(({ answeredAt, ...answer }) => ({ ...answer, answeredAt: isoTime(answeredAt) })),
    taking: isFinal(record.state) ? null : (progress?.checkpoint ?? null),
  };
}

function noWorkerReason(state: MasterState, app: Application): ApplicationView["reason"] {
  if (app.record.state !== "submitted" && app.record.state !== "waiting") return null;
  if (app.record.spec.deployMode === "client" || state.capacity.size > 0) return null;
  return shape("UNPLACEABLE", "no worker that could take it is connected to the master", "Start one: holdfast worker --master ...");
}

function driverView(state: MasterState, app: Application): ApplicationView["driver"] {
  const { driver, record } = app;
  const worker = record.driver?.workerId ?? null;
  if (driver === null || record.attempt === 0) return record.driver === null ? null : { worker, pid: null, state: "ended" };
  if (isFinal(record.state)) return { worker, pid: driver.pid, state: "ended" };
  const cut = driver.linkId === null && driver.address !== null;
  const workerAway = driver.linkId === null && driver.workerId !== null && state.workers.get(driver.workerId)?.linkId == null;
  return { worker, pid: driver.pid, state: cut || workerAway ? "suspect" : driver.seen ? "running" : "starting" };
}

export function applicationSummaryOf(app: Application): z.infer<typeof applicationSummary> {
  const { record } = app;
  return {
    id: app.id,
    name: record.spec.name,
    kind: record.spec.kind,
    state: record.state,
    attempt: record.attempt,
    restarts: record.restarts,
    submittedAt: isoTime(record.submittedAt),
  };
}

export function workerState(worker: Worker): WorkerView["state"] {
  if (worker.record.state === "lost" || worker.record.state === "gone") return worker.record.state;
  if (worker.linkId === null) return "suspect";
  if (worker.leaving) return "draining";
  return worker.record.state;
}

export function workerViewOf(state: MasterState, step: Step, worker: Worker): WorkerView {
  const { record } = worker;
  const used = usedOf(worker);
  // A connected worker's heartbeats are the link's business: it was heard of within one of them.
  const silentMs = Math.max(0, Math.round(step.now.instant - worker.heardAt));
  return {
    id: worker.id,
    incarnation: record.incarnation,
    address: record.address,
    pid: worker.pid,
    state: workerState(worker),
    cores: { total: record.resources.cores, used: used.cores },
    memoryBytes: { total: record.resources.memoryBytes, used: used.memoryBytes },
    lastHeardMs: worker.linkId === null ? silentMs : Math.min(silentMs, state.settings.heartbeatMs),
    processes: worker.processes.size,
    overdueSince: iso(state.removals.waiting.get(worker.id) ?? null),
    drain: record.state === "draining" ? { since: isoTime(record.changedAt), deadline: iso(record.drainUntil ?? null) } : null,
    retired: record.retired === true,
  };
}

export function clusterView(state: MasterState): ClusterView {
  const { self, recovery } = state;
  const workers = { alive: 0, suspect: 0, lost: 0, draining: 0, gone: 0 };
  for (const worker of state.workers.values()) workers[workerState(worker)] += 1;
  const applications = { waiting: 0, running: 0 };
  for (const app of state.applications.values()) {
    if (isFinal(app.record.state)) continue;
    applications[app.record.state === "running" ? "running" : "waiting"] += 1;
  }
  const leader = { id: self.masterId, address: self.address, pid: self.pid };
  return {
    clusterId: self.clusterId,
    epoch: self.epoch,
    state: state.phase,
    leader,
    leaderless: null,
    masters: [{ ...leader, state: state.phase, epoch: self.epoch, build: self.build }, ...state.standbys],
    silentMasters: [],
    workers,
    applications,
    recovery: {
      startedAt: isoTime(recovery.startedWall),
      completedAt: iso(recovery.completedWall),
      durationMs: recovery.durationMs,
    },
    removals: removalsViewOf(state),
    quarantined: state.quarantine.records.slice(0, MAX_QUARANTINED_SHOWN).map(({ key, reason }) => ({ key, reason })),
  };
}

/** Executors in the order of their ids, whichever of them came back first to a new leader. */
function inOrder(app: Application): Executor[] {
  const place = ({ processId }: Executor): readonly [number, number] => {
    const { attempt = 0, executor = 0 } = parseProcessId(processId) ?? {};
    return [attempt, executor ?? 0];
  };
  const compare = (a: readonly [number, number], b: readonly [number, number]): number => a[0] - b[0] || a[1] - b[1];
  return [...app.executors.values()].sort((a, b) => compare(place(a), place(b)));
}

/** Every process the application has or had: of ended attempts the driver, of the current one also the executors; and whoever was last to clean up behind it. */
export function locateLogs(state: MasterState, app: Application): OperationOutput<"logs.locate"> {
  const { record } = app;
  const processes: { processId: string; worker: string | null; address: string | null; state: string }[] = [];
  const addressOf = (worker: string | null): string | null =>
    worker === null ? null : (state.workers.get(worker)?.record.address ?? null);
  const add = (processId: string, worker: string | null, how: string) =>
    processes.push({ processId, worker, address: addressOf(worker), state: how });
  const current = driverView(state, app);
  for (const past of record.attempts) {
    if (past.attempt !== record.attempt || record.driver === null) add(`${app.id}.d${past.attempt}`, past.workerId, "ended");
  }
  if (record.driver !== null) add(`${app.id}.d${record.attempt}`, record.driver.workerId, current?.state ?? "ended");
  for (const executor of inOrder(app)) add(executor.processId, executor.workerId, executor.state);
  const { leftovers } = record;
  if (leftovers !== undefined && leftovers.tries > 0) {
    const cleaner = driverProcessId(app.id, record.attempt + leftovers.tries);
    add(cleaner, leftovers.workerId, app.processes.has(cleaner) ? "running" : "ended");
  }
  return { id: app.id, processes, final: isFinal(record.state) };
}
