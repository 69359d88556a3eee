/**
 * When a job is parked instead of failed: it could only go on by a guess, and what a person needs to decide otherwise is still there.
 *
 *   its last checkpoint can't be read          an older one, or none, would show output twice
 *   the savepoint that a person named can't    the choice was that person's
 *   it fails in the same way at one record     another try changes nothing, and its state is worth keeping
 *
 * Boundary: the driver's side; what the master keeps of it is in master/parking.ts.
 */
import type { ErrorCode, ErrorShape } from "../base/errors.js";
import { countedSoFar, type DriverState } from "./driver-state.js";
import { notesOf } from "./failure-notes.js";

const OF_SAVEPOINTS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["SAVEPOINT_UNREADABLE", "SAVEPOINT_MISMATCH"]);

/** The driver of a client-mode job ends with its client: nobody could resume it. */
export function mayPark({ application }: DriverState): boolean {
  return application.checkpoints !== undefined && application.spec.deployMode === "cluster";
}

export function isForPeople(driver: DriverState, { code }: ErrorShape): boolean {
  if (!mayPark(driver)) return false;
  return code === "CHECKPOINT_UNREADABLE" || (OF_SAVEPOINTS.has(code) && driver.application.resumed !== undefined);
}

export function tellFailures(driver: DriverState): void {
  if (!driver.master.isRegistered) return;
  driver.out.push({ kind: "tell-master", message: "driver.failures", body: notesOf(countedSoFar(driver), driver) });
}
