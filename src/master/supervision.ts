/**
 * What follows when an attempt ends: started again with a growing back-off, or the application's end.
 *
 *   the program ended with 0                          finished
 *   it was asked to stop                              cancelled (cancellation.ts), never started again
 *   it was moved off a draining worker, or its
 *   worker was lost                                   started again elsewhere if supervised; does not count against the limit
 *   it could not be launched                          started again (on another worker if there is one), counts; what is not supervised at
 *                                                     most MAX_LAUNCH_RETRIES times
 *   anything else                                     started again if supervised; counts; past the limit: failed, RESTARTS_EXHAUSTED
 *   any of these after its output was decided         started again to finish that, supervised or not; the limit is then at least the default
 *
 * The delay doubles with each counted restart in the policy's window, from minBackoffMs up to maxBackoffMs; of a job up to JITTER of it is left out.
 */
import type { ErrorShape } from "../base/errors.js";
import { type ApplicationRecord, DEFAULT_RESTART_POLICY, MAX_ATTEMPT_REASONS, type RestartPolicy } from "../wire/application.js";
import { finishApplication } from "./applications.js";
import { resetAttempt } from "./attempts.js";
import { settleCancel } from "./cancellation.js";
import { tell } from "./events.js";
import { keptExecutors } from "./executors.js";
import { stopProcesses } from "./processes.js";
import { enqueue } from "./scheduling.js";
import {
  type Application,
  changeApplication,
  type Executor,
  type MasterState,
  type PlacedProcess,
  type Step,
  shape,
} from "./state.js";

/** Of an application that nobody supervises: for a worker that cannot start anything now, not for a command that is nowhere. */
const MAX_LAUNCH_RETRIES = 5;

/** Share of a job's delay that may be left out: drivers that were lost together do not all come back together. */
const JITTER = 0.2;
/** Not chance: spread evenly over jobs that follow each other. Programs keep to their delays. */
const chanceOf = ({ order, spec }: ApplicationRecord): number => (spec.job === null ? 0 : (order * 0.618_033_988_75) % 1);

export interface AttemptEnd {
  readonly reason: ErrorShape;
  readonly exitCode: number | null;
  /** cluster: no fault of the application, so it does not count against its limit. */
  readonly fault: "application" | "cluster";
  readonly mayRestart: boolean;
  /** At least this long until the next attempt. */
  readonly waitMs: number;
  /** The driver said so itself and ends by itself: it is neither told nor stopped at once. */
  readonly byItself?: boolean;
}

export type Verdict =
  | { readonly restart: true; readonly delayMs: number; readonly restartedAt: readonly number[] }
  | { readonly restart: false };

/** Whether the policy allows one more counted restart at `wall`, and after which delay. `chance`: 0 (included) to 1, different for different applications. */
export function judgeRestart(policy: RestartPolicy, restartedAt: readonly number[], wall: number, chance = 0): Verdict {
  const recent = restartedAt.filter((at) => at > wall - policy.windowMs);
  if (recent.length >= policy.maxRestarts) return { restart: false };
  const delayMs = Math.min(policy.maxBackoffMs, policy.minBackoffMs * 2 ** Math.min(recent.length, 30));
  return { restart: true, delayMs: Math.round(delayMs * (1 - JITTER * chance)), restartedAt: [...recent, wall] };
}

/** What was decided has to become visible, however few restarts the application allows itself. */
function patient(policy: RestartPolicy): RestartPolicy {
  return { ...policy, maxRestarts: Math.max(policy.maxRestarts, DEFAULT_RESTART_POLICY.maxRestarts) };
}

export function endAttempt(state: MasterState, step: Step, app: Application, end: AttemptEnd): void {
  const { record } = app;
  leaveDriver(state, step, app, end);
  const attempt = { attempt: Math.max(1, record.attempt), workerId: record.driver?.workerId ?? null, endedAt: step.now.wall };
  const attempts = [...record.attempts, { ...attempt, reason: end.reason, exitCode: end.exitCode }].slice(-MAX_ATTEMPT_REASONS);
  if (record.cancelRequested) {
    changeApplication(state, app, { attempts, exitCode: end.exitCode });
    settleCancel(state, step, app);
    return;
  }
  changeApplication(state, app, { attempts });
  const mustFinish = record.commit !== null;
  if (record.spec.deployMode === "client" || (!end.mayRestart && !mustFinish)) {
    finishApplication(state, step, app, { state: "failed", reason: end.reason, exitCode: end.exitCode, result: null });
    return;
  }
  const { supervise, restart } = record.spec;
  const policy = mustFinish ? patient(restart) : supervise ? restart : onlyLaunches(restart);
  const verdict: Verdict =
    end.fault === "cluster"
      ? { restart: true, delayMs: 0, restartedAt: record.restartedAt }
      : judgeRestart(policy, record.restartedAt, step.now.wall, chanceOf(record));
  if (!verdict.restart) {
    finishApplication(state, step, app, {
      state: "failed",
      reason: supervise || mustFinish ? exhausted(app, policy, end.reason) : end.reason,
      exitCode: end.exitCode,
      result: null,
    });
    return;
  }
  restartLater(state, step, app, end, verdict.restartedAt, Math.max(verdict.delayMs, end.waitMs));
}

const onlyLaunches = (policy: RestartPolicy): RestartPolicy => ({
  ...policy,
  maxRestarts: Math.min(policy.maxRestarts, MAX_LAUNCH_RETRIES),
});

function restartLater(
  state: MasterState,
  step: Step,
  app: Application,
  end: AttemptEnd,
  restartedAt: readonly number[],
  delayMs: number,
): void {
  if (end.fault === "application") app.avoid = app.record.driver?.workerId ?? null;
  app.readyAt = Math.max(app.restartsFrom, step.now.instant + delayMs);
  const waitMs = app.readyAt - step.now.instant;
  changeApplication(state, app, {
    state: "restarting",
    reason: end.reason,
    notBefore: step.now.wall + waitMs,
    restartedAt: [...restartedAt],
    driver: null,
  });
  if (waitMs > 0) state.deadlines.add(app.readyAt, { kind: "ready", id: app.id });
  const when = waitMs > 0 ? ` in ${Math.round(waitMs)} ms` : "";
  tell(state, step, "application.restarting", app.id, `Application ${app.id} is to be restarted${when}: ${end.reason.message}.`);
  enqueue(state, app);
}

/** The attempt is over: whoever still speaks for it is told, and what it left on workers is stopped. */
function leaveDriver(state: MasterState, step: Step, app: Application, end: AttemptEnd): void {
  const { driver } = app;
  const link = driver?.linkId == null ? undefined : state.links.get(driver.linkId);
  if (link !== undefined && end.byItself !== true) {
    link.driver = null;
    step.turn.effects.push({ kind: "send", linkId: link.id, message: "driver.superseded", body: { reason: end.reason.message } });
    step.turn.effects.push({ kind: "close-link", linkId: link.id, reason: "superseded" });
  }
  const spared = end.byItself === true ? (driver?.processId ?? null) : null;
  // A driver that says its job has to start anew has no use for what still runs of it.
  const kept = end.byItself === true || !end.mayRestart ? new Map<string, Executor>() : keptExecutors(state, app);
  const isOver = ({ processId }: PlacedProcess) => processId !== spared && !kept.has(processId);
  stopProcesses(state, step, app, end.reason.message, isOver);
  if (spared !== null) lingerDriver(state, step, app, spared);
  state.recovery.drivers.delete(app.id);
  resetAttempt(app, kept);
}

/** A driver that has said its last word gets the grace to end by itself, then it is stopped. */
export function lingerDriver(state: MasterState, step: Step, app: Application, processId: string): void {
  const workerId = app.processes.get(processId);
  if (workerId !== undefined)
    state.deadlines.add(step.now.instant + state.settings.stopGraceMs, { kind: "linger", processId, workerId });
}

function exhausted(app: Application, { maxRestarts, windowMs }: RestartPolicy, last: ErrorShape): ErrorShape {
  const often = `${maxRestarts} ${maxRestarts === 1 ? "restart" : "restarts"} within ${Math.round(windowMs / 1000)} s`;
  return shape("RESTARTS_EXHAUSTED", `${app.id} has used up its ${often}; the last attempt: ${last.message}`, last.hint);
}
