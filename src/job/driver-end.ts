/** The end of a driver: the decision to commit, the sinks' commit, cleaning up, and the report to the master. */
import { assert } from "../base/assert.js";
import type { ErrorShape } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { CommitManifest } from "../wire/application.js";
import { resultOfParts } from "./collected.js";
import { knowsWhatIsNeeded, lastCheckpoint, neededTries, noteUnended, tryEnded } from "./driver-checkpoints.js";
import { attemptName, type Ending } from "./driver-events.js";
import { isForPeople } from "./driver-parking.js";
import { type DriverState, dismissAll, log, progress } from "./driver-state.js";
import { fail } from "./driver-tries.js";
import { parked } from "./endings.js";
import { allShown, mergeStaged, stagedOf, triesOf } from "./staged-output.js";

export function decide(driver: DriverState): void {
  const { recordsIn, recordsOut } = progress(driver);
  const { sinks, result, error } = outputOf(driver);
  if (error !== null) {
    fail(driver, { kind: "fatal", error, processId: null, symptom: false, explained: true });
    return;
  }
  tryEnded(driver);
  const carriedIn = driver.checkpoints !== null && triesOf(driver.checkpoints.carried).length > 0 ? lastCheckpoint(driver) : null;
  const manifest: CommitManifest = {
    attempt: driver.config.attempt,
    try: driver.current.number,
    sinks: withoutShown(driver, sinks),
    records: { in: recordsIn, out: recordsOut },
    ...(carriedIn === null ? {} : { checkpoint: carriedIn.id }),
    result,
  };
  driver.phase = { kind: "deciding", manifest };
  driver.master.ask({ message: "driver.commit", body: manifest }, driver.out);
}

/** What is to be committed, and the result of the job: told while it ran, or (with checkpoints) staged as all other output is. */
function outputOf({ current, checkpoints, config }: DriverState) {
  const sinks = current.committables();
  if (checkpoints === null) return { sinks, result: current.collected.result(current.readers()), error: null };
  const limits = config.collectLimits ?? new Map<string, number>();
  const ofSinks = Object.fromEntries(Object.entries(sinks).filter(([uid]) => !limits.has(uid)));
  return { sinks: ofSinks, ...resultOfParts(mergeStaged(checkpoints.carried, stagedOf("", sinks)), limits) };
}

/** What a checkpoint of this try has made visible is not committed again. */
function withoutShown(driver: DriverState, sinks: Record<string, JsonValue[]>): Record<string, JsonValue[]> {
  const { checkpoints } = driver;
  if (checkpoints === null) return sinks;
  const left = mergeStaged({}, stagedOf("", sinks), allShown(checkpoints.shown));
  return Object.fromEntries(
    Object.keys(sinks).map((uid) => [uid, (left[uid] ?? []).map(({ committable }) => committable as JsonValue)]),
  );
}

/** Another driver attempt had decided before this one came to know of it. */
export function adoptCommit(driver: DriverState, manifest: CommitManifest): void {
  log(driver, "info", `Attempt ${manifest.attempt} had decided its commit; only that is left to do.`);
  beginCommit(driver, manifest);
}

export function beginCommit(driver: DriverState, manifest: CommitManifest, repeats = 0): void {
  driver.phase = { kind: "committing", manifest, repeats, repeatAt: null };
  if (repeats === 0) dismissAll(driver, "the job is done");
  const attempt = attemptName(manifest.attempt, manifest.try ?? 1);
  driver.out.push({ kind: "commit-sinks", manifest, attempt, ...storedCheckpoint(driver, manifest) });
}

/** The checkpoint that the decision names: its record outlives it, since no other one follows. */
function storedCheckpoint(driver: DriverState, { checkpoint }: CommitManifest) {
  const { checkpoints } = driver.application;
  const pointer = checkpoints?.completed.find(({ id }) => id === checkpoint);
  return checkpoints === undefined || pointer === undefined ? {} : { checkpoint: { storage: checkpoints.storage, pointer } };
}

export function sinksCommitted(driver: DriverState): void {
  if (driver.phase.kind !== "committing") return;
  const { manifest } = driver.phase;
  cleanUp(driver, { outcome: "finished", reason: null, result: manifest.result ?? null, restart: false });
}

export function sinksCommitFailed(driver: DriverState, error: ErrorShape): void {
  if (driver.phase.kind !== "committing") return;
  const repeats = driver.phase.repeats + 1;
  log(driver, "warn", `The sinks could not commit: ${error.message}`, { code: error.code, repeats });
  if (repeats <= driver.config.limits.commitRepeats) {
    driver.phase = { ...driver.phase, repeats, repeatAt: driver.now + repeats * driver.config.limits.retryMs };
    return;
  }
  // The decision stands: whoever comes next has to finish it.
  if (isForPeople(driver, error)) finishUp(driver, parked(error));
  else finishUp(driver, { outcome: "failed", reason: error, result: null, restart: true });
}

export function cleanUp(driver: DriverState, ending: Ending): void {
  // Until the end is durable somebody may have to go on: what could be needed is removed after that (forgetCheckpoints).
  if (ending.outcome !== "finished" && !knowsWhatIsNeeded(driver)) {
    finishUp(driver, ending);
    return;
  }
  noteUnended(driver);
  driver.phase = { kind: "cleaning", until: driver.now + driver.config.limits.cleanUpMs, ending };
  // Only what is decided makes earlier tries' output needless: a superseded driver doesn't know that another one goes on from it.
  driver.out.push({ kind: "clean-up", keep: ending.outcome === "finished" ? [] : neededTries(driver) });
}

/** `leftovers`: somebody else has to remove what its sinks staged. */
export function finishUp(driver: DriverState, ending: Ending, leftovers = false): void {
  if (ending.outcome === "quit") {
    end(driver, ending);
    return;
  }
  const giveUpAt = driver.toldToGo ? driver.now + driver.config.limits.cleanUpMs : null;
  driver.phase = { kind: "reporting", giveUpAt, ending };
  const { outcome, result, reason, restart } = ending;
  assert(outcome !== "superseded", `${outcome} is not reported`);
  driver.master.ask(
    { message: "driver.finished", body: { outcome, result, reason, restart, ...(leftovers ? { leftovers } : {}) } },
    driver.out,
  );
}

/** The end is durable, and nobody goes on from a checkpoint any more. What a person may want to look at stays. */
export function forgetCheckpoints(driver: DriverState, ending: Ending): void {
  const { checkpoints } = driver.application;
  if (checkpoints === undefined || ending.restart || ending.outcome === "parked") return;
  if (ending.reason?.code === "CHECKPOINT_UNREADABLE") return;
  const retain = driver.config.application.spec.job?.checkpoint?.retain === true;
  driver.out.push({ kind: "forget-checkpoints", storage: checkpoints.storage, retain });
}

/** `leaves`: what its executors run is for another attempt. */
export function end(driver: DriverState, ending: Ending, leaves = false): void {
  if (ending.outcome === "superseded" && !leaves) dismissAll(driver, ending.reason?.message ?? "superseded");
  driver.phase = { kind: "ended" };
  driver.out.push({ kind: "end", ending });
}
