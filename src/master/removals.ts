/**
 * Declaring workers lost, as fast as the limits allow (wire/registrar.ts): a worker past its deadline waits here until it may be given up.
 *
 *   past its deadline -> waiting -> lost        at most `perMinute` in a minute, none while more than `share` of all workers is away
 *                           \--registers--> alive (nothing has happened to it)
 *
 * While it waits it stays suspect, and nothing of it is started elsewhere. Whenever some wait for more than their turn an alert shows; the operator
 * may let those go (`continue`) or hold all removals (`hold`, a record: it outlives the leader). A new leader gives every worker a fresh
 * deadline, so what waited comes back here unless it registers; the minute is counted on from what the records say.
 *
 * Invariants: the master never ends over it; the cost of a step does not grow with the number that wait; durable first, then acted upon.
 */
import { isoTime } from "../base/iso-time.js";
import type { WorkerRecord } from "../wire/application.js";
import { FEW_WORKERS_AWAY, REMOVAL_WINDOW_MS, type RemovalsView } from "../wire/registrar.js";
import { judgedAt } from "./away.js";
import { tell } from "./events.js";
import { MAX_STEP_CHANGES } from "./settings.js";
import type { MasterState, Step, Worker } from "./state.js";
import { isDown, loseWorker } from "./workers.js";

export const waitsForRemoval = (state: MasterState, worker: Worker): boolean => state.removals.waiting.has(worker.id);

/** Its deadline has passed; `removeOverdue` decides in the same step. */
export function workerOverdue(state: MasterState, step: Step, worker: Worker): void {
  if (worker.deadlineAt === null || worker.deadlineAt > step.now.instant || worker.linkId !== null || isDown(worker)) return;
  const dueAt = judgedAt(state, worker.heardAt, state.settings.workerDeadlineMs);
  if (dueAt > step.now.instant) {
    worker.deadlineAt = dueAt;
    state.deadlines.add(dueAt, { kind: "worker", id: worker.id });
    return;
  }
  worker.deadlineAt = null;
  state.removals.waiting.set(worker.id, step.now.wall);
}

/** It has registered, or is given up for another reason. */
export function forgetRemoval(state: MasterState, id: string): void {
  state.removals.waiting.delete(id);
  state.removals.allowed.delete(id);
  state.removals.away.delete(id);
}

/** A leader goes on with the minute of its predecessor, as far as the records tell. */
export function countRecentRemovals(state: MasterState, step: Step, workers: Iterable<WorkerRecord>): void {
  for (const { workerId, state: word, changedAt } of workers) {
    // A calendar that was set back must not make them later than now.
    const agoMs = Math.max(0, step.now.wall - changedAt);
    if (word !== "lost" || agoMs >= REMOVAL_WINDOW_MS) continue;
    state.removals.recent.push(step.now.instant - agoMs);
    state.removals.away.set(workerId, step.now.instant - agoMs);
  }
  state.removals.recent.sort((a, b) => a - b);
}

/** In every step, after its deadlines. */
export function removeOverdue(state: MasterState, step: Step): void {
  const { removals, marked } = state;
  for (const id of removals.waiting.keys()) {
    if (marked.workers.size + marked.applications.size >= MAX_STEP_CHANGES) {
      state.deadlines.add(step.now.instant, { kind: "pass" });
      return;
    }
    const reason = removals.allowed.has(id) ? null : refusal(state, step);
    if (reason !== null) {
      alert(state, step, reason);
      return;
    }
    const worker = state.workers.get(id);
    const isCounted = !removals.allowed.has(id);
    forgetRemoval(state, id);
    if (worker === undefined) continue;
    if (isCounted) {
      removals.recent.push(step.now.instant);
      removals.away.set(id, step.now.instant);
    }
    loseWorker(state, step, worker);
  }
  if (removals.alert === null) return;
  removals.alert = null;
  tell(state, step, "removals.resumed", state.self.masterId, "No worker waits any more to be declared lost.");
}

type Reason = NonNullable<RemovalsView["reason"]>;

/** Why the next worker may not be given up now; null: it may. */
function refusal(state: MasterState, step: Step): Reason | null {
  const { removals, settings, workers, lost, unlinked } = state;
  if (removals.held) return "held";
  forgetOld(state, step);
  const { recent } = removals;
  const { perMinute, share } = settings.removalLimit;
  const away = unlinked.size + removals.away.size;
  if (away > FEW_WORKERS_AWAY && away > share * (workers.size - lost.size + removals.away.size)) return "share";
  return perMinute !== null && recent.length >= perMinute ? "rate" : null;
}

function forgetOld(state: MasterState, step: Step): void {
  const { recent, away } = state.removals;
  const limit = step.now.instant - REMOVAL_WINDOW_MS;
  while ((recent[0] ?? Number.POSITIVE_INFINITY) <= limit) recent.shift();
  for (const [id, at] of away) {
    if (at > limit) return;
    away.delete(id);
  }
}

function alert(state: MasterState, step: Step, reason: Reason): void {
  const { removals } = state;
  // What was removed a minute ago no longer counts: for every reason but the operator's the answer may then be another one.
  const [oldest] = removals.recent;
  if (reason !== "held" && oldest !== undefined && removals.alert?.lookAt !== oldest + REMOVAL_WINDOW_MS)
    state.deadlines.add(oldest + REMOVAL_WINDOW_MS, { kind: "removals" });
  const lookAt = oldest === undefined ? null : oldest + REMOVAL_WINDOW_MS;
  const isNews = removals.alert?.reason !== reason;
  removals.alert = { since: removals.alert?.since ?? step.now.wall, reason, lookAt };
  if (!isNews) return;
  const message = `${plural(removals.waiting.size)} past the deadline, and not declared lost: ${whyWaiting(state, reason)}. Nothing of it is started elsewhere until then; see holdfast removals.`;
  tell(state, step, "removals.waiting", state.self.masterId, message);
}

const plural = (count: number): string => `${count} ${count === 1 ? "worker is" : "workers are"}`;

function whyWaiting(state: MasterState, reason: Reason): string {
  const { perMinute, share } = state.settings.removalLimit;
  if (reason === "held") return "the operator holds removals";
  if (reason === "rate") return `${perMinute} were declared lost within the last minute, which is the limit`;
  return `more than ${Math.round(share * 100)} % of the workers are away, which looks like this master's own trouble`;
}

/** The operator's decision; null only asks. Durable before it is answered, harmless when repeated. */
export function decideRemovals(state: MasterState, step: Step, decision: "hold" | "continue" | null): void {
  const { removals } = state;
  if (decision === null) return;
  const held = decision === "hold";
  if (removals.held !== held) {
    removals.held = held;
    state.marked.removals = { held, changedAt: step.now.wall };
  }
  if (held) removals.allowed.clear();
  else for (const id of removals.waiting.keys()) removals.allowed.add(id);
  const message = held
    ? "The operator holds removals: no worker is declared lost until they say continue."
    : `The operator lets removals go on: ${plural(removals.waiting.size)} declared lost now.`;
  tell(state, step, held ? "removals.held" : "removals.continued", state.self.masterId, message);
  removeOverdue(state, step);
}

export function removalsViewOf(state: MasterState): RemovalsView {
  const { removals, settings } = state;
  return {
    held: removals.held,
    waiting: removals.waiting.size,
    since: removals.alert === null ? null : isoTime(removals.alert.since),
    reason: removals.alert?.reason ?? null,
    ...settings.removalLimit,
  };
}
