/**
 * What the sinks of a job had staged when it ended, and nobody will ever make visible.
 *
 *   its driver said the end itself       it removes that, before and after its word; when it is killed meanwhile, as below
 *   it ended without a living driver     a cleaner: a process that loads the job, lets its sinks remove what they staged, and ends. Placed like a driver
 *                                        when nothing of the job runs any more, under the number of the attempt after the last one
 *   the cleaner failed or was lost       another one, up to MAX_CLEAN_UPS; then the record says why, and an event tells it
 *
 * Invariants:
 *   1. A cleaner runs only for an application that has ended, and only while nothing else of it is known to run.
 *   2. Only sinks know what they staged and where: nothing is looked for, and nothing is removed by anybody else.
 *   3. What is owed is in the record until it is done: a later leader goes on with it, and the application is not forgotten before.
 */
import { present } from "../base/assert.js";
import { isFinal } from "../wire/application.js";
import { driverProcessId, parseProcessId } from "../wire/ids.js";
import { tell } from "./events.js";
import { order, place, stop } from "./processes.js";
import { enqueue } from "./scheduling.js";
import { CLEAN_UP_PAUSE_MS, CLEAN_UP_TIMEOUT_MS, MAX_CLEAN_UPS } from "./settings.js";
import { type Application, changeApplication, type MasterState, type PlacedProcess, type Step, shape } from "./state.js";

/** Its staged output is still to be removed, and that is not given up. */
export const owesCleanUp = ({ record: { state, leftovers } }: Application): boolean =>
  isFinal(state) && leftovers !== undefined && leftovers.error === null;

/** The cleaner that was started last; null: none was, or none is wanted any more. */
function cleanerOf(app: Application): string | null {
  const { leftovers, attempt } = app.record;
  return owesCleanUp(app) && leftovers !== undefined && leftovers.tries > 0
    ? driverProcessId(app.id, attempt + leftovers.tries)
    : null;
}

export const isCleaner = (app: Application, processId: string): boolean => cleanerOf(app) === processId;

/** The application has ended, and nobody has said that its sinks are clean. */
export function noteLeftovers(state: MasterState, app: Application): void {
  const { record } = app;
  if (record.spec.job === null || record.leftovers !== undefined || !mayHaveStaged(app)) return;
  changeApplication(state, app, { leftovers: { tries: 0, workerId: null, error: null } });
  wantCleaner(state, app);
}

/** Something of it has run. What was never started has staged nothing. */
function mayHaveStaged({ record: { attempt, attempts } }: Application): boolean {
  const launched = attempts.filter(({ reason }) => reason?.code !== "LAUNCH_FAILED").length;
  return attempt > attempts.length || launched > 0;
}

/** Harmless when it is too early: it is asked again whenever a process of it has ended. */
export function wantCleaner(state: MasterState, app: Application): void {
  if (mayBeCleaned(state, app)) enqueue(state, app);
}

/** While workers are still coming back, executors of it may run that nobody has told of. */
export const mayBeCleaned = (state: MasterState, app: Application): boolean =>
  owesCleanUp(app) && app.processes.size === 0 && state.phase === "ALIVE" && state.applications.get(app.id) === app;

export function startCleaner(state: MasterState, step: Step, app: Application, workerId: string): void {
  const { attempt, spec, leftovers } = app.record;
  const worker = present(state.workers.get(workerId), `worker ${workerId} of a placement`);
  const tries = present(leftovers, "leftovers of an application that is cleaned").tries + 1;
  changeApplication(state, app, { leftovers: { tries, workerId, error: null } });
  const process: PlacedProcess = {
    processId: driverProcessId(app.id, attempt + tries),
    applicationId: app.id,
    attempt: attempt + tries,
    role: "driver",
    resources: spec.driver,
    phase: "reserved",
    stopping: null,
  };
  place(state, worker, process);
  state.deadlines.add(step.now.instant + CLEAN_UP_TIMEOUT_MS, { kind: "clean-up", id: app.id, processId: process.processId });
  order(step, app, worker, process);
}

/** At the election: the cleaner that an earlier leader has started, as its worker will tell. */
export function expectCleaner(state: MasterState, step: Step, app: Application): void {
  const processId = cleanerOf(app);
  const worker = state.workers.get(app.record.leftovers?.workerId ?? "");
  if (processId === null || worker === undefined || worker.record.state === "lost" || worker.record.state === "gone") return;
  place(state, worker, {
    processId,
    applicationId: app.id,
    attempt: parseProcessId(processId)?.attempt ?? 0,
    role: "driver",
    resources: app.record.spec.driver,
    phase: "expected",
    stopping: null,
  });
  state.deadlines.add(step.now.instant + CLEAN_UP_TIMEOUT_MS, { kind: "clean-up", id: app.id, processId });
}

/** `why` null: it has removed everything. */
export function cleanerEnded(state: MasterState, step: Step, app: Application, why: string | null): void {
  const { leftovers, spec } = app.record;
  if (leftovers === undefined) return;
  if (why === null) {
    changeApplication(state, app, { leftovers: undefined });
    return;
  }
  if (leftovers.tries >= MAX_CLEAN_UPS) {
    giveUpCleaning(state, step, app, why);
    return;
  }
  app.avoid = leftovers.workerId;
  app.readyAt = step.now.instant + CLEAN_UP_PAUSE_MS * 2 ** (leftovers.tries - 1);
  state.deadlines.add(app.readyAt, { kind: "ready", id: app.id });
  step.turn.effects.push({
    kind: "log",
    level: "warn",
    message: `What the sinks of ${app.id} (${spec.name}) staged could not be removed: ${why}. It is tried again.`,
    fields: { app: app.id, tries: leftovers.tries },
  });
  wantCleaner(state, app);
}

/** It is for a person now. */
export function giveUpCleaning(state: MasterState, step: Step, app: Application, why: string): void {
  const { leftovers, baseDir } = { leftovers: app.record.leftovers, baseDir: app.record.spec.job?.baseDir };
  const error = shape(
    "CLEAN_UP_FAILED",
    `what the sinks of ${app.id} staged could not be removed: ${why}`,
    `See its log: holdfast logs ${app.id}. Staged files lie beside its output, in folders that begin with .holdfast-${app.id}${baseDir === undefined ? "" : ` (relative paths are below ${baseDir})`}.`,
  );
  changeApplication(state, app, { leftovers: { tries: leftovers?.tries ?? 0, workerId: leftovers?.workerId ?? null, error } });
  tell(
    state,
    step,
    "application.leftovers",
    app.id,
    `Application ${app.id} (${app.record.spec.name}) has ended, and ${error.message}.`,
  );
}

/** A driver or cleaner whose worker is given up, of an application that has ended. */
export function lostAfterEnd(state: MasterState, step: Step, app: Application, attempt: number): void {
  if (isCleaner(app, driverProcessId(app.id, attempt)))
    cleanerEnded(state, step, app, "the worker of the process that did it is lost");
  else if (attempt === app.record.attempt) noteLeftovers(state, app);
}

/** User code that removes things may hang. */
export function cleanUpDeadline(state: MasterState, step: Step, app: Application, processId: string): void {
  const worker = state.workers.get(app.processes.get(processId) ?? "");
  const process = worker?.processes.get(processId);
  if (!isCleaner(app, processId) || worker === undefined || process === undefined) return;
  stop(state, step, worker, process, `it has not ended within ${CLEAN_UP_TIMEOUT_MS} ms`, state.settings.stopGraceMs);
}
