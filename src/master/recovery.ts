/**
 * From records to a working master:
 *
 *   1. load        records become nouns; drivers that were running count on their recorded workers until these have spoken
 *   2. elected     deadlines start; RECOVERING; submissions are taken; workers that come back are scheduled on at once
 *   3. ALIVE       when every recorded worker and driver has come back or was given up, or the recovery deadline has passed
 *
 * Invariants: loading the same records gives the same state (I19); a dead worker delays nobody but its own processes.
 */
import { type ApplicationRecord, isFinal, type WorkerRecord } from "../wire/application.js";
import { driverProcessId } from "../wire/ids.js";
import type { RemovalsRecord } from "../wire/registrar.js";
import { addApplication, expectClient } from "./applications.js";
import { expectFormer, newDriverRun } from "./attempts.js";
import { pulse } from "./away.js";
import { sweepBundles } from "./bundles.js";
import { settleCancel } from "./cancellation.js";
import type { StoredEvents } from "./event-history.js";
import { emit, tell } from "./events.js";
import { goOnForgetting, remember } from "./forgetting.js";
import { removeStateOfAllEnded } from "./kept-state.js";
import { debtOfElectionMs, waitsForLease } from "./lease-debts.js";
import { expectCleaner, wantCleaner } from "./leftovers.js";
import { sweepLost } from "./lost-workers.js";
import { place } from "./processes.js";
import { countRecentRemovals } from "./removals.js";
import { enqueue } from "./scheduling.js";
import { DRAIN_LOOK_MS } from "./settings.js";
import { type Application, log, type MasterState, newApplication, type Step } from "./state.js";
import { isDown, newWorker } from "./workers.js";

export interface Records {
  readonly applications: readonly ApplicationRecord[];
  readonly workers: readonly WorkerRecord[];
  /** The operator's word about removals; null: none was ever given. */
  readonly removals?: RemovalsRecord | null;
  /** Batches of events of earlier leaders; absent: none. */
  readonly events?: readonly StoredEvents[];
}

export function load(state: MasterState, records: Records): void {
  for (const record of [...records.workers, ...state.quarantine.workers(records.applications)])
    state.workers.set(record.workerId, newWorker(record));
  const lost = records.workers
    .filter((record) => record.state === "lost" || record.state === "gone")
    .sort((a, b) => a.changedAt - b.changedAt);
  for (const record of lost) state.lost.set(record.workerId, true);
  state.removals.held = records.removals?.held === true;
  for (const record of [...records.applications].sort((a, b) => a.order - b.order)) {
    const app = newApplication(record);
    addApplication(state, app);
    const minted = /^app-([0-9]+)-([0-9]+)$/.exec(app.id);
    if (minted !== null && Number(minted[1]) === state.self.epoch)
      state.nextApplication = Math.max(state.nextApplication, Number(minted[2]) + 1);
  }
  const ended = [...state.applications.values()].filter((app) => isFinal(app.record.state));
  ended.sort((a, b) => (a.record.endedAt ?? 0) - (b.record.endedAt ?? 0) || a.record.order - b.record.order);
  for (const app of ended) state.finished.set(app.id, true);
}

export function elected(state: MasterState, step: Step): void {
  const { now } = step;
  const { recovery } = state;
  pulse(state, step);
  const applications = [...state.applications.values()].filter((app) => !isFinal(app.record.state));
  const workers = [...state.workers.values()].filter((worker) => !isDown(worker));
  state.recovery = {
    ...recovery,
    startedAt: now.instant,
    startedWall: now.wall,
    applications: applications.length,
    recordedWorkers: workers.length,
  };
  emit(
    state,
    step,
    "leader.elected",
    state.self.masterId,
    `Master ${state.self.masterId} was elected with epoch ${state.self.epoch}.`,
  );
  log(state, step, "info", `Elected leader with epoch ${state.self.epoch}.`);
  log(
    state,
    step,
    "info",
    `Recovering ${plural(applications.length, "application")} and ${plural(workers.length, "worker")} (epoch ${state.self.epoch}).`,
  );
  step.turn.effects.push({ kind: "phase", phase: "RECOVERING" });
  for (const { key, reason } of state.quarantine.records) {
    log(state, step, "error", `The record ${key} cannot be read (${reason}). It is kept as it is; the rest is recovered.`, { key });
  }
  countRecentRemovals(
    state,
    step,
    [...state.lost.keys()].flatMap((id) => state.workers.get(id)?.record ?? []),
  );
  sweepLost(state, step);
  for (const worker of workers) {
    recovery.workers.add(worker.id);
    state.unlinked.add(worker.id);
    if (worker.record.state === "draining") state.deadlines.add(now.instant + DRAIN_LOOK_MS, { kind: "drain", id: worker.id });
    worker.heardAt = now.instant;
    worker.deadlineAt = now.instant + state.settings.workerDeadlineMs;
    state.deadlines.add(worker.deadlineAt, { kind: "worker", id: worker.id });
  }
  for (const app of applications) recoverApplication(state, step, app);
  recoverEnded(state, step);
  state.deadlines.add(now.instant + state.settings.recoveryDeadlineMs, { kind: "recovery" });
}

/** What they still need, and which of them are to be forgotten. */
function recoverEnded(state: MasterState, step: Step): void {
  const ended = [...state.finished.keys()].flatMap((id) => state.applications.get(id) ?? []);
  for (const app of ended) {
    expectCleaner(state, step, app);
    goOnForgetting(state, step, app);
  }
  const last = ended.at(-1);
  if (last !== undefined && state.applications.has(last.id)) remember(state, step, last);
}

function recoverApplication(state: MasterState, step: Step, app: Application): void {
  const { record } = app;
  if (record.cancelRequested) state.backlog.push({ kind: "cancel", applicationId: app.id });
  if (record.spec.deployMode === "client") {
    expectClient(state, step, app);
    if (record.attempt > 0) state.recovery.drivers.add(app.id);
    return;
  }
  if (record.state === "parked") return;
  if (record.state !== "running") {
    const delayMs = Math.max(0, (record.notBefore ?? 0) - step.now.wall);
    // A calendar that was set back must not hold an application for longer than its policy ever would.
    const boundedMs = Math.min(delayMs, record.spec.restart.maxBackoffMs + state.settings.programFenceMs);
    app.readyAt = step.now.instant + (waitsForLease(app) ? debtOfElectionMs(state) : boundedMs);
    if (app.readyAt > step.now.instant) state.deadlines.add(app.readyAt, { kind: "ready", id: app.id });
    if (record.state === "restarting") expectFormer(state, step, app);
    enqueue(state, app);
    return;
  }
  const workerId = record.driver?.workerId ?? "";
  const worker = state.workers.get(workerId);
  app.driver = newDriverRun(app, record.attempt, workerId);
  if (worker === undefined || isDown(worker) || worker.record.incarnation !== record.driver?.incarnation) {
    const lost = { kind: "driver-worker-lost", applicationId: app.id, attempt: record.attempt, workerId } as const;
    // A worker that left in order, or came back as the next incarnation, has ended it before; any other may have been declared lost just now.
    const isOver = worker !== undefined && worker.record.state !== "lost";
    state.backlog.push({ ...lost, mayRunUntil: step.now.instant + (isOver ? 0 : debtOfElectionMs(state)) });
    return;
  }
  if (record.spec.job !== null) state.recovery.drivers.add(app.id);
  place(state, worker, {
    processId: driverProcessId(app.id, record.attempt),
    applicationId: app.id,
    attempt: record.attempt,
    role: record.spec.job === null ? "program" : "driver",
    resources: record.spec.driver,
    phase: "expected",
    stopping: null,
  });
}

/** At the end of each step. */
export function completeIfDone(state: MasterState, step: Step): void {
  if (state.phase === "RECOVERING" && state.recovery.workers.size === 0 && state.recovery.drivers.size === 0) complete(state, step);
}

export function recoveryDeadline(state: MasterState, step: Step): void {
  if (state.phase === "RECOVERING" && step.now.instant >= state.recovery.startedAt + state.settings.recoveryDeadlineMs)
    complete(state, step);
}

function complete(state: MasterState, step: Step): void {
  const { recovery } = state;
  state.phase = "ALIVE";
  recovery.completedWall = step.now.wall;
  recovery.durationMs = Math.max(0, Math.round(step.now.instant - recovery.startedAt));
  state.passWanted = true;
  state.capacityVersion += 1;
  const missing = recovery.workers.size + recovery.drivers.size;
  const waits =
    missing === 0
      ? ""
      : `; still missing: ${plural(recovery.workers.size, "worker")} and ${plural(recovery.drivers.size, "driver")}`;
  const counts = `${plural(recovery.applications, "application")} and ${plural(recovery.recordedWorkers, "worker")}`;
  tell(
    state,
    step,
    "recovery.completed",
    state.self.masterId,
    `Recovery complete (epoch ${state.self.epoch}): ${counts} in ${recovery.durationMs} ms${waits}.`,
  );
  step.turn.effects.push({ kind: "phase", phase: "ALIVE" });
  removeStateOfAllEnded(state, step);
  for (const id of state.finished.keys()) {
    const app = state.applications.get(id);
    if (app !== undefined) wantCleaner(state, app);
  }
  sweepBundles(state, step);
  for (const app of state.applications.values()) if (app.record.cancelRequested) settleCancel(state, step, app);
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
