/**
 * Checkpoints and savepoints that somebody asked for, and the savepoint that a job begins from.
 *
 *   asked for     the request is in the application's record; the next checkpoint is taken for it, at once; an answer takes it out of the record
 *   savepoint     when that checkpoint is complete and its sinks have committed, all that it refers to is copied into a directory of its own
 *   with `stop`   the job ends there: the decision names that checkpoint, and whatever was read or written since is nobody's
 *   begin from    a savepoint becomes the first checkpoint of the job, under an id of its own, before anything else; from there on it is one like others
 *
 * Invariants:
 *   1. A request is answered once it is settled, and one that was not answered is taken again by the next try, or the next driver.
 *   2. While a savepoint is written no checkpoint begins, so nothing that it refers to is removed; with `stop` no try begins either, and nothing is decided but the stop.
 *   3. Output that only appears at the end of a job is in no savepoint from which it does not end: nobody could show it twice.
 */
import type { ErrorShape } from "../base/errors.js";
import type { CommitManifest } from "../wire/application.js";
import {
  type CheckpointAnswer,
  type CheckpointManifest,
  type CheckpointRequest,
  type CompletedCheckpoint,
  type FailedCheckpoint,
  MAX_CHECKPOINT_ANSWERS,
  type WrittenSavepoint,
} from "../wire/checkpoint.js";
import { type JobCheckpoints, lastCheckpoint, manifestStored, settled, tryEnded } from "./driver-checkpoints.js";
import type { EventOf } from "./driver-events.js";
import { type DriverState, isUndecided, log } from "./driver-state.js";
import { fail } from "./driver-tries.js";
import { failureOf } from "./failures.js";
import { triesOf } from "./staged-output.js";

// ------------------------------------------------------------------------------------------------ requests

/** All that one checkpoint can serve; a savepoint has one of its own. */
export function nextRequests(driver: DriverState, { told }: JobCheckpoints): readonly CheckpointRequest[] {
  const open = (driver.application.checkpoints?.requests ?? []).filter(({ key }) => !told.some((one) => one.key === key));
  const [first] = open;
  if (first === undefined || first.savepoint !== null) return open.slice(0, 1);
  return open.filter(({ savepoint }) => savepoint === null);
}

export function requestsCame(driver: DriverState, requests: readonly CheckpointRequest[]): void {
  const { checkpoints } = driver.application;
  if (checkpoints !== undefined)
    driver.application = { ...driver.application, checkpoints: { ...checkpoints, requests: [...requests] } };
}

/** Output that appears at the end only: the job has to end with it. */
export function refuseSavepoint(driver: DriverState, checkpoints: JobCheckpoints, { carried }: CheckpointManifest): void {
  const [request] = checkpoints.asked;
  const [sink] = Object.keys(carried);
  if (request === undefined || request.savepoint === null || request.savepoint.stop || sink === undefined) return;
  const message = `the output of sink '${sink}' appears when the job ends, and a job that goes on can't give it to a savepoint`;
  const hint = "Take it with --stop, which shows what is written up to it; or let the sink roll.";
  answerAsked(driver, checkpoints, { code: "CONFLICT", message, hint });
}

/** Complete, and its sinks have committed. */
export function completeAsked(driver: DriverState, checkpoints: JobCheckpoints, pointer: CompletedCheckpoint): void {
  const [request] = checkpoints.asked;
  if (request === undefined) return;
  if (request.savepoint === null) {
    for (const { key } of checkpoints.asked) answer(driver, checkpoints, settledBy(driver, key, pointer.id, null));
    checkpoints.asked = [];
    return;
  }
  checkpoints.asked = [];
  checkpoints.writing = { request, pointer };
  const { directory } = request.savepoint;
  driver.out.push({ kind: "write-savepoint", storage: checkpoints.storage, pointer, directory });
}

export function savepointWritten(driver: DriverState, { id, savepoint }: EventOf<"savepoint.written">): void {
  const { checkpoints } = driver;
  const writing = checkpoints?.writing ?? null;
  if (checkpoints === null || writing === null || writing.pointer.id !== id) return;
  checkpoints.writing = null;
  log(driver, "info", `The savepoint of checkpoint ${id} is in ${savepoint.directory}.`, { checkpoint: id });
  const answered = settledBy(driver, writing.request.key, id, savepoint);
  if (writing.request.savepoint?.stop === true && isUndecided(driver)) stopThere(driver, writing.pointer, answered);
  else answer(driver, checkpoints, answered);
}

export function savepointFailed(driver: DriverState, { id, error }: EventOf<"savepoint.failed">): void {
  const { checkpoints } = driver;
  const writing = checkpoints?.writing ?? null;
  if (checkpoints === null || writing === null || writing.pointer.id !== id) return;
  checkpoints.writing = null;
  answer(driver, checkpoints, refusedBy(driver, writing.request.key, error));
  settled(driver);
}

/** The decision of the job, in place of the one at its input's end; the answer is in it. */
function stopThere(driver: DriverState, pointer: CompletedCheckpoint, stopped: CheckpointAnswer): void {
  tryEnded(driver);
  const holdsOutput = driver.checkpoints !== null && triesOf(driver.checkpoints.carried).length > 0;
  const manifest: CommitManifest = {
    attempt: driver.config.attempt,
    try: driver.current.number,
    sinks: {},
    records: pointer.records,
    ...(holdsOutput ? { checkpoint: pointer.id } : {}),
    result: null,
    stopped,
  };
  driver.phase = { kind: "deciding", manifest };
  driver.master.ask({ message: "driver.commit", body: manifest }, driver.out);
}

/** The job is to end with the savepoint that is being taken. */
export function isStopping({ writing }: JobCheckpoints): boolean {
  return writing?.request.savepoint?.stop === true;
}

// ------------------------------------------------------------------------------------------------ answers

export function answerAsked(driver: DriverState, checkpoints: JobCheckpoints, error: ErrorShape): void {
  for (const { key } of checkpoints.asked) answer(driver, checkpoints, refusedBy(driver, key, error));
  checkpoints.asked = [];
}

const settledBy = (
  { wall }: DriverState,
  key: string,
  checkpoint: number,
  savepoint: WrittenSavepoint | null,
): CheckpointAnswer => ({
  key,
  answeredAt: wall,
  checkpoint,
  savepoint,
  error: null,
});

const refusedBy = ({ wall }: DriverState, key: string, error: ErrorShape): CheckpointAnswer => ({
  key,
  answeredAt: wall,
  checkpoint: null,
  savepoint: null,
  error,
});

function answer(driver: DriverState, checkpoints: JobCheckpoints, answered: CheckpointAnswer): void {
  checkpoints.told = [...checkpoints.told, answered].slice(-MAX_CHECKPOINT_ANSWERS);
  tellAnswers(driver, [answered]);
}

/** A leader that has not heard of them has the requests still. */
export function tellAnswersAgain(driver: DriverState): void {
  const open = new Set((driver.application.checkpoints?.requests ?? []).map(({ key }) => key));
  const untold = driver.checkpoints?.told.filter(({ key }) => open.has(key)) ?? [];
  if (untold.length > 0) tellAnswers(driver, untold);
}

function tellAnswers(driver: DriverState, answers: readonly CheckpointAnswer[]): void {
  if (!driver.master.isRegistered) return;
  driver.out.push({ kind: "tell-master", message: "driver.checkpoint-answers", body: { answers: [...answers] } });
}

export function tellFailed(driver: DriverState, failed: FailedCheckpoint): void {
  if (driver.master.isRegistered) driver.out.push({ kind: "tell-master", message: "driver.checkpoint-failed", body: failed });
}

// ------------------------------------------------------------------------------------------------ begin from a savepoint

/** As long as the job has no completed checkpoint of its own. */
export function beginsFromSavepoint(driver: DriverState): boolean {
  return driver.checkpoints !== null && lastCheckpoint(driver) === null && driver.application.checkpoints?.from !== undefined;
}

/** False: its id has to be reserved first. */
export function restoreSavepoint(driver: DriverState): boolean {
  const { checkpoints } = driver;
  const from = driver.application.checkpoints?.from;
  if (checkpoints === null || from === undefined || !checkpoints.course.canBegin) return false;
  const id = checkpoints.course.beginRestored(driver.now);
  const attempt = driver.current.name;
  driver.out.push({ kind: "restore-savepoint", id, attempt, storage: checkpoints.storage, from });
  return true;
}

export function savepointRestored(driver: DriverState, { id, manifest, handle }: EventOf<"savepoint.restored">): void {
  const { checkpoints } = driver;
  if (checkpoints === null || checkpoints.course.kind !== "storing" || checkpoints.course.id !== id) return;
  driver.preparing = false;
  checkpoints.manifest = manifest;
  manifestStored(driver, { kind: "manifest.stored", id, manifest: handle });
}

export function savepointRestoreFailed(driver: DriverState, { id, error }: EventOf<"savepoint.restore-failed">): void {
  const { checkpoints } = driver;
  if (checkpoints === null || checkpoints.course.kind !== "storing" || checkpoints.course.id !== id) return;
  driver.preparing = false;
  checkpoints.course.failed(driver.now);
  fail(driver, failureOf(error, null));
}
