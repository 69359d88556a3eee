/**
 * What must not run twice, was on a lost worker, and has not been started elsewhere: how long it may still run there when nobody led for a moment.
 *
 * A worker counts "nobody leads" (and "the leader is stopped") as a confirmation, since whoever leads later gives it a whole deadline. That is not enough for
 * one that was declared lost before: its record is followed as it is. So whoever begins to lead, or goes on after an absence, owes what ran there
 * the whole of deadline and fence from then on: every confirmation of that kind began before, and `leaseMs` ends within that time
 * (wire/partition-lease.ts). The calendar of the master that declared the worker lost has no say in it.
 */
import { onPartitionOf } from "../wire/application.js";
import type { Application, MasterState, Step } from "./state.js";

/** From the beginning of this leadership. An earlier leader that did not know that it was deposed may have confirmed it a little later. */
export function debtOfElectionMs({ settings }: MasterState): number {
  return settings.workerDeadlineMs + settings.programFenceMs + settings.deposedWithinMs;
}

/** It waits for the end of what ran on a lost worker, and not for its back-off. */
export function waitsForLease({ record }: Application): boolean {
  const ended = record.attempts.at(-1);
  if (record.state !== "restarting" || ended === undefined || onPartitionOf(record.spec) !== "stop") return false;
  return record.reason?.code === "WORKER_LOST" && (record.notBefore ?? 0) > ended.endedAt;
}

/** This leader was away from `since` on. What was over by then stays over. */
export function oweAfterAbsence(state: MasterState, step: Step, since: number): void {
  const { workerDeadlineMs, programFenceMs } = state.settings;
  const until = step.now.instant + workerDeadlineMs + programFenceMs;
  state.backlog = state.backlog.map((work) =>
    work.kind === "driver-worker-lost" && work.mayRunUntil > since
      ? { ...work, mayRunUntil: Math.max(work.mayRunUntil, until) }
      : work,
  );
  for (const app of state.applications.values()) {
    if (app.readyAt <= since || app.readyAt >= until || !waitsForLease(app)) continue;
    app.readyAt = until;
    state.deadlines.add(until, { kind: "ready", id: app.id });
  }
}
