/** What executors say, and what becomes of their connections. */
import type { ErrorShape } from "../base/errors.js";
import { checkpointsSettled, executorFinished } from "./driver-checkpoints.js";
import { decide } from "./driver-end.js";
import type { EventOf } from "./driver-events.js";
import { changeOver, releaseIdle } from "./driver-moves.js";
import { sliceFailed } from "./driver-regions.js";
import { type DriverState, dismiss, isOurs, memberOf, release, wanted } from "./driver-state.js";
import { answer, expectFormer, offered } from "./driver-takeover.js";
import { deployWhenReady, fail, gone, stoppedWhenSettled } from "./driver-tries.js";
import { shape } from "./endings.js";
import { failureOf } from "./failures.js";
import type { Executor } from "./roster.js";

export function executorRegistered(driver: DriverState, event: EventOf<"executor.registered">): void {
  const { application, attempt, graphHash } = driver.config;
  if (!driver.master.wasRegistered || driver.phase.kind === "taking-over") expectFormer(driver, event.processId);
  if (!isOurs(driver, event.processId)) {
    dismiss(driver, event.link, `executor ${event.processId} does not belong to attempt ${attempt} of ${application.id}`);
    return;
  }
  if (driver.roster.isReleased(event.processId)) {
    dismiss(driver, event.link, "its place was given to another executor");
    return;
  }
  if (wanted(driver) === 0) {
    dismiss(driver, event.link, "the job needs no executors any more");
    return;
  }
  if (event.graphHash !== graphHash) {
    otherGraph(driver, event);
    return;
  }
  driver.startFailures = 0;
  driver.roster.connect(event.processId, event.pid, event.dataAddress, event.link);
  if (offered(driver, event)) return;
  answer(driver, event.processId, event.link);
  deployWhenReady(driver);
  // It may be the last that is waited for: the master's view of it may have come before it did.
  changeOver(driver);
  // Or one too many: a leader that did not know of it has ordered others. One that no view has shown yet may be for those on a draining worker.
  if (driver.ordered.some(({ processId }) => processId === event.processId)) releaseIdle(driver);
}

export function otherGraph(driver: DriverState, event: EventOf<"executor.registered">): void {
  const message = `Executor ${event.processId} built the job graph ${event.graphHash}, the driver ${driver.config.graphHash}.`;
  dismiss(driver, event.link, message);
  release(driver, event.processId);
  const hint = "The graph depends on the clock, on chance or on the machine: let `build` depend on its params only.";
  fail(driver, {
    kind: "fatal",
    error: { code: "GRAPH_MISMATCH", message, hint },
    processId: event.processId,
    symptom: false,
    explained: true,
  });
}

export function executorUnlinked(driver: DriverState, link: number): void {
  const executor = driver.roster.byLink(link);
  if (executor === undefined) return;
  const { reconnectMs, unresponsiveMs } = driver.config.limits;
  if (wanted(driver) === 0) {
    gone(driver, executor, null);
    return;
  }
  driver.roster.disconnect(executor, driver.now, reconnectMs);
  driver.out.push({ kind: "probe", processId: executor.processId, address: executor.dataAddress, forMs: unresponsiveMs });
}

/** It lives, and is busy or slow: it gets more time, but not for ever. */
export function executorReachable(driver: DriverState, processId: string): void {
  const executor = driver.roster.get(processId);
  if (executor === undefined || executor.link !== null) return;
  const { reconnectMs, unresponsiveMs } = driver.config.limits;
  executor.reconnectUntil = Math.min(driver.now + reconnectMs, executor.disconnectedAt + unresponsiveMs);
}

export function executorUnreachable(driver: DriverState, processId: string): void {
  const executor = driver.roster.get(processId);
  driver.current.ended(processId);
  if (executor !== undefined && executor.link === null)
    gone(driver, executor, "its connection broke and it can not be reached any more");
}

export function executorSplit(driver: DriverState, event: EventOf<"executor.split">): void {
  const member = memberOf(driver, event);
  const reader = member === null ? null : driver.current.readerOf(member.processId);
  const answer = reader === null ? undefined : driver.current.splits?.answer(event.source, reader, event.ask);
  if (answer === undefined) {
    const error = shape("ABORTED", `Try ${event.try} of the job has no such source any more: ${event.source}.`);
    driver.out.push({ kind: "refuse", link: event.link, requestId: event.requestId, error });
    return;
  }
  const { split, position, readers, more, isNews } = answer;
  const { splits } = driver.current;
  const from = position === null ? {} : { position };
  driver.out.push({ kind: "reply", link: event.link, requestId: event.requestId, body: { split, ...from, readers, more } });
  if (!isNews) return;
  for (const { link, processId } of driver.roster.connected()) {
    const [tryNumber, other] = [driver.current.tryOf(processId), driver.current.readerOf(processId)];
    if (link === null || link === event.link || tryNumber === null || other === null) continue;
    const body = { try: tryNumber, source: event.source, readers, more: splits?.hasMore(event.source, other) ?? false };
    driver.out.push({ kind: "tell-executor", link, message: "executor.readers", body });
  }
}

export function executorCollected(driver: DriverState, event: EventOf<"executor.collected">): void {
  const member = memberOf(driver, event);
  const reader = member === null ? null : driver.current.readerOf(member.processId);
  if (member === null || reader === null) {
    const error = shape("ABORTED", `Try ${event.try} of the job is over.`);
    driver.out.push({ kind: "refuse", link: event.link, requestId: event.requestId, error });
    return;
  }
  const error = driver.current.collected.add(event.sink, reader, event.batch, event.records);
  if (error === null) {
    driver.out.push({ kind: "reply", link: event.link, requestId: event.requestId, body: {} });
    return;
  }
  driver.out.push({ kind: "refuse", link: event.link, requestId: event.requestId, error });
  fail(driver, { kind: "fatal", error, processId: member.processId, symptom: false, explained: true });
}

export function executorDone(driver: DriverState, member: Executor, event: EventOf<"executor.done">): void {
  driver.current.report(member.processId, event.progress);
  driver.current.done(member.processId, event.committables);
  executorFinished(driver, member.processId);
  if (driver.phase.kind === "running" && driver.current.isComplete() && checkpointsSettled(driver)) decide(driver);
}

export function executorFailed(driver: DriverState, member: Executor, error: ErrorShape): void {
  driver.current.stopped(member.processId);
  sliceFailed(driver, member.processId, failureOf(error, member.processId));
}

export function executorStopped(driver: DriverState, member: Executor): void {
  if (driver.phase.kind !== "stopping") return;
  driver.current.stopped(member.processId);
  stoppedWhenSettled(driver);
}

export function fromMember(
  driver: DriverState,
  event: { readonly link: number; readonly try: number },
  then: (member: Executor) => void,
): void {
  const member = memberOf(driver, event);
  if (member !== null) then(member);
}
