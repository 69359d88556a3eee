/** What masters say: registration, executors that ended elsewhere, cancel, superseded, answers to requests. */
import { checkpointAnswered, enableCheckpoints } from "./driver-checkpoints.js";
import { adoptCommit, beginCommit, end, forgetCheckpoints } from "./driver-end.js";
import type { EventOf } from "./driver-events.js";
import { changeOver, releaseIdle } from "./driver-moves.js";
import { tellFailures } from "./driver-parking.js";
import { tellAnswersAgain } from "./driver-savepoints.js";
import { type DriverState, isFormer, isOurs, isUndecided, release, wanted } from "./driver-state.js";
import { beginTakeover, formerGone, giveBackStrangers, leavesExecutors } from "./driver-takeover.js";
import { beginEnding, gone, learnReason, prepare, tellRestored } from "./driver-tries.js";
import { cancelled, exhausted, failed, finalStateOf, shape } from "./endings.js";
import { countedFailures } from "./failure-notes.js";
import { executorGone, explains } from "./failures.js";

export function masterFound(driver: DriverState, event: EventOf<"master.found">): void {
  if (!driver.master.accepts(event.epoch)) {
    driver.out.push({
      kind: "leave-master",
      link: event.link,
      reason: `its epoch ${event.epoch} is over, epoch ${driver.master.highestEpoch} leads`,
    });
    return;
  }
  const { config } = driver;
  driver.master.found(
    event.link,
    {
      applicationId: config.application.id,
      attempt: config.attempt,
      pid: config.pid,
      address: config.address,
      highestEpoch: driver.master.highestEpoch,
      application: driver.application,
      wanted: wanted(driver),
      executors: driver.roster.connected().map((executor) => executor.processId),
      expected: expected(driver),
      released: driver.roster.releasedIds(),
    },
    driver.out,
  );
}

/** What an earlier master has ordered and nobody has seen here: the next one need not order others in its place. */
function expected(driver: DriverState): { processId: string; workerId: string }[] {
  if (wanted(driver) === 0) return [];
  return driver.ordered.filter(
    ({ processId }) =>
      !isFormer(driver, processId) && (driver.roster.get(processId)?.link ?? null) === null && !driver.roster.isReleased(processId),
  );
}

export function masterRegistered(driver: DriverState, event: EventOf<"master.registered">): void {
  if (!driver.master.accepts(event.epoch) || !driver.master.answered(event.link, driver.out)) return;
  const { application } = event;
  driver.application = application;
  enableCheckpoints(driver);
  const { former = [] } = event;
  tellAnswersAgain(driver);
  if (driver.phase.kind === "running") tellRestored(driver);
  if (driver.failures !== null) tellFailures(driver);
  else if (application.failures !== undefined) driver.failures = countedFailures(application.failures, driver);
  if (driver.master.hasUnsaid) driver.master.executors(wanted(driver), driver.roster.releasedIds(), driver.out);
  if (application.commit !== null && isUndecided(driver)) adoptCommit(driver, application.commit);
  else if (application.cancelRequested) cancel(driver, "It was cancelled.");
  else if (driver.phase.kind === "gathering" && !beginTakeover(driver, former)) prepare(driver);
}

export function masterExecutors(driver: DriverState, event: EventOf<"master.executors">): void {
  if (!driver.master.accepts(event.epoch)) return;
  driver.draining = new Set(event.executors.flatMap((view) => (view.draining === true ? [view.processId] : [])));
  driver.ordered = event.executors.flatMap(({ processId, workerId, state }) =>
    workerId !== null && (state === "placed" || state === "running") ? [{ processId, workerId }] : [],
  );
  giveBackStrangers(
    driver,
    event.executors.flatMap(({ processId, state }) => (state === "placed" || state === "running" ? [processId] : [])),
  );
  for (const view of event.executors) {
    if ((view.state !== "ended" && view.state !== "lost") || !isOurs(driver, view.processId)) continue;
    const executor = driver.roster.get(view.processId);
    if (view.state === "ended") driver.current.ended(view.processId);
    if (executor !== undefined) {
      // A worker that is lost to the master may still run an executor that answers us: this connection judges its life.
      if (view.state === "ended" || executor.link === null)
        gone(driver, executor, view.reason ?? "its process ended", explains(view.reason));
    } else if (driver.roster.isReleased(view.processId)) learnReason(driver, view.processId, view.reason);
    else neverConnected(driver, view.processId, view.state === "ended", view.reason);
  }
  changeOver(driver);
  releaseIdle(driver);
}

export function neverConnected(driver: DriverState, processId: string, ended: boolean, reason: string | null): void {
  release(driver, processId);
  if (driver.takeover?.former.has(processId) === true) {
    formerGone(driver, processId);
    return;
  }
  if (!ended || wanted(driver) === 0) return;
  driver.startFailures += 1;
  const isWaiting = driver.phase.kind === "gathering" || driver.current.waiting().length > 0;
  if (driver.startFailures < driver.config.limits.maxStartFailures || !isWaiting) return;
  const failure = executorGone(processId, reason ?? "it ended before it connected to its driver", true);
  beginEnding(
    driver,
    failed(exhausted(`${driver.startFailures} executors in a row ended before they connected to the driver`, failure.error)),
  );
}

export function masterCancel(driver: DriverState, event: EventOf<"master.cancel">): void {
  if (driver.master.accepts(event.epoch)) cancel(driver, event.reason);
}

export function cancel(driver: DriverState, reason: string): void {
  driver.cancelReason = reason;
  const { phase } = driver;
  // Once the commit is asked for, the master decides which of the two came first.
  if (isUndecided(driver)) beginEnding(driver, cancelled(reason));
  // A worker that stops a cancelled driver may be faster than the master's own word.
  else if ((phase.kind === "stopping" || phase.kind === "cleaning") && phase.ending?.outcome === "quit") {
    driver.phase = { ...phase, ending: cancelled(reason) };
  }
}

export function superseded(driver: DriverState, epoch: number, reason: string, finalState: string | null): void {
  if (!driver.master.accepts(epoch)) return;
  // The answer to the last report was lost with its master, the report was not.
  if (driver.phase.kind === "reporting" && driver.phase.ending.outcome === finalState) {
    forgetCheckpoints(driver, driver.phase.ending);
    end(driver, driver.phase.ending);
    return;
  }
  const leaves = finalState === null && leavesExecutors(driver);
  end(driver, { outcome: "superseded", reason: shape("SUPERSEDED", reason), result: null, restart: false }, leaves);
}

export function requestAnswered(driver: DriverState, event: EventOf<"request.answered">): void {
  if (event.error?.code === "SUPERSEDED") {
    superseded(driver, driver.master.highestEpoch, event.error.message, finalStateOf(event.error));
    return;
  }
  const settled = driver.master.settle(event.number, event.error, driver.now);
  if (settled === "again") return;
  const { phase } = driver;
  if (event.request === "driver.checkpoint") {
    checkpointAnswered(driver, settled === "done" ? null : event.error);
    return;
  }
  if (event.request === "driver.finished" && phase.kind === "reporting") {
    if (settled === "done") forgetCheckpoints(driver, phase.ending);
    end(driver, phase.ending);
    return;
  }
  if (event.request !== "driver.commit" || phase.kind !== "deciding") return;
  if (settled === "done") {
    driver.application = { ...driver.application, commit: phase.manifest };
    beginCommit(driver, phase.manifest);
  } else if (driver.cancelReason !== null) beginEnding(driver, cancelled(driver.cancelReason));
  else beginEnding(driver, failed(event.error));
}
