/**
 * Draining: nothing more is placed on the worker, and what is supervised there moves elsewhere as soon as there is room for it. Durable, so that
 * the next leader goes on with it.
 *
 *   a program            is stopped, and starts elsewhere when it has ended (never two at once)
 *   a job's driver       the next attempt starts elsewhere at once: it is fenced (one that must not run twice ends before: attempts.ts)
 *   a job's executors    others are placed first (scheduling.ts); the driver changes over to them when all are there, then these are given back
 *   not supervised       may finish
 *
 * What still runs at the deadline is stopped, whether there is room elsewhere or not; without a deadline it is waited for.
 */
import type { Capacity } from "../scheduler/capacity.js";
import { isFinal } from "../wire/application.js";
import { tell } from "./events.js";
import { isLive, showExecutors } from "./executors.js";
import { refreshCapacity, stop } from "./processes.js";
import { enqueue, hasRoomElsewhere } from "./scheduling.js";
import { DRAIN_LOOK_MS, MAX_STEP_CHANGES } from "./settings.js";
import { type Application, changeWorker, type MasterState, type PlacedProcess, type Step, shape, type Worker } from "./state.js";
import { endAttempt } from "./supervision.js";

const STOP_REASON = "its worker is draining";

/** `deadlineMs` from now; null: none; undefined: as it is. Harmless when repeated. */
export function drainWorker(state: MasterState, step: Step, worker: Worker, deadlineMs: number | null | undefined): void {
  const { record } = worker;
  if (record.state !== "alive" && record.state !== "draining") return;
  const drainUntil =
    deadlineMs === undefined ? (record.drainUntil ?? null) : deadlineMs === null ? null : step.now.wall + deadlineMs;
  const isNews = record.state === "alive";
  if (!isNews && drainUntil === (record.drainUntil ?? null)) return;
  changeWorker(state, worker, { state: "draining", drainUntil, ...(isNews ? { changedAt: step.now.wall } : {}) });
  if (isNews) {
    state.capacityVersion += 1;
    worker.drained = false;
    refreshCapacity(state, worker);
    tell(state, step, "worker.draining", worker.id, `Worker ${worker.id} is draining: nothing more is placed on it.`);
    showMoves(state, worker);
  }
  drainDeadline(state, step, worker);
}

/** It takes work again; what has moved stays where it is. */
export function cancelDrain(state: MasterState, step: Step, worker: Worker): void {
  if (worker.record.state !== "draining") return;
  changeWorker(state, worker, { state: "alive", drainUntil: null, changedAt: step.now.wall });
  state.capacityVersion += 1;
  refreshCapacity(state, worker);
  tell(state, step, "worker.undrained", worker.id, `Worker ${worker.id} takes work again: its drain was cancelled.`);
  showMoves(state, worker);
}

/** Looks at what is left, now and every DRAIN_LOOK_MS while something is. */
export function drainDeadline(state: MasterState, step: Step, worker: Worker): void {
  const { record } = worker;
  if (record.state !== "draining") return;
  if (worker.processes.size > 0 || !worker.attached) {
    if (worker.drainLookAt === null || worker.drainLookAt <= step.now.instant) {
      worker.drainLookAt = step.now.instant + DRAIN_LOOK_MS;
      state.deadlines.add(worker.drainLookAt, { kind: "drain", id: worker.id });
    }
    moveAll(state, step, worker);
    return;
  }
  worker.drainLookAt = null;
  if (worker.drained) return;
  worker.drained = true;
  tell(state, step, "worker.drained", worker.id, `Worker ${worker.id} is drained: nothing runs on it any more.`);
}

function moveAll(state: MasterState, step: Step, worker: Worker): void {
  const isForced = worker.record.drainUntil != null && worker.record.drainUntil <= step.now.wall;
  const room = lazily(() => state.capacity.derive((_total, free) => free));
  let moved = 0;
  for (const process of [...worker.processes.values()]) {
    if (moved >= MAX_STEP_CHANGES) return;
    const app = state.applications.get(process.applicationId);
    if (app === undefined) continue;
    if (process.role === "executor") {
      if (isForced) stop(state, step, worker, process, STOP_REASON, state.settings.stopGraceMs);
      else enqueue(state, app);
    } else if (mayMove(state, app, process, worker, isForced, room)) {
      moved += 1;
      state.backlog.push({ kind: "move-off", applicationId: app.id, attempt: process.attempt, workerId: worker.id, isForced });
    }
  }
}

/** What is moved in one look shares the room that there is, of which the first call makes a copy. */
function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

function mayMove(
  state: MasterState,
  app: Application,
  process: PlacedProcess,
  worker: Worker,
  isForced: boolean,
  room: () => Capacity,
): boolean {
  if (isFinal(app.record.state) || app.driver?.processId !== process.processId || app.driver.moving) return false;
  return isForced || (app.record.spec.supervise && hasRoomElsewhere(state, app, worker, room()));
}

/** A program ends before it starts elsewhere; a job's driver is fenced by its attempt, so the next one need not wait, unless its application says so. */
export function moveOff(
  state: MasterState,
  step: Step,
  app: Application,
  attempt: number,
  worker: Worker,
  isForced: boolean,
): void {
  const { record, driver } = app;
  if (isFinal(record.state) || record.cancelRequested || (!record.spec.supervise && !isForced)) return;
  if (driver === null || driver.attempt !== attempt || driver.workerId !== worker.id || driver.moving) return;
  if (!worker.leaving && worker.record.state !== "draining") return;
  if (record.spec.job !== null) {
    const reason = shape("WORKER_LOST", `the driver of attempt ${attempt} was moved off worker ${worker.id}, ${whyMoved(worker)}`);
    endAttempt(state, step, app, { reason, exitCode: null, fault: "cluster", mayRestart: record.spec.supervise, waitMs: 0 });
    return;
  }
  const process = worker.processes.get(driver.processId);
  if (process === undefined) return;
  driver.moving = true;
  stop(state, step, worker, process, worker.leaving ? "its worker is stopped" : STOP_REASON, state.settings.stopGraceMs);
}

export const whyMoved = (worker: Worker | undefined): string =>
  worker?.leaving === true ? "which is being stopped" : "which is draining";

/** Drivers learn which of their executors are to move, and the scheduler places others. */
function showMoves(state: MasterState, worker: Worker): void {
  for (const process of worker.processes.values()) {
    if (process.role !== "executor") continue;
    const app = state.applications.get(process.applicationId);
    const executor = app?.executors.get(process.processId);
    if (app === undefined || executor === undefined || !isLive(executor)) continue;
    showExecutors(state, app);
    enqueue(state, app);
  }
}
