/**
 * A driver in place of one that was lost: takes the try over that its executors still run, or starts again from the last checkpoint.
 *
 *   taking-over -> running       every member offers what it runs, and it fits the record's last checkpoint (takeover.ts): what that makes visible is committed again,
 *        |                       a checkpoint that was being taken is over, and the members are answered; they have gone on all the time
 *        `------> gathering      anything else: all of them are told to end, and given back; others come in their place
 *
 * Invariants:
 *   1. Until it is decided no executor of an earlier attempt is answered, so none of them asks or is told anything. One that was not answered can't be taken over by
 *      the attempt that follows: what it staged may be removed.
 *   2. Nothing is removed before that, and nothing that the try has staged afterwards.
 */
import type { OfferedSlice } from "../wire/executor-messages.js";
import { lastCheckpoint, tryBegan } from "./driver-checkpoints.js";
import type { EventOf } from "./driver-events.js";
import { changeOver, releaseIdle } from "./driver-moves.js";
import { type DriverState, dismiss, isFormer, jobSpec, log, release } from "./driver-state.js";
import { prepare, resume } from "./driver-tries.js";
import { JobTry } from "./job-try.js";
import { SplitAssignment } from "./splits.js";
import { judgeOffers, type Offer, type OfferedTry, splitsOfTry } from "./takeover.js";

export interface Takeover {
  /** Executors of earlier attempts that may be taken; afterwards those that were. */
  readonly former: Set<string>;
  readonly offers: Map<string, Offer>;
  /** It was taken over, or it is settled that nothing can be. */
  isDecided: boolean;
  /** What is being prepared for. */
  chosen: OfferedTry | null;
  /** Checkpoints up to this one were of earlier attempts: those that were being taken are over. 0: nothing was taken over. */
  overUpTo: number;
}

/** At the first registration. True: executors of the attempt before are waited for. */
export function beginTakeover(driver: DriverState, former: readonly string[]): boolean {
  driver.takeover ??= newTakeover();
  if (driver.phase.kind !== "gathering" || driver.takeover.isDecided) return false;
  for (const processId of former) if (isFormer(driver, processId)) driver.takeover.former.add(processId);
  driver.takeover.isDecided = driver.takeover.former.size === 0;
  if (driver.takeover.isDecided) return false;
  if (driver.checkpoints === null || lastCheckpoint(driver) === null) {
    giveBackFormer(driver, "there is no checkpoint that it could be taken over at");
    return false;
  }
  driver.phase = { kind: "taking-over", until: driver.now + driver.config.limits.takeoverMs };
  log(driver, "info", `${driver.takeover.former.size} executors of earlier attempts still run; they may go on.`);
  consider(driver);
  return true;
}

/** It may be faster than the master's word that it is still there. */
export function expectFormer(driver: DriverState, processId: string): void {
  if (driver.takeover?.isDecided === true || !isFormer(driver, processId)) return;
  driver.takeover ??= newTakeover();
  driver.takeover.former.add(processId);
}

const newTakeover = (): Takeover => ({ former: new Set(), offers: new Map(), isDecided: false, chosen: null, overUpTo: 0 });

/** True: it is answered later. */
export function offered(driver: DriverState, event: EventOf<"executor.registered">): boolean {
  const { takeover, phase } = driver;
  if (takeover === null || !takeover.former.has(event.processId) || driver.current.state(event.processId) !== null) return false;
  const { processId, dataAddress, slice } = event;
  takeover.offers.set(processId, { processId, dataAddress, slice: (slice ?? null) as OfferedSlice | null });
  if (phase.kind === "taking-over") consider(driver);
  return true;
}

function consider(driver: DriverState): void {
  const { takeover, checkpoints } = driver;
  const pointer = lastCheckpoint(driver);
  if (driver.phase.kind !== "taking-over" || takeover === null || takeover.chosen !== null) return;
  if (checkpoints === null || pointer === null) return;
  const { attempt } = driver.config;
  const facts = { attempt, parallelism: jobSpec(driver).parallelism, storage: checkpoints.storage, pointer };
  const judged = judgeOffers(takeover.offers, facts);
  if (judged.kind === "refused") startAnew(driver, judged.why);
  if (judged.kind !== "fits") return;
  takeover.chosen = judged.offered;
  const { number, name } = judged.offered;
  driver.restoring = pointer;
  const { storage } = checkpoints;
  driver.out.push({ kind: "prepare", try: number, attempt: name, storage, restore: pointer, runs: true, keep: [] });
}

/** The last checkpoint is read, and what it makes visible is visible. */
export function takeOver(driver: DriverState, event: EventOf<"prepared">): void {
  const { takeover, checkpoints } = driver;
  const pointer = lastCheckpoint(driver);
  const chosen = takeover?.chosen ?? null;
  const { restored } = event;
  if (driver.phase.kind !== "taking-over" || takeover === null || chosen === null || chosen.number !== event.try) return;
  if (checkpoints === null || pointer === null) return;
  if (restored === undefined || (chosen.isOwnCheckpoint && restored.attempt !== chosen.name)) {
    startAnew(driver, `checkpoint ${pointer.id} is not one of try ${chosen.name}`);
    return;
  }
  const sources = splitsOfTry(chosen, pointer, event.sources);
  const members = chosen.members.flatMap(({ processId }) => driver.roster.get(processId) ?? []);
  if (typeof sources === "string" || members.length < chosen.members.length) {
    startAnew(driver, typeof sources === "string" ? sources : "an executor of its try is gone");
    return;
  }
  const current = new JobTry(chosen.number, chosen.name, driver.config.collectLimits);
  current.splits = new SplitAssignment(sources);
  const { restore } = chosen;
  if (restore?.counts !== undefined)
    current.restored = { name: chosen.name, checkpoint: restore, counts: restore.counts, recordsBack: null };
  current.deploy(members);
  for (const { processId, slice } of chosen.members) if (slice.progress !== undefined) current.report(processId, slice.progress);
  driver.current = current;
  driver.phase = { kind: "running" };
  // Whoever watches was told when it began.
  driver.restoredTold = chosen.name;
  tryBegan(driver);
  checkpoints.carried = restored.carried;
  checkpoints.known = pointer.id;
  checkpoints.completedOfTry = chosen.isOwnCheckpoint ? pointer.id : 0;
  checkpoints.shown = chosen.isOwnCheckpoint ? [{ checkpoint: pointer.id, staged: restored.commit }] : [];
  takeover.isDecided = true;
  takeover.overUpTo = (driver.application.checkpoints?.nextId ?? pointer.id + 1) - 1;
  takeover.offers.clear();
  giveBackFormer(driver, "its try goes on without it", new Set(current.memberIds()));
  for (const { processId, link } of members) if (link !== null) answer(driver, processId, link);
  const executors = members.length;
  log(driver, "info", `Try ${chosen.name} goes on on the ${executors} executors that run it, from checkpoint ${pointer.id} on.`);
  if (driver.master.isRegistered)
    driver.out.push({ kind: "tell-master", message: "driver.took-over", body: { try: chosen.name, executors } });
  changeOver(driver);
  releaseIdle(driver);
}

/** The executor belongs to this driver from now on. A checkpoint that an earlier one had ordered is over for it, whether it has heard so or not. */
export function answer(driver: DriverState, processId: string, link: number): void {
  const { driverDeadlineMs, heartbeatMs } = driver.config.limits;
  driver.out.push({ kind: "tell-executor", link, message: "executor.registered", body: { driverDeadlineMs, heartbeatMs } });
  const { takeover, checkpoints, current } = driver;
  const tryNumber = current.tryOf(processId);
  if (takeover !== null && takeover.overUpTo > 0 && takeover.former.has(processId) && tryNumber !== null && checkpoints !== null) {
    const body = { try: tryNumber, id: takeover.overUpTo, order: "abort" as const, completed: checkpoints.completedOfTry };
    driver.out.push({ kind: "tell-executor", link, message: "executor.checkpoint", body });
  }
  resume(driver, processId, link);
}

/** Something doesn't fit, or somebody is missing. */
export function startAnew(driver: DriverState, why: string): void {
  if (driver.phase.kind !== "taking-over") return;
  log(driver, "warn", `The try of the attempt before can't go on, the job starts again from its last checkpoint: ${why}.`);
  driver.phase = { kind: "gathering" };
  driver.restoring = null;
  giveBackFormer(driver, "the job starts again from its last checkpoint");
  prepare(driver);
}

/** The time for it is over. */
export function takeoverOverdue(driver: DriverState): void {
  const { takeover } = driver;
  const missing = [...(takeover?.former ?? [])].filter((processId) => takeover?.offers.has(processId) !== true);
  const who = missing.length === 0 ? "its checkpoint could not be read in time" : `${missing.join(", ")} did not come`;
  startAnew(driver, who);
}

/** One that is given up while it is waited for. */
export function formerGone(driver: DriverState, processId: string): void {
  if (driver.takeover?.former.delete(processId) === true) startAnew(driver, `${processId} is gone`);
}

function giveBackFormer(driver: DriverState, reason: string, kept: ReadonlySet<string> = new Set()): void {
  const { takeover } = driver;
  if (takeover === null) return;
  takeover.isDecided = true;
  for (const processId of [...takeover.former]) {
    if (kept.has(processId)) continue;
    takeover.former.delete(processId);
    takeover.offers.delete(processId);
    const link = driver.roster.get(processId)?.link ?? null;
    if (link !== null) dismiss(driver, link, reason);
    release(driver, processId);
  }
}

/** This driver goes, and its job goes on: what its executors run is for the next attempt. */
export function leavesExecutors(driver: DriverState): boolean {
  const { application, phase, checkpoints } = driver;
  if (checkpoints === null || lastCheckpoint(driver) === null || application.spec.deployMode !== "cluster") return false;
  if (application.commit !== null || application.cancelRequested || driver.cancelReason !== null) return false;
  return phase.kind === "running" || phase.kind === "taking-over";
}

/** Of earlier attempts, and of no use: they come back with a worker that was away. */
export function giveBackStrangers(driver: DriverState, running: readonly string[]): void {
  // A view may be faster than the answer to the registration.
  if (driver.takeover?.isDecided !== true) return;
  for (const processId of running) {
    if (!isFormer(driver, processId) || driver.takeover?.former.has(processId) === true) continue;
    if (!driver.roster.isReleased(processId)) release(driver, processId);
  }
}
