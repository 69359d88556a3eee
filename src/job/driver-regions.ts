/**
 * Failover regions: when every slice is one of its own (dataflow/failover-regions.ts), one that fails or is lost restarts without the others.
 *
 *   running -> waiting (for the strategy's delay, for the outcome of a checkpoint, for a free executor) -> running, as another incarnation
 *
 * The other slices never stop and read nothing twice. What the slice had read since the last complete checkpoint is read again by its next incarnation,
 * what it had staged since is in no manifest, and what the lost one still says has the number of a try that is over.
 *
 * Invariants:
 *   1. An incarnation begins at the checkpoint that the record names last, and only when no outcome of one is open: a checkpoint that may yet be complete
 *      decides where the slice stands.
 *   2. No checkpoint begins while a slice waits, and none that still needs its answer goes on.
 *   3. Each such restart is counted, and numbered, as a try of the job is.
 */
import { hasOpenCheckpoint, lastCheckpoint, sliceInterrupted } from "./driver-checkpoints.js";
import { attemptName } from "./driver-events.js";
import { byPreference } from "./driver-moves.js";
import { type DriverState, log, progress } from "./driver-state.js";
import { decideNext, fail, noteFailure, resume, storageFailure, tellRestored } from "./driver-tries.js";
import type { Failure } from "./failures.js";
import type { WaitingSlice } from "./job-try.js";
import type { Executor } from "./roster.js";

/** One slice of the present try has failed, or its executor is gone. */
export function sliceFailed(driver: DriverState, processId: string, failed: Failure): void {
  const failure = storageFailure(driver, failed);
  if (!restartsAlone(driver, failure)) {
    fail(driver, failed);
    return;
  }
  noteFailure(driver, failure);
  const decision = decideNext(driver, failure);
  if (decision === "parked") return;
  if (decision === null) {
    driver.current.isGivenUp = true;
    fail(driver, failure);
    return;
  }
  log(driver, "warn", `A slice failed, and restarts without the others: ${failure.error.message}`, { code: failure.error.code });
  restartAlone(driver, processId, driver.now + decision);
}

/** In order, to go on elsewhere: nobody's failure. */
export function moveSlice(driver: DriverState, processId: string): void {
  restartAlone(driver, processId, driver.now);
}

function restartAlone(driver: DriverState, processId: string, at: number): void {
  driver.current.restartAlone(processId, at);
  sliceInterrupted(driver);
}

/** In a try that this driver has begun itself: of one that it took over it does not know all that a slice goes back to. */
export const slicesRestartAlone = ({ config, phase, current }: DriverState): boolean =>
  config.failover === "slice" && phase.kind === "running" && current.name === attemptName(config.attempt, current.first);

const restartsAlone = (driver: DriverState, { kind }: Failure): boolean =>
  slicesRestartAlone(driver) && (kind === "lost" || kind === "user");

/** At the end of each step: slices that wait begin again as soon as they may. */
export function restartSlices(driver: DriverState): void {
  if (!slicesRestartAlone(driver) || hasOpenCheckpoint(driver)) return;
  for (const slice of driver.current.waiting()) {
    if (slice.until > driver.now) continue;
    const executor = executorFor(driver, slice);
    if (executor === null) return;
    begin(driver, slice, executor);
  }
}

export function regionsDeadline(driver: DriverState): number {
  if (!slicesRestartAlone(driver) || hasOpenCheckpoint(driver)) return Number.POSITIVE_INFINITY;
  const waits = driver.current.waiting().flatMap(({ until }) => (until > driver.now ? [until] : []));
  return Math.min(Number.POSITIVE_INFINITY, ...waits);
}

/** Where it ran before, if that process lives on; else whoever is free. */
function executorFor(driver: DriverState, { processId }: WaitingSlice): Executor | null {
  const free = byPreference(driver).filter((executor) => driver.current.isFree(executor.processId));
  const own = free.find((executor) => executor.processId === processId && !driver.draining.has(processId));
  return own ?? free[0] ?? null;
}

function begin(driver: DriverState, { subtask }: WaitingSlice, executor: Executor): void {
  const { current, checkpoints } = driver;
  const checkpoint = checkpoints === null ? null : lastCheckpoint(driver);
  const seen = progress(driver).recordsIn;
  current.redeploy(subtask, executor, checkpoint, checkpoints?.completedOfTry ?? 0);
  const { recordsIn, recordsOut, badRecords, operators } = progress(driver);
  const recordsBack = Math.max(0, seen - recordsIn);
  const name = attemptName(driver.config.attempt, current.tryOf(executor.processId) ?? current.number);
  const from = checkpoint === null ? "the start" : `checkpoint ${checkpoint.id}`;
  log(driver, "info", `Slice ${subtask} goes on from ${from} on ${executor.processId}, ${recordsBack} records back.`, {
    slice: subtask,
    checkpoint: checkpoint?.id ?? null,
    recordsBack,
  });
  if (checkpoint !== null) {
    const counts = { recordsIn, recordsOut, badRecords, operators };
    current.goesOnFrom = { name, slice: subtask, checkpoint, counts, recordsBack };
    tellRestored(driver);
  }
  if (executor.link !== null) resume(driver, executor.processId, executor.link);
}
