/**
 * The driver's part in checkpoints: orders them, gathers what executors answer, has the manifest stored and the pointer recorded, and has the sinks
 * commit what belongs to them. What the stages mean: checkpoint/course.ts.
 *
 * Invariants:
 *   1. The pointer is asked for when the manifest is durable, and the manifest is stored when every member's part is.
 *   2. A checkpoint's sinks commit after its pointer is durable; no try begins, and no output is decided, while one of the two is open.
 *   3. What a completed checkpoint refers to is staged output that stays (`neededTries`), and blobs that go only with their pointer.
 */

import { present } from "../base/assert.js";
import type { ErrorShape } from "../base/errors.js";
import { CheckpointCourse, type Stored } from "../checkpoint/course.js";
import {
  type CheckpointAnswer,
  type CheckpointManifest,
  type CheckpointRequest,
  type CheckpointSettings,
  type CompletedCheckpoint,
  MAX_CARRIED,
  retainedOf,
  type SliceSnapshot,
  type StagedBySink,
} from "../wire/checkpoint.js";
import { manifestOf, marksOf, piecesOf, stateBytes, subtasksOf } from "./checkpoint-manifest.js";
import { decide } from "./driver-end.js";
import type { EventOf } from "./driver-events.js";
import { sliceFailed } from "./driver-regions.js";
import {
  answerAsked,
  beginsFromSavepoint,
  completeAsked,
  isStopping,
  nextRequests,
  refuseSavepoint,
  tellFailed,
} from "./driver-savepoints.js";
import { type DriverState, log } from "./driver-state.js";
import { fail, prepare } from "./driver-tries.js";
import { shape } from "./endings.js";
import { failureOf } from "./failures.js";
import type { Executor } from "./roster.js";
import { mergeStaged, type ShownOutput, stagedOf, stillTold, triesOf } from "./staged-output.js";

const MAX_REASON_CHARS = 500;
const MAX_UNENDED_TRIES = 64;

/** "finished": the executor had reported the end of its slice before the barrier could reach it. */
export type Answer = SliceSnapshot | "finished";

export interface JobCheckpoints {
  readonly course: CheckpointCourse<Answer>;
  readonly storage: string;
  /** Staged by earlier tries and this one, in completed checkpoints; becomes visible with the end of the job. */
  carried: StagedBySink;
  /** Of the checkpoint under way, once it is complete. */
  manifest: CheckpointManifest | null;
  pointer: CompletedCheckpoint | null;
  /** The newest one whose manifest this driver knows, because it wrote it or went on from it; 0: none. */
  known: number;
  /** The newest completed one of the present try; 0: none. */
  completedOfTry: number;
  /** What checkpoints of the present try have made visible, and executors may tell again. */
  shown: readonly ShownOutput[];
  /** The newest checkpoint that all executors of the one under way had heard to be complete. */
  confirmed: number;
  commitRepeats: number;
  commitAt: number | null;
  /** What executors said of the one under way, once all have. */
  answers: ReadonlyMap<string, Answer>;
  /** Checkpoints below this id may have left blobs that nobody can name; looked for when all that are kept are newer. Null: none has. */
  sweepBelow: number | null;
  /** Whom the one under way is for. */
  asked: readonly CheckpointRequest[];
  /** The savepoint that is being written: no checkpoint begins meanwhile, its blobs have to stay. */
  writing: { readonly request: CheckpointRequest; readonly pointer: CompletedCheckpoint } | null;
  /** Answers that were given, newest last; the master may not have heard of them. */
  told: readonly CheckpointAnswer[];
}

/** The record says whether and where; it is the master's at the first registration. */
export function enableCheckpoints(driver: DriverState): void {
  const { checkpoints } = driver.application;
  const settings: CheckpointSettings | undefined = driver.config.application.spec.job?.checkpoint;
  if (driver.checkpoints !== null || checkpoints === undefined || settings === undefined) return;
  driver.checkpoints = {
    course: new CheckpointCourse(settings, checkpoints.nextId),
    storage: checkpoints.storage,
    carried: {},
    manifest: null,
    pointer: null,
    known: 0,
    completedOfTry: 0,
    shown: [],
    confirmed: 0,
    commitRepeats: 0,
    commitAt: null,
    answers: new Map(),
    // Of earlier drivers.
    sweepBelow: checkpoints.nextId > 1 ? checkpoints.nextId : null,
    asked: [],
    writing: null,
    told: [],
  };
}

export function lastCheckpoint(driver: DriverState): CompletedCheckpoint | null {
  return driver.application.checkpoints?.completed.at(-1) ?? null;
}

/** Nothing is open that the next try, or the decision, has to wait for. */
export function checkpointsSettled(driver: DriverState): boolean {
  const { checkpoints } = driver;
  return checkpoints === null || (checkpoints.course.isSettled && !isStopping(checkpoints));
}

/** False: the last checkpoint is another driver's, and what it holds is not known. It may still be to be committed. */
export function knowsWhatIsNeeded(driver: DriverState): boolean {
  return driver.checkpoints === null || driver.checkpoints.known === (lastCheckpoint(driver)?.id ?? 0);
}

/** One under way that may yet be complete, whatever becomes of the executors: where a slice goes on from is open. */
export function hasOpenCheckpoint(driver: DriverState): boolean {
  return driver.checkpoints !== null && (!checkpointsSettled(driver) || driver.checkpoints.course.kind === "storing");
}

/** Tries whose staged output a checkpoint still needs, or another driver attempt may need that has taken them over. */
export function neededTries(driver: DriverState): string[] {
  const { checkpoints, unended } = driver;
  if (checkpoints === null) return [];
  const { carried, manifest } = checkpoints;
  const ofManifest = manifest === null ? [] : [...triesOf(manifest.carried), ...triesOf(manifest.commit)];
  return [...new Set([...triesOf(carried), ...ofManifest, ...unended])];
}

/**
 * The present try is over for this driver. What it knows of no member to have stopped may run on, and belong to another attempt by now: a driver that is
 * superseded doesn't know it. So its output is left alone.
 */
export function noteUnended(driver: DriverState): void {
  const { current, unended } = driver;
  if (current.isOver()) return;
  // Each later try needed executors that a master gave, and that had heard then that those of this one were given up: none of the oldest is offered any more.
  driver.unended = [...new Set([...unended, ...current.names()])].slice(-MAX_UNENDED_TRIES);
}

export function checkpointDeadline(driver: DriverState): number {
  const { checkpoints } = driver;
  if (checkpoints === null) return Number.POSITIVE_INFINITY;
  const { course } = checkpoints;
  const isHeld = course.kind === "idle" && !mayBegin(driver, checkpoints);
  return Math.min(
    driver.phase.kind === "running" && !isHeld ? course.nextDeadline() : Number.POSITIVE_INFINITY,
    checkpoints.commitAt ?? Number.POSITIVE_INFINITY,
  );
}

// ------------------------------------------------------------------------------------------------ the try

export function tryBegan(driver: DriverState): void {
  const { checkpoints } = driver;
  if (checkpoints === null) return;
  checkpoints.completedOfTry = 0;
  checkpoints.shown = [];
  checkpoints.course.tryBegan(driver.now);
}

/** Its checkpoint, if one is being taken, is given up; executors are told to stop anyway. */
export function tryEnded(driver: DriverState): void {
  const { checkpoints } = driver;
  const given = checkpoints?.course.tryEnded() ?? null;
  if (given === null || checkpoints === null) return;
  checkpoints.manifest = null;
  checkpoints.sweepBelow = given + 1;
  // Nobody's failure: who asked for it gets one of the next try.
  checkpoints.asked = [];
}

/** A slice restarts: a checkpoint that waits for answers is given up, one whose parts are all durable goes on. Nobody's failure either. */
export function sliceInterrupted(driver: DriverState): void {
  const { checkpoints } = driver;
  const given = checkpoints?.course.interrupted() ?? null;
  if (given === null || checkpoints === null) return;
  checkpoints.sweepBelow = given + 1;
  checkpoints.asked = [];
  log(driver, "info", `Checkpoint ${given} was given up: a slice restarts.`, { checkpoint: given });
  abortCheckpoint(driver, checkpoints, given);
}

/** At the end of each step: what is due by now. */
export function advanceCheckpoints(driver: DriverState): void {
  const { checkpoints } = driver;
  if (checkpoints === null) return;
  const { course } = checkpoints;
  if (checkpoints.commitAt !== null && checkpoints.commitAt <= driver.now) commit(driver, checkpoints);
  if (driver.phase.kind !== "running" && !(driver.phase.kind === "gathering" && beginsFromSavepoint(driver))) return;
  const nextId = course.reserve();
  if (nextId !== null) {
    const body = { attempt: driver.config.attempt, nextId, completed: null };
    driver.master.ask({ message: "driver.checkpoint", body }, driver.out);
  }
  if (driver.phase.kind !== "running") return;
  if (course.isOverdue(driver.now)) giveUpCheckpoint(driver, `it was not complete in time`);
  if (!mayBegin(driver, checkpoints) || !course.canBegin) return;
  const asked = nextRequests(driver, checkpoints);
  if (asked.length > 0) beginCheckpoint(driver, checkpoints, asked);
  else if (course.isDue(driver.now)) beginCheckpoint(driver, checkpoints, []);
}

/** A savepoint that is written needs what the next one may push out; a slice that waits can't answer. */
function mayBegin({ current }: DriverState, { writing }: JobCheckpoints): boolean {
  return writing === null && current.waiting().length === 0;
}

function beginCheckpoint(driver: DriverState, checkpoints: JobCheckpoints, asked: readonly CheckpointRequest[]): void {
  const running = driver.current.memberIds().filter((processId) => driver.current.state(processId) === "running");
  if (running.length === 0) return;
  const trigger = asked[0] === undefined ? "periodic" : asked[0].savepoint === null ? "on-demand" : "savepoint";
  checkpoints.course.begin(driver.now, running, trigger);
  checkpoints.manifest = null;
  checkpoints.asked = asked;
  for (const processId of running) orderCheckpoint(driver, processId, driver.roster.get(processId)?.link ?? null);
}

/** Also to an executor that came back: the order may have been lost with its connection. */
export function orderCheckpoint(driver: DriverState, processId: string, link: number | null): void {
  const { checkpoints } = driver;
  if (checkpoints === null || link === null || driver.phase.kind !== "running") return;
  const { course } = checkpoints;
  const { id } = course;
  const tryNumber = driver.current.tryOf(processId);
  if (id === null || tryNumber === null || !course.isAwaited(processId)) return;
  const body = { try: tryNumber, id, order: "begin" as const, completed: completedFor(driver, checkpoints, processId) };
  driver.out.push({ kind: "tell-executor", link, message: "executor.checkpoint", body });
}

// ------------------------------------------------------------------------------------------------ one checkpoint

export function executorCheckpointed(driver: DriverState, member: Executor, event: EventOf<"executor.checkpointed">): void {
  const { checkpoints } = driver;
  if (checkpoints === null || checkpoints.course.id !== event.id || !checkpoints.course.isAwaited(member.processId)) return;
  if (event.snapshot === null) {
    giveUpCheckpoint(driver, `executor ${member.processId}: ${event.error?.message ?? "no reason given"}`);
    // No later one could be any better in this try.
    if (event.error?.details?.newTry === true && driver.phase.kind === "running")
      sliceFailed(driver, member.processId, failureOf(event.error, member.processId));
  } else acknowledge(driver, checkpoints, member.processId, event.snapshot);
}

/** An executor whose slice has ended well acknowledges with that. */
export function executorFinished(driver: DriverState, processId: string): void {
  const { checkpoints } = driver;
  if (checkpoints?.course.isAwaited(processId) === true) acknowledge(driver, checkpoints, processId, "finished");
}

function acknowledge(driver: DriverState, checkpoints: JobCheckpoints, processId: string, answer: Answer): void {
  const { course } = checkpoints;
  const id = present(course.id, "the checkpoint that is acknowledged");
  if (course.acknowledge(id, processId, answer, driver.now) !== "complete") return;
  const answers = course.collect();
  const running = [...answers.values()].filter((one) => one !== "finished");
  checkpoints.confirmed = Math.min(...running.map(({ confirmed }) => confirmed));
  checkpoints.answers = answers;
  checkpoints.manifest = manifestOf(driver, checkpoints, id, answers);
  const waiting = piecesOf(checkpoints.manifest.carried);
  if (waiting > MAX_CARRIED) {
    giveUpCheckpoint(
      driver,
      `${waiting} pieces of output wait for the end of the job, more than ${MAX_CARRIED}: let the sink roll`,
    );
    return;
  }
  refuseSavepoint(driver, checkpoints, checkpoints.manifest);
  driver.out.push({ kind: "store-manifest", storage: checkpoints.storage, manifest: checkpoints.manifest });
}

function giveUpCheckpoint(driver: DriverState, reason: string): void {
  const { checkpoints } = driver;
  const id = checkpoints?.course.id ?? null;
  if (checkpoints === null || id === null) return;
  checkpoints.manifest = null;
  checkpoints.pointer = null;
  checkpoints.sweepBelow = id + 1;
  const { isTolerated, durationMs, trigger } = checkpoints.course.failed(driver.now);
  log(driver, "warn", `Checkpoint ${id} was given up: ${reason}`, { checkpoint: id });
  tellFailed(driver, { id, trigger, failedAt: driver.wall, durationMs, reason: reason.slice(0, MAX_REASON_CHARS) });
  answerAsked(driver, checkpoints, shape("CHECKPOINT_FAILED", `checkpoint ${id} was given up: ${reason}`));
  abortCheckpoint(driver, checkpoints, id);
  if (isTolerated || driver.phase.kind !== "running") return;
  const message = `Checkpoint ${id} failed, and more in a row than are tolerated did: ${reason}`;
  fail(driver, failureOf({ code: "CHECKPOINT_FAILED", message, hint: null }, null));
}

const completedFor = ({ current }: DriverState, { completedOfTry }: JobCheckpoints, processId: string): number =>
  current.completedOf(processId, completedOfTry);

function abortCheckpoint(driver: DriverState, checkpoints: JobCheckpoints, id: number): void {
  for (const { link, processId } of driver.roster.connected()) {
    const tryNumber = driver.current.tryOf(processId);
    if (link === null || tryNumber === null || driver.current.state(processId) !== "running") continue;
    const body = { try: tryNumber, id, order: "abort" as const, completed: completedFor(driver, checkpoints, processId) };
    driver.out.push({ kind: "tell-executor", link, message: "executor.checkpoint", body });
  }
}

export function manifestStored(driver: DriverState, event: EventOf<"manifest.stored">): void {
  const { checkpoints } = driver;
  const going = checkpoints?.course.stored(event.id) ?? null;
  if (checkpoints === null || going === null) return;
  const manifest = present(checkpoints.manifest, "the manifest that was stored");
  const { attempt } = driver.config;
  const pointer: CompletedCheckpoint = {
    id: event.id,
    attempt,
    try: driver.current.number,
    manifest: event.manifest,
    sizeBytes: event.manifest.sizeBytes + stateBytes(manifest.slices),
    completedAt: driver.wall,
    durationMs: Math.max(0, driver.now - going.beganAt),
    records: { in: manifest.counts.recordsIn, out: manifest.counts.recordsOut },
    ...statistics(driver, checkpoints, going),
  };
  checkpoints.pointer = pointer;
  driver.master.ask({ message: "driver.checkpoint", body: { attempt, nextId: going.nextId, completed: pointer } }, driver.out);
}

function statistics(
  driver: DriverState,
  { answers }: JobCheckpoints,
  going: Stored,
): Pick<CompletedCheckpoint, "trigger" | "alignmentMs" | "subtasks"> {
  const { trigger } = going;
  if (trigger === "restored") return { trigger };
  const subtasks = subtasksOf(driver, answers, going);
  return { trigger, alignmentMs: Math.max(0, ...subtasks.map(({ alignmentMs }) => alignmentMs)), subtasks };
}

export function manifestFailed(driver: DriverState, event: EventOf<"manifest.failed">): void {
  if (driver.checkpoints?.course.kind === "storing" && driver.checkpoints.course.id === event.id)
    giveUpCheckpoint(driver, event.error.message);
}

/** The master's answer to `driver.checkpoint`: ids are reserved, or the pointer is durable, or it is refused for good. */
export function checkpointAnswered(driver: DriverState, refusal: ErrorShape | null): void {
  const { checkpoints } = driver;
  if (checkpoints === null) return;
  const { course } = checkpoints;
  if (course.kind === "reserving") {
    // A refusal leaves the job without checkpoints; the next registration tells why (superseded, cancelled, decided).
    if (refusal === null) course.reservedNow();
    noteIds(driver, course.reservedUpTo);
    if (driver.phase.kind === "gathering") prepare(driver);
    return;
  }
  if (course.kind !== "publishing") return;
  if (refusal !== null) {
    giveUpCheckpoint(driver, `the master refused it: ${refusal.message}`);
    settled(driver);
    return;
  }
  completed(driver, checkpoints);
}

/** Where a slice that restarts alone goes on. */
function noteSlices({ current }: DriverState, answers: JobCheckpoints["answers"]): void {
  if (current.splits === null) return;
  for (const processId of current.memberIds()) {
    const answer = answers.get(processId);
    current.checkpointed(processId, answer === undefined || answer === "finished" ? undefined : answer.counts);
  }
  current.splits.checkpointed(marksOf(current, answers));
}

/** The driver's copy of the record: a master without one of its own takes it over. */
function noteIds(driver: DriverState, nextId: number): void {
  const { checkpoints } = driver.application;
  if (checkpoints === undefined || nextId <= checkpoints.nextId) return;
  driver.application = { ...driver.application, checkpoints: { ...checkpoints, nextId } };
}

function completed(driver: DriverState, checkpoints: JobCheckpoints): void {
  const pointer = present(checkpoints.pointer, "the pointer that was recorded");
  const manifest = present(checkpoints.manifest, "the manifest of the pointer that was recorded");
  checkpoints.course.published();
  checkpoints.completedOfTry = pointer.try >= driver.current.first ? pointer.id : 0;
  noteSlices(driver, checkpoints.answers);
  checkpoints.carried = manifest.carried;
  checkpoints.known = pointer.id;
  const record = present(driver.application.checkpoints, "checkpoints of the record");
  const all = [...record.completed.filter(({ id }) => id < pointer.id), pointer];
  const retained = retainedOf(driver.config.application.spec.job?.checkpoint);
  const kept = all.slice(-retained);
  driver.application = { ...driver.application, checkpoints: { ...record, completed: kept } };
  noteIds(driver, checkpoints.course.reservedUpTo);
  const dropped = all.slice(0, -retained);
  if (dropped.length > 0) driver.out.push({ kind: "drop-checkpoints", storage: checkpoints.storage, dropped, kept });
  if (checkpoints.sweepBelow !== null && (kept[0]?.id ?? 0) >= checkpoints.sweepBelow) {
    checkpoints.sweepBelow = null;
    driver.out.push({ kind: "sweep-checkpoints", storage: checkpoints.storage, live: kept });
  }
  checkpoints.commitRepeats = 0;
  commit(driver, checkpoints);
}

/** What waited for the outcome goes on. */
export function settled(driver: DriverState): void {
  if (driver.phase.kind === "gathering") prepare(driver);
  else if (driver.phase.kind === "running" && driver.current.isComplete()) decide(driver);
}

// ------------------------------------------------------------------------------------------------ what it makes visible

function commit(driver: DriverState, checkpoints: JobCheckpoints): void {
  checkpoints.commitAt = null;
  const manifest = present(checkpoints.manifest, "the manifest of a completed checkpoint");
  if (Object.keys(manifest.commit).length === 0) {
    checkpointCommitted(driver, { kind: "checkpoint.committed", id: manifest.id });
    return;
  }
  driver.out.push({
    kind: "commit-checkpoint",
    id: manifest.id,
    sinks: manifest.commit,
    attempt: manifest.attempt,
    again: checkpoints.commitRepeats > 0,
  });
}

export function checkpointCommitted(driver: DriverState, event: EventOf<"checkpoint.committed">): void {
  const { checkpoints } = driver;
  if (checkpoints?.course.kind !== "committing" || checkpoints.course.id !== event.id) return;
  const shown = [...checkpoints.shown, { checkpoint: event.id, staged: checkpoints.manifest?.commit ?? {} }];
  checkpoints.shown = stillTold(shown, checkpoints.confirmed, endedOutput(driver));
  checkpoints.manifest = null;
  checkpoints.course.committed(driver.now);
  completeAsked(driver, checkpoints, present(checkpoints.pointer, "the pointer of a completed checkpoint"));
  settled(driver);
}

/** What executors that are done have staged, all of it. */
function endedOutput({ current }: DriverState): StagedBySink {
  return current
    .memberIds()
    .map((processId) => stagedOf("", current.committablesOf(processId)))
    .reduce<StagedBySink>((all, one) => mergeStaged(all, one), {});
}

export function checkpointCommitFailed(driver: DriverState, event: EventOf<"checkpoint.commit-failed">): void {
  const { checkpoints } = driver;
  if (checkpoints?.course.kind !== "committing" || checkpoints.course.id !== event.id) return;
  const { retryMs, commitRepeats } = driver.config.limits;
  checkpoints.commitRepeats += 1;
  log(driver, "warn", `The sinks could not commit checkpoint ${event.id}: ${event.error.message}`, {
    repeats: checkpoints.commitRepeats,
  });
  if (checkpoints.commitRepeats <= commitRepeats) {
    checkpoints.commitAt = driver.now + checkpoints.commitRepeats * retryMs;
    return;
  }
  // It stays complete: whoever goes on from it commits it first.
  checkpoints.course.commitGivenUp();
  checkpoints.asked = [];
  if (driver.phase.kind === "running") fail(driver, failureOf(event.error, null));
  settled(driver);
}
