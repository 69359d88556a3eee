/**
 * What happened, for users: events with (epoch, seq) in a bounded history (event-history.ts), and the long polls that wait for something new.
 *
 * Invariants: `seq` starts at 1 in every epoch and has no holes; a poll is answered exactly once, or its link is gone; with records an event
 * is durable before anybody sees it. It goes with the next write, and alone only when somebody looks or EVENT_DELAY_MS have passed.
 */
import { isoTime } from "../base/iso-time.js";
import type { OperationInput } from "../wire/operations.js";
import { log, type MasterState, type Step, type Waiter } from "./state.js";

export const EVENT_KINDS = [
  "leader.elected",
  "recovery.completed",
  "worker.registered",
  "worker.suspect",
  "worker.returned",
  "worker.lost",
  "worker.draining",
  "worker.drained",
  "worker.undrained",
  "worker.leaving",
  "worker.gone",
  "removals.waiting",
  "removals.resumed",
  "removals.held",
  "removals.continued",
  "application.submitted",
  "application.running",
  "application.restarting",
  "application.parked",
  "application.resumed",
  "application.finished",
  "application.failed",
  "application.cancelling",
  "application.cancelled",
  "application.leftovers",
  "application.forgotten",
  "job.restored",
  "job.taken-over",
  "savepoint.completed",
  "checkpoint.refused",
  "driver.restarted",
  "executor.lost",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** Longest wait of an event for a write that it can go with. */
export const EVENT_DELAY_MS = 50;
/** Of one event; what is longer is cut. */
export const MAX_MESSAGE_CHARACTERS = 2_000;

export function emit(state: MasterState, step: Step, kind: EventKind, subject: string, message: string): void {
  const { events } = state;
  const isLong = message.length > MAX_MESSAGE_CHARACTERS;
  const text = isLong ? `${message.slice(0, MAX_MESSAGE_CHARACTERS - 1)}…` : message;
  if (!events.history.hasPending && state.mode === "store")
    state.deadlines.add(step.now.instant + EVENT_DELAY_MS, { kind: "events" });
  events.history.emit({
    at: isoTime(step.now.wall),
    epoch: state.self.epoch,
    seq: events.nextSeq,
    kind,
    subject,
    message: text,
  });
  events.nextSeq += 1;
  events.fresh = true;
}

/** After the records of the step. */
export function writeEvents(state: MasterState, step: Step): void {
  const { events } = state;
  if (!events.history.hasPending) return;
  if (step.turn.writes.length > 0 || events.isDue || events.waiters.size > 0) events.history.write(step.turn);
  events.isDue = false;
}

const WARNINGS: ReadonlySet<EventKind> = new Set(["worker.lost", "removals.waiting", "removals.held", "application.leftovers"]);

/** An event that is also a line in the master's log. */
export function tell(state: MasterState, step: Step, kind: EventKind, subject: string, message: string): void {
  emit(state, step, kind, subject, message);
  log(state, step, WARNINGS.has(kind) ? "warn" : "info", message, { event: kind, subject });
}

export function answerEvents(
  state: MasterState,
  step: Step,
  linkId: number,
  requestId: number,
  input: OperationInput<"events">,
): void {
  state.events.history.write(step.turn);
  const found = state.events.history.after(input.after, input.limit);
  for (const record of state.events.history.takeUnreadable())
    log(state, step, "warn", `The record ${record} cannot be read: its events are missing from the history.`);
  const what = { kind: "events", after: input.after, limit: input.limit } as const;
  if (found.length === 0 && input.waitMs > 0 && wait(state, step, { linkId, requestId, what, over: false }, input.waitMs)) return;
  step.turn.effects.push({ kind: "reply", linkId, requestId, body: { events: found } });
}

/** Keeps the poll open; false when too many are. */
export function wait(state: MasterState, step: Step, waiter: Waiter, waitMs: number): boolean {
  const link = state.links.get(waiter.linkId);
  if (link === undefined || state.waiting >= state.settings.maxWaiters) return false;
  state.waiting += 1;
  link.waiters.add(waiter);
  if (waiter.what.kind === "events") state.events.waiters.add(waiter);
  else state.applications.get(waiter.what.applicationId)?.waiters.push(waiter);
  state.deadlines.add(step.now.instant + waitMs, { kind: "waiter", waiter });
  return true;
}

/** Takes the poll out of all lists but the application's own, which skips those that are over. */
export function endWait(state: MasterState, waiter: Waiter): void {
  if (waiter.over) return;
  waiter.over = true;
  state.waiting -= 1;
  state.links.get(waiter.linkId)?.waiters.delete(waiter);
  state.events.waiters.delete(waiter);
  if (waiter.what.kind !== "status") return;
  const app = state.applications.get(waiter.what.applicationId);
  if (app !== undefined) app.waiters = app.waiters.filter((other) => !other.over);
}

/** At the end of a step: who waits for events gets the new ones. */
export function flushEvents(state: MasterState, step: Step): void {
  if (!state.events.fresh) return;
  state.events.fresh = false;
  for (const waiter of [...state.events.waiters]) {
    if (waiter.what.kind !== "events") continue;
    const events = state.events.history.after(waiter.what.after, waiter.what.limit);
    if (events.length === 0) continue;
    endWait(state, waiter);
    step.turn.effects.push({ kind: "reply", linkId: waiter.linkId, requestId: waiter.requestId, body: { events } });
  }
}
