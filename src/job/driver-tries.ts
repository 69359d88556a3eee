/** Tries of the job: prepared, deployed, failed, stopped, followed by another one or by the end. */
import { assert } from "../base/assert.js";
import { hashText } from "../dataflow/hash.js";
import { MAX_FAILED_TRIES } from "../wire/progress.js";
import { crashLoop, isLoop, noteLoop } from "./crash-loop.js";
import {
  checkpointsSettled,
  lastCheckpoint,
  neededTries,
  noteUnended,
  orderCheckpoint,
  tryBegan,
  tryEnded,
} from "./driver-checkpoints.js";
import { cleanUp, finishUp } from "./driver-end.js";
import { attemptName, type Ending, type EventOf } from "./driver-events.js";
import { byPreference, giveBackDraining, releaseIdle } from "./driver-moves.js";
import { isForPeople, mayPark, tellFailures } from "./driver-parking.js";
import { sliceFailed } from "./driver-regions.js";
import { beginsFromSavepoint, restoreSavepoint } from "./driver-savepoints.js";
import {
  countedSoFar,
  type DriverState,
  dismiss,
  dismissAll,
  jobSpec,
  log,
  progress,
  release,
  tryMayFail,
} from "./driver-state.js";
import { formerGone, startAnew, takeOver } from "./driver-takeover.js";
import { exhausted, failed, parked } from "./endings.js";
import { cause, executorGone, explains, type Failure, failureOf } from "./failures.js";
import { JobTry } from "./job-try.js";
import { decideRestart, type RestartDecision } from "./restart-strategy.js";
import type { Executor } from "./roster.js";
import { SplitAssignment } from "./splits.js";

const MAX_REASON_CHARS = 500;

export function beginTry(driver: DriverState, number: number): void {
  noteUnended(driver);
  driver.current = new JobTry(number, attemptName(driver.config.attempt, number), driver.config.collectLimits);
  driver.preparing = false;
  driver.phase = { kind: "gathering" };
  prepare(driver);
}

export function prepare(driver: DriverState): void {
  // The first try waits for the master's word that this attempt is the current one: no output is begun for nothing.
  if (driver.preparing || (driver.current.number === 1 && !driver.master.isRegistered)) return;
  // The checkpoint to go on from is not known before the outcome of the last one is.
  if (!checkpointsSettled(driver)) return;
  if (beginsFromSavepoint(driver)) {
    driver.preparing = restoreSavepoint(driver);
    return;
  }
  driver.preparing = true;
  const attempt = driver.current.name;
  const pointer = driver.checkpoints === null ? null : lastCheckpoint(driver);
  driver.restoring = pointer;
  const from = {
    ...(driver.checkpoints === null ? {} : { storage: driver.checkpoints.storage }),
    ...(pointer === null ? {} : { restore: pointer }),
  };
  driver.out.push({ kind: "prepare", try: driver.current.number, attempt, ...from, keep: neededTries(driver) });
}

export function prepared(driver: DriverState, event: EventOf<"prepared">): void {
  if (event.runs === true) {
    takeOver(driver, event);
    return;
  }
  if (driver.phase.kind !== "gathering" || event.try !== driver.current.number) return;
  driver.current.splits = new SplitAssignment(event.sources);
  restored(driver, event);
  deployWhenReady(driver);
}

function restored(driver: DriverState, { restored }: EventOf<"prepared">): void {
  const { restoring: checkpoint, checkpoints } = driver;
  if (checkpoint === null || restored === undefined || checkpoints === null) return;
  checkpoints.carried = restored.carried;
  checkpoints.known = checkpoint.id;
  const recordsBack = driver.recordsSeen === null ? null : Math.max(0, driver.recordsSeen - restored.counts.recordsIn);
  driver.current.restored = {
    name: driver.current.name,
    checkpoint,
    counts: restored.counts,
    recordsBack,
  };
  driver.current.goesOnFrom = driver.current.restored;
  const back = recordsBack === null ? "" : `, ${recordsBack} records back`;
  log(driver, "info", `Try ${driver.current.number} goes on from checkpoint ${checkpoint.id}${back}.`, {
    checkpoint: checkpoint.id,
    recordsBack,
  });
}

/** Once a try; to a master that is away when it is back. */
export function tellRestored(driver: DriverState): void {
  const { goesOnFrom } = driver.current;
  if (goesOnFrom === null || driver.restoredTold === goesOnFrom.name || !driver.master.isRegistered) return;
  driver.restoredTold = goesOnFrom.name;
  const { name, checkpoint, counts, recordsBack, slice } = goesOnFrom;
  const body = {
    try: name,
    checkpoint: checkpoint.id,
    recordsIn: counts.recordsIn,
    recordsBack,
    ...(slice === undefined ? {} : { slice }),
  };
  driver.out.push({ kind: "tell-master", message: "driver.restored", body });
}

export function prepareFailed(driver: DriverState, event: EventOf<"prepare.failed">): void {
  if (event.runs === true) {
    startAnew(driver, event.error.message);
    return;
  }
  if (driver.phase.kind === "gathering" && event.try === driver.current.number) fail(driver, failureOf(event.error, null));
}

export function deployWhenReady(driver: DriverState): void {
  if (driver.phase.kind !== "gathering" || driver.current.splits === null) return;
  const { parallelism } = jobSpec(driver);
  const executors = byPreference(driver).slice(0, parallelism);
  if (executors.length < parallelism) return;
  driver.current.deploy(executors);
  driver.phase = { kind: "running" };
  tryBegan(driver);
  tellRestored(driver);
  for (const { processId, link } of executors) if (link !== null) resume(driver, processId, link);
  log(driver, "info", `Try ${driver.current.number} runs on ${parallelism} executors.`);
  releaseIdle(driver);
}

/** An executor that came back gets the present order again; it knows whether it already follows it. */
export function resume(driver: DriverState, processId: string, link: number): void {
  const order = driver.current.orderFor(processId, driver.checkpoints?.storage ?? null);
  if (order === null) return;
  if (driver.phase.kind === "running") {
    driver.out.push({ kind: "tell-executor", link, message: "executor.deploy", body: order });
    orderCheckpoint(driver, processId, link);
  } else if (driver.phase.kind === "stopping")
    driver.out.push({ kind: "tell-executor", link, message: "executor.cancel", body: { try: order.try } });
}

/** The present try has failed: stop what is left of it. */
export function fail(driver: DriverState, failure: Failure): void {
  if (!tryMayFail(driver)) return;
  driver.current.fail(storageFailure(driver, failure));
  if (driver.phase.kind === "stopping") {
    stoppedWhenSettled(driver);
    return;
  }
  if (driver.phase.kind === "backing-off" || driver.phase.kind === "awaiting-reason") {
    if (failure.kind === "fatal") beginEnding(driver, failed(failure.error));
    return;
  }
  tryEnded(driver);
  if (driver.phase.kind === "running") driver.recordsSeen = progress(driver).recordsIn;
  driver.phase = { kind: "stopping", until: driver.now + driver.config.limits.cancelMs, ending: null };
  for (const processId of driver.current.unsettled()) {
    const link = driver.roster.get(processId)?.link ?? null;
    const tryNumber = driver.current.tryOf(processId);
    if (link !== null && tryNumber !== null)
      driver.out.push({ kind: "tell-executor", link, message: "executor.cancel", body: { try: tryNumber } });
  }
  stoppedWhenSettled(driver);
}

/** Storage that can't be reached is a mistake when the job begins; later something has happened to it, and it may come back. */
export function storageFailure(driver: DriverState, failure: Failure): Failure {
  if (failure.error.code !== "CHECKPOINT_STORAGE") return failure;
  return { ...failure, kind: lastCheckpoint(driver) === null ? "fatal" : "lost", symptom: false };
}

export function stoppedWhenSettled(driver: DriverState): void {
  if (driver.phase.kind !== "stopping" || driver.current.unsettled().length > 0) return;
  const { ending } = driver.phase;
  if (ending !== null) {
    // What a parked job has staged may be needed by whatever a person decides.
    if (ending.outcome === "parked") finishUp(driver, ending);
    else cleanUp(driver, ending);
    return;
  }
  const { failure } = driver.current;
  assert(failure !== null, "a try that is followed by another one has failed");
  settleFailure(driver, failure);
}

export function giveUpUnsettled(driver: DriverState): void {
  for (const processId of driver.current.unsettled()) {
    const executor = driver.roster.get(processId);
    if (executor === undefined) driver.current.gone(processId);
    else gone(driver, executor, `it did not stop within ${driver.config.limits.cancelMs} ms`);
  }
  stoppedWhenSettled(driver);
}

/** The executor is lost for good; the master may use its place for another one. */
export function gone(driver: DriverState, executor: Executor, reason: string | null, explained = false): void {
  const wasRunning = driver.current.state(executor.processId) === "running";
  if (executor.link !== null) dismiss(driver, executor.link, "it was given up");
  release(driver, executor.processId);
  driver.current.gone(executor.processId);
  formerGone(driver, executor.processId);
  if (wasRunning && tryMayFail(driver))
    sliceFailed(driver, executor.processId, executorGone(executor.processId, reason, explained));
  else if (driver.phase.kind === "stopping") stoppedWhenSettled(driver);
}

export function settleFailure(driver: DriverState, failure: Failure): void {
  if (failure.kind === "moved") {
    giveBackDraining(driver);
    beginTry(driver, driver.current.number + 1);
    return;
  }
  noteFailure(driver, failure);
  log(driver, "warn", `Try ${driver.current.number} failed: ${failure.error.message}`, { code: failure.error.code });
  if (failure.kind === "fatal") {
    beginEnding(driver, isForPeople(driver, failure.error) ? parked(failure.error) : failed(failure.error));
    return;
  }
  const delayMs = driver.current.isGivenUp ? null : decideNext(driver, failure);
  if (delayMs === "parked") return;
  if (delayMs !== null) {
    // A reason that was learned late changes the account, not the try that already waits or runs.
    if ((driver.phase.kind === "gathering" || driver.phase.kind === "running") && driver.current.failure === null) return;
    driver.phase = { kind: "backing-off", until: driver.now + delayMs };
    return;
  }
  if (failure.explained) giveUp(driver, failure);
  // A job should not end without the reason that is on its way.
  else driver.phase = { kind: "awaiting-reason", until: driver.now + driver.config.limits.reasonMs, failure };
}

/** Counts the failure. How long to wait for the next try; null: none may follow. */
export function decideNext(driver: DriverState, failure: Failure): number | "parked" | null {
  const { delayMs } = countFailure(driver, failure);
  const { loop } = countedSoFar(driver);
  if (!isLoop(loop) || !mayPark(driver)) return delayMs;
  beginEnding(driver, parked(crashLoop(loop, failure.error)));
  return "parked";
}

function countFailure(driver: DriverState, failure: Failure): RestartDecision {
  const counted = countedSoFar(driver);
  const account = accountOf(driver, failure.kind);
  const name = `${driver.config.application.id} ${driver.current.name}`;
  const decision = decideRestart(driver.config.restart[account], counted[account], driver.now, chanceOf(name));
  driver.failures = { ...counted, [account]: decision.history, loop: noteLoop(counted.loop, failure, driver.now) };
  tellFailures(driver);
  return decision;
}

/** Not chance: the same for the same try, and different for different ones. */
const chanceOf = (name: string): number => (hashText(name) >>> 0) / 2 ** 32;

/** How a process ended is often known only after the connection's break was acted upon. */
export function learnReason(driver: DriverState, processId: string, reason: string | null): void {
  if (!explains(reason) || !tryMayFail(driver)) return;
  const better = executorGone(processId, reason, true);
  if (driver.phase.kind === "stopping") {
    if (driver.current.failure?.processId === processId) driver.current.fail(better);
    return;
  }
  const known = driver.lastFailure;
  if (known === null || known.processId !== processId || cause(known, better) === known) return;
  if (accountOf(driver, better.kind) !== accountOf(driver, known.kind)) {
    settleFailure(driver, better);
    return;
  }
  noteFailure(driver, better);
  if (driver.phase.kind === "awaiting-reason") giveUp(driver, better);
}

/** The restart strategy allows no further try. */
export function giveUp(driver: DriverState, failure: Failure): void {
  const { number } = driver.current;
  const error = number === 1 ? failure.error : exhausted(`The job failed ${number} times`, failure.error, driver.failedTries);
  beginEnding(driver, failed(error));
}

/** A strategy that serves both kinds of failures counts them together. */
function accountOf(driver: DriverState, kind: Failure["kind"]): "lost" | "user" {
  const { lost, user } = driver.config.restart;
  return kind === "user" && lost !== user ? "user" : "lost";
}

/** Keeps the reason with the try; a better one that is learned later takes its place. */
export function noteFailure(driver: DriverState, failure: Failure): void {
  const { code, message } = failure.error;
  const isSame = driver.lastFailure !== null && driver.lastFailure.processId === failure.processId && !driver.lastFailure.explained;
  const last = driver.failedTries.at(-1);
  const number = isSame && last !== undefined ? last.try : driver.current.number;
  const others = driver.failedTries.filter((entry) => entry.try !== number);
  driver.failedTries = [...others, { try: number, code, message: message.slice(0, MAX_REASON_CHARS) }].slice(-MAX_FAILED_TRIES);
  driver.lastFailure = failure;
}

export function beginEnding(driver: DriverState, ending: Ending): void {
  tryEnded(driver);
  driver.phase = { kind: "stopping", until: driver.now + driver.config.limits.cancelMs, ending };
  dismissAll(driver, ending.reason?.message ?? "the job ended");
  // Those without a connection are not waited for: they end by themselves, fenced by the attempt.
  for (const executor of driver.roster.all()) if (executor.link === null) driver.current.gone(executor.processId);
  stoppedWhenSettled(driver);
}
