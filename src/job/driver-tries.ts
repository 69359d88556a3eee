/** Tries of the job: prepared, deployed, failed, stopped, followed by another one or by the end. */
import { assert } from "../base/assert.js";
import { cleanUp } from "./driver-end.js";
import { attemptName, type Ending, type EventOf } from "./driver-events.js";
import { type DriverState, dismiss, dismissAll, jobSpec, log, release, tryMayFail } from "./driver-state.js";
import { exhausted, failed } from "./endings.js";
import { executorGone, type Failure, failureOf } from "./failures.js";
import { JobTry } from "./job-try.js";
import { decideRestart } from "./restart-strategy.js";
import type { Executor } from "./roster.js";
import { SplitAssignment } from "./splits.js";

export function beginTry(driver: DriverState, number: number): void {
  driver.current = new JobTry(number, driver.config.collectLimits);
  driver.preparing = false;
  driver.phase = { kind: "gathering" };
  prepare(driver);
}

export function prepare(driver: DriverState): void {
  // The first try waits for the master's word that this attempt is the current one: no output is begun for nothing.
  if (driver.preparing || (driver.current.number === 1 && !driver.master.isRegistered)) return;
  driver.preparing = true;
  const attempt = attemptName(driver.config.attempt, driver.current.number);
  driver.out.push({ kind: "prepare", try: driver.current.number, attempt });
}

export function prepared(driver: DriverState, event: EventOf<"prepared">): void {
  if (driver.phase.kind !== "gathering" || event.try !== driver.current.number) return;
  driver.current.splits = new SplitAssignment(event.sources);
  deployWhenReady(driver);
}

export function prepareFailed(driver: DriverState, event: EventOf<"prepare.failed">): void {
  if (driver.phase.kind === "gathering" && event.try === driver.current.number) fail(driver, failureOf(event.error, null));
}

export function deployWhenReady(driver: DriverState): void {
  if (driver.phase.kind !== "gathering" || driver.current.splits === null) return;
  const { parallelism } = jobSpec(driver);
  const executors = driver.roster.connected().slice(0, parallelism);
  if (executors.length < parallelism) return;
  driver.current.deploy(executors);
  driver.phase = { kind: "running" };
  for (const { processId, link } of executors) if (link !== null) resume(driver, processId, link);
  log(driver, "info", `Try ${driver.current.number} runs on ${parallelism} executors.`);
}

/** An executor that came back gets the present order again; it knows whether it already follows it. */
export function resume(driver: DriverState, processId: string, link: number): void {
  const order = driver.current.orderFor(processId);
  if (order === null) return;
  if (driver.phase.kind === "running") driver.out.push({ kind: "tell-executor", link, message: "executor.deploy", body: order });
  else if (driver.phase.kind === "stopping")
    driver.out.push({ kind: "tell-executor", link, message: "executor.cancel", body: { try: order.try } });
}

/** The present try has failed: stop what is left of it. */
export function fail(driver: DriverState, failure: Failure): void {
  if (!tryMayFail(driver)) return;
  driver.current.fail(failure);
  if (driver.phase.kind === "stopping") {
    stoppedWhenSettled(driver);
    return;
  }
  if (driver.phase.kind === "backing-off") {
    if (failure.kind === "fatal") beginEnding(driver, failed(failure.error));
    return;
  }
  driver.phase = { kind: "stopping", until: driver.now + driver.config.limits.cancelMs, ending: null };
  for (const processId of driver.current.unsettled()) {
    const link = driver.roster.get(processId)?.link ?? null;
    if (link !== null)
      driver.out.push({ kind: "tell-executor", link, message: "executor.cancel", body: { try: driver.current.number } });
  }
  stoppedWhenSettled(driver);
}

export function stoppedWhenSettled(driver: DriverState): void {
  if (driver.phase.kind !== "stopping" || driver.current.unsettled().length > 0) return;
  const { ending } = driver.phase;
  if (ending !== null) {
    cleanUp(driver, ending);
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
export function gone(driver: DriverState, executor: Executor, reason: string | null): void {
  const wasRunning = driver.current.state(executor.processId) === "running";
  if (executor.link !== null) dismiss(driver, executor.link, "it was given up");
  release(driver, executor.processId);
  driver.current.gone(executor.processId);
  if (wasRunning && tryMayFail(driver)) fail(driver, executorGone(executor.processId, reason));
  else if (driver.phase.kind === "stopping") stoppedWhenSettled(driver);
}

export function settleFailure(driver: DriverState, failure: Failure): void {
  driver.lastFailure = failure;
  log(driver, "warn", `Try ${driver.current.number} failed: ${failure.error.message}`, { code: failure.error.code });
  if (failure.kind === "fatal") {
    beginEnding(driver, failed(failure.error));
    return;
  }
  const history = driver.histories[failure.kind];
  const decision = decideRestart(driver.config.restart[failure.kind], history, driver.now);
  driver.histories[failure.kind] = decision.history;
  if (decision.delayMs !== null) {
    // A reason that was learned late changes the account, not the try that already waits.
    if (driver.phase.kind === "gathering" && driver.current.failure === null) return;
    driver.phase = { kind: "backing-off", until: driver.now + decision.delayMs };
    return;
  }
  const restarts = driver.current.number - 1;
  const error = restarts === 0 ? failure.error : exhausted(`The job failed ${driver.current.number} times`, failure.error);
  beginEnding(driver, failed(error));
}

export function beginEnding(driver: DriverState, ending: Ending): void {
  driver.phase = { kind: "stopping", until: driver.now + driver.config.limits.cancelMs, ending };
  dismissAll(driver, ending.reason?.message ?? "the job ended");
  // Those without a connection are not waited for: they end by themselves, fenced by the attempt.
  for (const executor of driver.roster.all()) if (executor.link === null) driver.current.gone(executor.processId);
  stoppedWhenSettled(driver);
}
