/**
 * The driver of a job: one attempt of the application, from registration to its reported end. Pure; see base/core.ts.
 *
 *   gathering -> running -> deciding -> committing -> cleaning -> reporting -> ended
 *       ^           | a failure                          ^
 *       |           v                                    | gives up, cancelled, quits
 *   backing-off <- stopping -----------------------------+
 *
 *   taking-over  before all that, in place of a driver that was lost: its executors may go on with what they run (driver-takeover.ts)
 *   gathering    sources are enumerated, sinks begun (`prepare`), executors come until there are enough of them
 *   deciding     the commit is asked of the master: when its answer comes the output is decided, whatever dies afterwards
 *   committing   the sinks make it visible; may be repeated by a later attempt
 *
 * Invariants:
 *   1. No output is made visible before the master said that the commit of this attempt is durable.
 *   2. A new try is deployed only when every member of the one before has stopped or been given up for good.
 *   3. Only leftovers of this driver attempt and of earlier ones are removed: a driver may be superseded without knowing it, and must not
 *      touch what its successor has staged.
 *   4. Superseded means: end at once, touch no output.
 */
import { unreachable } from "../base/assert.js";
import type { Core, Now, Turn } from "../base/core.js";
import type { ErrorShape } from "../base/errors.js";
import type { Progress } from "../wire/progress.js";
import {
  advanceCheckpoints,
  checkpointCommitFailed,
  checkpointCommitted,
  checkpointDeadline,
  executorCheckpointed,
  manifestFailed,
  manifestStored,
} from "./driver-checkpoints.js";
import { beginCommit, end, finishUp, sinksCommitFailed, sinksCommitted } from "./driver-end.js";
import type { DriverConfig, DriverEffect, DriverEvent, EventOf } from "./driver-events.js";
import {
  executorCollected,
  executorDone,
  executorFailed,
  executorReachable,
  executorRegistered,
  executorSplit,
  executorStopped,
  executorUnlinked,
  executorUnreachable,
  fromMember,
} from "./driver-executors.js";
import { masterCancel, masterExecutors, masterFound, masterRegistered, requestAnswered, superseded } from "./driver-master.js";
import { regionsDeadline, restartSlices } from "./driver-regions.js";
import { requestsCame, savepointFailed, savepointRestored, savepointRestoreFailed, savepointWritten } from "./driver-savepoints.js";
import {
  createDriverState,
  type DriverState,
  dismissAll,
  isUndecided,
  type Phase,
  phaseDeadline,
  progress,
  progressPhase,
} from "./driver-state.js";
import { leavesExecutors, takeoverOverdue } from "./driver-takeover.js";
import { beginEnding, beginTry, giveUp, giveUpUnsettled, gone, prepared, prepareFailed } from "./driver-tries.js";
import { cancelled, failed, quit } from "./endings.js";

/** For tests and logs. */
export interface DriverView {
  readonly phase: Phase["kind"];
  readonly try: number;
  readonly executors: readonly string[];
  readonly registered: boolean;
  readonly progress: Progress;
}

export interface DriverCore extends Core<DriverEvent, DriverEffect> {
  view(): DriverView;
}

export function createDriverCore(config: DriverConfig): DriverCore {
  const driver = createDriverState(config);
  return {
    step: (event, now, turn) => step(driver, event, now, turn),
    nextWakeAt: () => nextWakeAt(driver),
    view: () => viewOf(driver),
  };
}

function step(driver: DriverState, event: DriverEvent, now: Now, turn: Turn<DriverEffect>): void {
  if (driver.phase.kind === "ended") return;
  driver.out = turn.effects;
  driver.now = now.instant;
  driver.wall = now.wall;
  const phase = progressPhase(driver);
  handle(driver, event);
  restartSlices(driver);
  advanceCheckpoints(driver);
  // What the driver before has told holds until it is known what becomes of its try.
  if (driver.phase.kind === "taking-over") {
    driver.master.flush(driver.now, driver.out);
    return;
  }
  const isNewPhase = progressPhase(driver) !== phase;
  if (event.kind !== "wake-up" || isNewPhase) driver.master.report(() => progress(driver));
  if (isNewPhase) driver.master.tellProgress(driver.now, driver.out);
  driver.master.flush(driver.now, driver.out);
}

function nextWakeAt(driver: DriverState): number | null {
  if (driver.phase.kind === "ended") return null;
  const at = Math.min(
    phaseDeadline(driver),
    checkpointDeadline(driver),
    regionsDeadline(driver),
    driver.roster.nextDeadline(),
    driver.master.nextDeadline(),
  );
  return at === Number.POSITIVE_INFINITY ? null : at;
}

function viewOf(driver: DriverState): DriverView {
  return {
    phase: driver.phase.kind,
    try: driver.current.number,
    executors: driver.roster.connected().map((executor) => executor.processId),
    registered: driver.master.isRegistered,
    progress: progress(driver),
  };
}

function handle(driver: DriverState, event: DriverEvent): void {
  switch (event.kind) {
    case "started":
      start(driver);
      return;
    case "wake-up":
      wakeUp(driver);
      return;
    case "stop":
      stop(driver, event);
      return;
    case "crashed":
      crashed(driver, event.error);
      return;
    case "master.found":
      masterFound(driver, event);
      return;
    case "master.registered":
      masterRegistered(driver, event);
      return;
    case "master.lost":
      driver.master.lost(event.link);
      return;
    case "master.executors":
      masterExecutors(driver, event);
      return;
    case "master.cancel":
      masterCancel(driver, event);
      return;
    case "master.checkpoint-requests":
      if (driver.master.accepts(event.epoch)) requestsCame(driver, event.requests);
      return;
    case "master.superseded":
      superseded(driver, event.epoch, event.reason, event.finalState);
      return;
    case "request.answered":
      requestAnswered(driver, event);
      return;
    case "executor.registered":
      executorRegistered(driver, event);
      return;
    case "executor.unlinked":
      executorUnlinked(driver, event.link);
      return;
    case "executor.reachable":
      executorReachable(driver, event.processId);
      return;
    case "executor.unreachable":
      executorUnreachable(driver, event.processId);
      return;
    case "executor.split":
      executorSplit(driver, event);
      return;
    case "executor.collected":
      executorCollected(driver, event);
      return;
    case "executor.progress":
      fromMember(driver, event, (member) => driver.current.report(member.processId, event.progress));
      return;
    case "executor.done":
      fromMember(driver, event, (member) => executorDone(driver, member, event));
      return;
    case "executor.checkpointed":
      fromMember(driver, event, (member) => executorCheckpointed(driver, member, event));
      return;
    case "executor.failed":
      fromMember(driver, event, (member) => executorFailed(driver, member, event.error));
      return;
    case "executor.cancelled":
      fromMember(driver, event, (member) => executorStopped(driver, member));
      return;
    case "prepared":
      prepared(driver, event);
      return;
    case "prepare.failed":
      prepareFailed(driver, event);
      return;
    case "manifest.stored":
      manifestStored(driver, event);
      return;
    case "manifest.failed":
      manifestFailed(driver, event);
      return;
    case "checkpoint.committed":
      checkpointCommitted(driver, event);
      return;
    case "checkpoint.commit-failed":
      checkpointCommitFailed(driver, event);
      return;
    case "savepoint.written":
      savepointWritten(driver, event);
      return;
    case "savepoint.failed":
      savepointFailed(driver, event);
      return;
    case "savepoint.restored":
      savepointRestored(driver, event);
      return;
    case "savepoint.restore-failed":
      savepointRestoreFailed(driver, event);
      return;
    case "sinks.committed":
      sinksCommitted(driver);
      return;
    case "sinks.commit-failed":
      sinksCommitFailed(driver, event.error);
      return;
    case "cleaned":
      driver.phase.kind === "cleaning" ? finishUp(driver, driver.phase.ending, event.leftovers === true) : undefined;
      return;
    default:
      unreachable(event, "driver event");
      return;
  }
}

function start(driver: DriverState): void {
  const { application, broken } = driver.config;
  // A damaged copy of the bundle, or an output that is decided, may fare better elsewhere; a job that can't be planned never does.
  const restart = application.commit !== null || broken?.code === "ARTIFACT_CORRUPT";
  if (broken !== null) beginEnding(driver, { ...failed(broken), restart });
  else if (application.commit !== null) beginCommit(driver, application.commit);
  else if (application.cancelRequested) beginEnding(driver, cancelled("It was cancelled before its driver started."));
}

function wakeUp(driver: DriverState): void {
  for (const executor of driver.roster.overdue(driver.now)) gone(driver, executor, "its connection broke and it did not come back");
  const { phase } = driver;
  if (phaseDeadline(driver) > driver.now) return;
  if (phase.kind === "stopping") giveUpUnsettled(driver);
  else if (phase.kind === "taking-over") takeoverOverdue(driver);
  else if (phase.kind === "backing-off") beginTry(driver, driver.current.number + 1);
  else if (phase.kind === "awaiting-reason") giveUp(driver, phase.failure);
  else if (phase.kind === "committing") beginCommit(driver, phase.manifest, phase.repeats);
  else if (phase.kind === "cleaning") finishUp(driver, phase.ending, true);
  else if (phase.kind === "reporting") end(driver, phase.ending);
}

/** Another process goes on, from the input or with the commit that was decided. */
function crashed(driver: DriverState, error: ErrorShape): void {
  if (driver.phase.kind === "reporting") return;
  driver.toldToGo = true;
  dismissAll(driver, error.message);
  finishUp(driver, { outcome: "failed", reason: error, result: null, restart: true });
}

/** The decision may be durable already: what is staged is needed by whoever finishes it, so nothing is removed. */
function leaveUndecided(driver: DriverState, reason: string): void {
  dismissAll(driver, reason);
  finishUp(driver, quit(reason));
}

function stop(driver: DriverState, event: EventOf<"stop">): void {
  driver.toldToGo = true;
  if (event.mode === "cancel") driver.cancelReason = event.reason;
  const { phase } = driver;
  if (event.mode === "quit" && leavesExecutors(driver)) finishUp(driver, quit(event.reason));
  else if (isUndecided(driver)) beginEnding(driver, event.mode === "cancel" ? cancelled(event.reason) : quit(event.reason));
  else if (phase.kind === "deciding" && event.mode === "quit") leaveUndecided(driver, event.reason);
  else if (phase.kind === "reporting") driver.phase = { ...phase, giveUpAt: driver.now + driver.config.limits.cleanUpMs };
}
