/**
 * Forgetting an application that has ended: what is kept of it goes first, its record last, so that nothing is ever left that no record names.
 *
 *   asked for     by `holdfast forget` (a wish in the record, which every later leader carries out), or because more have ended than are kept
 *   waits for     its last process, and the removal of what its sinks staged (leftovers.ts)
 *   then          its state in the storage is removed by the host, which says so; then the record is deleted
 *
 * Boundary: bundles are shared by applications; they go when the last record that needs them does (bundles.ts).
 */
import type { ErrorShape } from "../base/errors.js";
import { isFinal } from "../wire/application.js";
import { applicationKey } from "../wire/records.js";
import { leaveBundle, releaseBundle } from "./bundles.js";
import { tell } from "./events.js";
import { removeState, removeStateOfEnded } from "./kept-state.js";
import { giveUpCleaning, noteLeftovers, owesCleanUp, wantCleaner } from "./leftovers.js";
import { FORGET_AGAIN_MS, MAX_FORGOTTEN_KNOWN, MAX_UNCLEAN_KEPT } from "./settings.js";
import { type Application, changeApplication, type MasterState, replyError, type Step, shape } from "./state.js";

/** Keeps the last `maxFinished` applications; the oldest are forgotten, with their keys. */
export function remember(state: MasterState, step: Step, app: Application): void {
  state.finished.set(app.id, true);
  let over = state.finished.size - state.settings.maxFinished;
  for (const id of state.finished.keys()) {
    if (over <= 0) return;
    const oldest = state.applications.get(id);
    if (oldest === undefined) continue;
    over -= 1;
    // Where nobody can clean up (no worker is left), the history still has an end.
    if (over >= MAX_UNCLEAN_KEPT && owesCleanUp(oldest))
      giveUpCleaning(state, step, oldest, "no worker could take the process that does it");
    oldest.forgetting ??= "waits";
    forgetIfClean(state, step, oldest);
  }
}

/** What ended under another leader, and was to be forgotten then. */
export function goOnForgetting(state: MasterState, step: Step, app: Application): void {
  if (app.record.forget !== true) return;
  app.forgetting ??= "waits";
  forgetIfClean(state, step, app);
}

/** The application has ended, and something that its end waits for may be over: a process, the removal of what its sinks staged. */
export function settleEnded(state: MasterState, step: Step, app: Application): void {
  wantCleaner(state, app);
  removeStateOfEnded(step, app);
  releaseBundle(state, app);
  forgetIfClean(state, step, app);
}

/** Whenever something that it waits for may have come to its end. */
export function forgetIfClean(state: MasterState, step: Step, app: Application): void {
  // With mode `none` a forgotten application would come back with the inventory of a worker that still runs something of it.
  if (app.forgetting !== "waits" || app.processes.size > 0 || owesCleanUp(app)) return;
  if (app.record.checkpoints === undefined) {
    forget(state, app);
    return;
  }
  app.forgetting = "removes";
  removeState(step, app, true);
}

/** The host has removed its state, or could not. */
export function stateRemoved(state: MasterState, step: Step, id: string, error: string | null): void {
  const app = state.applications.get(id);
  if (app === undefined || app.forgetting !== "removes") return;
  if (error === null && app.processes.size === 0) {
    forget(state, app);
    return;
  }
  app.forgetting = "waits";
  state.deadlines.add(step.now.instant + FORGET_AGAIN_MS, { kind: "forget", id });
}

function forget(state: MasterState, app: Application): void {
  state.finished.delete(app.id);
  state.applications.delete(app.id);
  if (state.byKey.get(app.record.submissionKey) === app.id) state.byKey.delete(app.record.submissionKey);
  state.marked.applications.delete(app);
  state.marked.touched.delete(app);
  state.marked.deleted.add(applicationKey(app.id));
  leaveBundle(state, app);
  if (app.record.forget !== true) return;
  for (const name of [app.id, app.record.submissionKey]) state.forgotten.set(name, app.id);
  for (const oldest of state.forgotten.keys()) {
    if (state.forgotten.size <= MAX_FORGOTTEN_KNOWN) break;
    state.forgotten.delete(oldest);
  }
}

/** The answer to a repeated wish; null: this leader never forgot such a one. */
export const forgottenBefore = (state: MasterState, ref: string): string | null => state.forgotten.get(ref) ?? null;

export function forgetApplication(state: MasterState, step: Step, app: Application, linkId: number, requestId: number): void {
  const refusal = refusalOf(app);
  if (refusal !== null) {
    replyError(step, linkId, requestId, refusal);
    return;
  }
  if (app.record.forget !== true) {
    changeApplication(state, app, { forget: true });
    tell(state, step, "application.forgotten", app.id, `Application ${app.id} (${app.record.spec.name}) is to be forgotten.`);
    // What was kept for a person to look at goes with the rest.
    if (app.record.reason?.code === "CHECKPOINT_UNREADABLE") noteLeftovers(state, app);
  }
  goOnForgetting(state, step, app);
  const forgotten = !state.applications.has(app.id);
  step.turn.effects.push({ kind: "reply", linkId, requestId, body: { id: app.id, state: app.record.state, forgotten } });
}

function refusalOf({ id, record: { state } }: Application): ErrorShape | null {
  if (isFinal(state)) return null;
  return shape(
    "CONFLICT",
    `${id} is ${state}: only an application that has ended can be forgotten`,
    `Cancel it first: holdfast cancel ${id}`,
  );
}
