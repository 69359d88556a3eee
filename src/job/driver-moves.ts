/**
 * Moving off draining workers: the master places other executors first, and says which of ours are to go (`draining`). When as many others have come
 * as the job needs, the present try is stopped, those that are to go are given back, and the next try runs on the others. It is nobody's failure:
 * no restart strategy is asked, and nothing is waited for.
 */

import { moveSlice, slicesRestartAlone } from "./driver-regions.js";
import { type DriverState, dismiss, jobSpec, log, release } from "./driver-state.js";
import { fail } from "./driver-tries.js";
import { moved } from "./failures.js";
import type { Executor } from "./roster.js";

const isMember = (driver: DriverState, { processId }: Executor): boolean => driver.current.state(processId) !== null;
const staysOf = (driver: DriverState): readonly Executor[] =>
  driver.roster.connected().filter(({ processId }) => !driver.draining.has(processId));

/** Those that stay first: a try should not begin on executors that are to go. */
export function byPreference(driver: DriverState): readonly Executor[] {
  return [...staysOf(driver), ...driver.roster.connected().filter(({ processId }) => driver.draining.has(processId))];
}

export function changeOver(driver: DriverState): void {
  if (driver.phase.kind !== "running") return;
  const leaving = driver.roster.all().filter((executor) => driver.draining.has(executor.processId) && isMember(driver, executor));
  const [first] = leaving;
  if (first === undefined || staysOf(driver).length < jobSpec(driver).parallelism) return;
  log(driver, "info", `Try ${driver.current.number} moves off draining workers.`, { executors: leaving.length });
  if (!slicesRestartAlone(driver)) {
    fail(driver, moved(first.processId));
    return;
  }
  for (const { processId } of leaving) if (driver.current.state(processId) === "running") moveSlice(driver, processId);
  giveBackDraining(driver);
}

/** The try has stopped: those that are to go are not needed any more. */
export function giveBackDraining(driver: DriverState): void {
  for (const executor of driver.roster.all()) {
    if (!driver.draining.has(executor.processId)) continue;
    if (executor.link !== null) dismiss(driver, executor.link, "its worker is draining");
    driver.current.gone(executor.processId);
    release(driver, executor.processId);
  }
}

/**
 * A drain that was cancelled, or a leader that did not know what the one before had ordered, leaves more executors than the job needs. One that takes the
 * place of another that is gone is none too many.
 */
export function releaseIdle(driver: DriverState): void {
  if (
    driver.phase.kind !== "running" ||
    driver.roster.all().length <= jobSpec(driver).parallelism ||
    driver.roster.all().some((one) => driver.draining.has(one.processId) && isMember(driver, one))
  )
    return;
  for (const executor of driver.roster.connected()) {
    if (isMember(driver, executor) || executor.link === null) continue;
    dismiss(driver, executor.link, "the job has enough executors");
    release(driver, executor.processId);
  }
}
