/**
 * Workers that are lost or gone: remembered so that their incarnations are refused, and forgotten by age and number.
 *
 * `state.lost` has their ids, the one that went down first at the front. What is forgotten and speaks again registers like one that was never known;
 * what it still runs of older attempts is stopped by its inventory (inventory.ts).
 */
import { workerKey } from "../wire/records.js";
import { LOST_WORKER_SWEEP_MS, MAX_STEP_CHANGES } from "./settings.js";
import type { MasterState, Step } from "./state.js";

export function rememberLost(state: MasterState, id: string): void {
  state.lost.delete(id);
  state.lost.set(id, true);
  if (state.lost.size > state.settings.maxLostWorkers) forgetOldest(state);
}

/** At the election, and then every LOST_WORKER_SWEEP_MS: those beyond the age or the number, so many a step. */
export function sweepLost(state: MasterState, step: Step): void {
  const { settings } = state;
  for (let deleted = 0; deleted < MAX_STEP_CHANGES; deleted += 1) {
    const [oldest] = state.lost.keys();
    const changedAt = oldest === undefined ? undefined : state.workers.get(oldest)?.record.changedAt;
    const isOld = changedAt !== undefined && step.now.wall - changedAt > settings.lostWorkerAgeMs;
    if (oldest === undefined || (!isOld && state.lost.size <= settings.maxLostWorkers)) {
      state.deadlines.add(step.now.instant + LOST_WORKER_SWEEP_MS, { kind: "sweep" });
      return;
    }
    forgetOldest(state);
  }
  state.deadlines.add(step.now.instant, { kind: "sweep" });
}

function forgetOldest(state: MasterState): void {
  const [oldest] = state.lost.keys();
  if (oldest === undefined) return;
  const worker = state.workers.get(oldest);
  state.lost.delete(oldest);
  state.workers.delete(oldest);
  if (worker !== undefined) state.marked.workers.delete(worker);
  state.marked.deleted.add(workerKey(oldest));
}
