/** The end of a driver: the decision to commit, the sinks' commit, cleaning up, and the report to the master. */
import { assert } from "../base/assert.js";
import type { ErrorShape } from "../base/errors.js";
import type { CommitManifest } from "../wire/application.js";
import { attemptName, type Ending } from "./driver-events.js";
import { type DriverState, dismissAll, log, progress } from "./driver-state.js";

export function decide(driver: DriverState): void {
  const { recordsIn, recordsOut } = progress(driver);
  const manifest: CommitManifest = {
    attempt: driver.config.attempt,
    try: driver.current.number,
    sinks: driver.current.committables(),
    records: { in: recordsIn, out: recordsOut },
    result: driver.current.collected.result(driver.current.memberIds()),
  };
  driver.phase = { kind: "deciding", manifest };
  driver.master.ask({ kind: "request", message: "driver.commit", body: manifest }, driver.out);
}

/** Another driver attempt had decided before this one came to know of it. */
export function adoptCommit(driver: DriverState, manifest: CommitManifest): void {
  log(driver, "info", `Attempt ${manifest.attempt} had decided its commit; only that is left to do.`);
  beginCommit(driver, manifest);
}

export function beginCommit(driver: DriverState, manifest: CommitManifest, repeats = 0): void {
  driver.phase = { kind: "committing", manifest, repeats, repeatAt: null };
  if (repeats === 0) dismissAll(driver, "the job is done");
  driver.out.push({ kind: "commit-sinks", manifest, attempt: attemptName(manifest.attempt, manifest.try ?? 1) });
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
  finishUp(driver, { outcome: "failed", reason: error, result: null, restart: true });
}

export function cleanUp(driver: DriverState, ending: Ending): void {
  driver.phase = { kind: "cleaning", until: driver.now + driver.config.limits.cleanUpMs, ending };
  driver.out.push({ kind: "clean-up" });
}

export function finishUp(driver: DriverState, ending: Ending): void {
  if (ending.outcome === "quit") {
    end(driver, ending);
    return;
  }
  const giveUpAt = driver.toldToGo ? driver.now + driver.config.limits.cleanUpMs : null;
  driver.phase = { kind: "reporting", giveUpAt, ending };
  const { outcome, result, reason, restart } = ending;
  assert(outcome === "finished" || outcome === "failed" || outcome === "cancelled", `${outcome} is not reported`);
  driver.master.ask({ kind: "request", message: "driver.finished", body: { outcome, result, reason, restart } }, driver.out);
}

export function end(driver: DriverState, ending: Ending): void {
  if (ending.outcome === "superseded") dismissAll(driver, ending.reason?.message ?? "superseded");
  driver.phase = { kind: "ended" };
  driver.out.push({ kind: "end", ending });
}
