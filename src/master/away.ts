/**
 * Noticing that this leader itself was away: stopped, frozen with its machine, or without a turn for so long that it may have heard nobody.
 *
 * A pulse makes a step at least every PULSE_MS; a gap of LEADER_AWAY_MS between two steps is an absence. Afterwards workers and drivers without a
 * connection get a whole deadline from now on: what they said meanwhile may lie unread, and while this leader was away they may have counted its absence
 * as proof that nobody starts their work elsewhere (host/master-finder.ts: a standby says so after OWNER_STOPPED_MS, which is longer). What was on workers
 * that were lost before is put off for the same reason (lease-debts.ts).
 *
 * Invariant: judged before anything that is due, so no deadline of the time before the absence passes in the step that ends it.
 */
import { oweAfterAbsence } from "./lease-debts.js";
import { log, type MasterState, type Step } from "./state.js";

export const PULSE_MS = 250;
export const LEADER_AWAY_MS = 750;

/** First in every step. */
export function noticeAway(state: MasterState, step: Step): void {
  const { instant } = step.now;
  const since = state.steppedAt;
  const awayMs = instant - since;
  state.steppedAt = instant;
  if (awayMs < LEADER_AWAY_MS) return;
  oweAfterAbsence(state, step, since);
  state.judgedFrom = instant;
  log(state, step, "warn", `This leader was away for ${Math.round(awayMs)} ms: workers and drivers are judged from now on.`, {
    awayMs: Math.round(awayMs),
  });
}

export function pulse(state: MasterState, step: Step): void {
  state.steppedAt = step.now.instant;
  state.deadlines.add(step.now.instant + PULSE_MS, { kind: "pulse" });
}

/** When somebody who was heard last at `heardAt` has been silent for too long, counted by what this leader can know. */
export const judgedAt = (state: MasterState, heardAt: number, deadlineMs: number): number =>
  Math.max(heardAt, state.judgedFrom) + deadlineMs;
