/**
 * The driver's part in checkpoints: orders them, gathers what executors answer, has the manifest stored and the pointer recorded, and has the sinks
 * commit what belongs to them. What the stages mean: checkpoint/course.ts.
 *
 * Invariants:
 *   1. The pointer is asked for when the manifest is durable, and the manifest is stored when every member's part is.
 *   2. A checkpoint's sinks commit after its pointer is durable; no try begins, and no output is decided, while one of the two is open.
 *   3. What a completed checkpoint refers to is staged output that stays (`neededTries`), and blobs that go only with their pointer.
 */

import { assert, present } from "../base/assert.js";
import type { ErrorShape } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import { CheckpointCourse } from "../checkpoint/course.js";
import type {
  CheckpointManifest,
  CheckpointSettings,
  CompletedCheckpoint,
  SlicePart,
  SliceSnapshot,
  StagedBySink,
} from "../wire/checkpoint.js";
import { RETAINED_CHECKPOINTS } from "../wire/checkpoint.js";
import { decide } from "./driver-end.js";
import { attemptName, type EventOf } from "./driver-events.js";
import { type DriverState, log } from "./driver-state.js";
import { fail, prepare } from "./driver-tries.js";
import { failureOf } from "./failures.js";
import { leastWatermarks } from "./least-watermarks.js";
import type { Executor } from "./roster.js";
import { addCounts, allShown, mergeStaged, type ShownOutput, stagedOf, stillTold, triesOf } from "./staged-output.js";

/** "finished": the executor had reported the end of its slice before the barrier could reach it. */
type Answer = SliceSnapshot | "finished";

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
  };
}

export function lastCheckpoint(driver: DriverState): CompletedCheckpoint | null {
  return driver.application.checkpoints?.completed.at(-1) ?? null;
}

/** Nothing is open that the next try, or the decision, has to wait for. */
export function checkpointsSettled(driver: DriverState): boolean {
  return driver.checkpoints?.course.isSettled ?? true;
}

/** False: the last checkpoint is another driver's, and what it holds is not known. It may still be to be committed. */
export function knowsWhatIsNeeded(driver: DriverState): boolean {
  return driver.checkpoints === null || driver.checkpoints.known === (lastCheckpoint(driver)?.id ?? 0);
}

/** Tries whose staged output a checkpoint still needs. */
export function neededTries(driver: DriverState): string[] {
  const { checkpoints } = driver;
  if (checkpoints === null) return [];
  const { carried, manifest } = checkpoints;
  return [
    ...new Set([...triesOf(carried), ...(manifest === null ? [] : [...triesOf(manifest.carried), ...triesOf(manifest.commit)])]),
  ];
}

export function checkpointDeadline(driver: DriverState): number {
  const { checkpoints } = driver;
  if (checkpoints === null) return Number.POSITIVE_INFINITY;
  return Math.min(
    driver.phase.kind === "running" ? checkpoints.course.nextDeadline() : Number.POSITIVE_INFINITY,
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
  const given = driver.checkpoints?.course.tryEnded() ?? null;
  if (given !== null && driver.checkpoints !== null) driver.checkpoints.manifest = null;
}

/** At the end of each step: what is due by now. */
export function advanceCheckpoints(driver: DriverState): void {
  const { checkpoints } = driver;
  if (checkpoints === null) return;
  const { course } = checkpoints;
  if (checkpoints.commitAt !== null && checkpoints.commitAt <= driver.now) commit(driver, checkpoints);
  if (driver.phase.kind !== "running") return;
  const nextId = course.reserve();
  if (nextId !== null) {
    const body = { attempt: driver.config.attempt, nextId, completed: null };
    driver.master.ask({ message: "driver.checkpoint", body }, driver.out);
  }
  if (course.isOverdue(driver.now)) giveUpCheckpoint(driver, `it was not complete in time`);
  if (course.isDue(driver.now)) beginCheckpoint(driver, checkpoints);
}

function beginCheckpoint(driver: DriverState, checkpoints: JobCheckpoints): void {
  const running = driver.current.memberIds().filter((processId) => driver.current.state(processId) === "running");
  if (running.length === 0) return;
  checkpoints.course.begin(driver.now, running);
  checkpoints.manifest = null;
  for (const processId of running) orderCheckpoint(driver, processId, driver.roster.get(processId)?.link ?? null);
}

/** Also to an executor that came back: the order may have been lost with its connection. */
export function orderCheckpoint(driver: DriverState, processId: string, link: number | null): void {
  const { checkpoints } = driver;
  if (checkpoints === null || link === null || driver.phase.kind !== "running") return;
  const { course, completedOfTry } = checkpoints;
  const { id } = course;
  if (id === null || !course.isAwaited(processId)) return;
  const body = { try: driver.current.number, id, order: "begin" as const, completed: completedOfTry };
  driver.out.push({ kind: "tell-executor", link, message: "executor.checkpoint", body });
}

// ------------------------------------------------------------------------------------------------ one checkpoint

export function executorCheckpointed(driver: DriverState, member: Executor, event: EventOf<"executor.checkpointed">): void {
  const { checkpoints } = driver;
  if (checkpoints === null || checkpoints.course.id !== event.id || !checkpoints.course.isAwaited(member.processId)) return;
  if (event.snapshot === null)
    giveUpCheckpoint(driver, `executor ${member.processId}: ${event.error?.message ?? "no reason given"}`);
  else acknowledge(driver, checkpoints, member.processId, event.snapshot);
}

/** An executor whose slice has ended well acknowledges with that. */
export function executorFinished(driver: DriverState, processId: string): void {
  const { checkpoints } = driver;
  if (checkpoints?.course.isAwaited(processId) === true) acknowledge(driver, checkpoints, processId, "finished");
}

function acknowledge(driver: DriverState, checkpoints: JobCheckpoints, processId: string, answer: Answer): void {
  const { course } = checkpoints;
  const id = present(course.id, "the checkpoint that is acknowledged");
  if (course.acknowledge(id, processId, answer) !== "complete") return;
  const answers = course.collect();
  const running = [...answers.values()].filter((one) => one !== "finished");
  checkpoints.confirmed = Math.min(...running.map(({ confirmed }) => confirmed));
  checkpoints.manifest = manifestOf(driver, checkpoints, id, answers);
  driver.out.push({ kind: "store-manifest", storage: checkpoints.storage, manifest: checkpoints.manifest });
}

function giveUpCheckpoint(driver: DriverState, reason: string): void {
  const { checkpoints } = driver;
  const id = checkpoints?.course.id ?? null;
  if (checkpoints === null || id === null) return;
  checkpoints.manifest = null;
  checkpoints.pointer = null;
  const isTolerated = checkpoints.course.failed(driver.now);
  log(driver, "warn", `Checkpoint ${id} was given up: ${reason}`, { checkpoint: id });
  const body = { try: driver.current.number, id, order: "abort" as const, completed: checkpoints.completedOfTry };
  for (const { link, processId } of driver.roster.connected()) {
    if (link !== null && driver.current.state(processId) === "running")
      driver.out.push({ kind: "tell-executor", link, message: "executor.checkpoint", body });
  }
  if (isTolerated || driver.phase.kind !== "running") return;
  const message = `Checkpoint ${id} failed, and more in a row than are tolerated did: ${reason}`;
  fail(driver, failureOf({ code: "CHECKPOINT_FAILED", message, hint: null }, null));
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
  };
  checkpoints.pointer = pointer;
  driver.master.ask({ message: "driver.checkpoint", body: { attempt, nextId: going.nextId, completed: pointer } }, driver.out);
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
  checkpoints.completedOfTry = pointer.try === driver.current.number ? pointer.id : 0;
  checkpoints.carried = manifest.carried;
  checkpoints.known = pointer.id;
  const record = present(driver.application.checkpoints, "checkpoints of the record");
  const all = [...record.completed.filter(({ id }) => id < pointer.id), pointer];
  const kept = all.slice(-RETAINED_CHECKPOINTS);
  driver.application = { ...driver.application, checkpoints: { ...record, completed: kept } };
  noteIds(driver, checkpoints.course.reservedUpTo);
  const dropped = all.slice(0, -RETAINED_CHECKPOINTS);
  if (dropped.length > 0) driver.out.push({ kind: "drop-checkpoints", storage: checkpoints.storage, dropped, kept });
  checkpoints.commitRepeats = 0;
  commit(driver, checkpoints);
}

/** What waited for the outcome goes on. */
function settled(driver: DriverState): void {
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
  if (driver.phase.kind === "running") fail(driver, failureOf(event.error, null));
  settled(driver);
}

// ------------------------------------------------------------------------------------------------ the manifest

function manifestOf(
  driver: DriverState,
  checkpoints: JobCheckpoints,
  id: number,
  answers: ReadonlyMap<string, Answer>,
): CheckpointManifest {
  const { current, config } = driver;
  const attempt = attemptName(config.attempt, current.number);
  const snapshotOf = (processId: string): SliceSnapshot | null => {
    const answer = answers.get(processId);
    return answer === undefined || answer === "finished" ? null : answer;
  };
  const members = current.memberIds();
  const splits = present(current.splits, "splits of a try that runs");
  const remaining = splits.remaining((source, processId) => {
    const snapshot = snapshotOf(processId);
    if (snapshot === null) return undefined;
    const mark = present(snapshot.sources[source], `the position of ${processId} in source ${source}`);
    return {
      taken: mark.taken,
      reading: mark.reading === null ? null : { position: (mark.reading.position ?? null) as JsonValue },
    };
  });
  let staged: StagedBySink = {};
  let counts = current.restored?.counts ?? { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] };
  for (const processId of members) {
    const snapshot = snapshotOf(processId);
    staged = mergeStaged(staged, stagedOf(attempt, snapshot?.committables ?? current.committablesOf(processId)));
    const part = snapshot?.counts ?? current.progressOf(processId);
    if (part !== undefined) counts = addCounts(counts, part);
  }
  const watermarks = leastWatermarks(members.flatMap((processId) => snapshotOf(processId) ?? []));
  const { shown, carried } = checkpoints;
  const [atEnd, atCheckpoint] = divide(driver, staged);
  return {
    version: 1,
    applicationId: config.application.id,
    id,
    attempt,
    graphHash: config.graphHash,
    slices: members.map((processId) => partOf(snapshotOf(processId), watermarks)),
    sources: Object.fromEntries(
      [...remaining].map(([uid, { subtasks, totalRecords, splits: left }]) => [
        uid,
        { subtasks, totalRecords, remaining: [...left] },
      ]),
    ),
    commit: mergeStaged({}, atCheckpoint, allShown(shown)),
    carried: mergeStaged(carried, atEnd),
    counts,
  };
}

/** By when the sinks' output appears: at the end, and with the checkpoint. */
function divide(driver: DriverState, staged: StagedBySink): readonly [StagedBySink, StagedBySink] {
  const entries = Object.entries(staged);
  const isAtCheckpoint = (uid: string): boolean => driver.config.appears?.get(uid) === "at-checkpoint";
  return [
    Object.fromEntries(entries.filter(([uid]) => !isAtCheckpoint(uid))),
    Object.fromEntries(entries.filter(([uid]) => isAtCheckpoint(uid))),
  ];
}

function partOf(snapshot: SliceSnapshot | null, watermarks: Record<string, number | null>): SlicePart {
  if (snapshot === null) return { finished: "all", states: {}, writers: {} };
  const { finished, states, writers } = snapshot;
  return { finished, states, writers, watermarks };
}

function stateBytes(slices: readonly SlicePart[]): number {
  const handles = slices.flatMap(({ states }) => Object.values(states).flat());
  const bytes = handles.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  assert(Number.isSafeInteger(bytes), "the size of a checkpoint is a number");
  return bytes;
}
