/**
 * What happened, for users: a bounded ring of events with (epoch, seq), and the long polls that wait for something new.
 *
 * Invariants: `seq` starts at 1 in every epoch and has no holes; a poll is answered exactly once, or its link is gone.
 */
import { isoTime } from "../base/iso-time.js";
import type { OperationInput } from "../wire/operations.js";
import type { EventView } from "../wire/views.js";
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
  "application.finished",
  "application.failed",
  "application.cancelling",
  "application.cancelled",
  "driver.restarted",
  "executor.lost",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export function emit(state: MasterState, step: Step, kind: EventKind, subject: string, message: string): void {
  const { events } = state;
  events.ring.push({ at: isoTime(step.now.wall), epoch: state.self.epoch, seq: events.nextSeq, kind, subject, message });
  events.nextSeq += 1;
  events.fresh = true;
  // Cutting a tenth at a time keeps the cost of a full ring constant per event.
  if (events.ring.length > state.settings.maxEvents * 1.1) events.ring.splice(0, events.ring.length - state.settings.maxEvents);
}

const WARNINGS: ReadonlySet<EventKind> = new Set(["worker.lost", "removals.waiting", "removals.held"]);

/** An event that is also a line in the master's log. */
export function tell(state: MasterState, step: Step, kind: EventKind, subject: string, message: string): void {
  emit(state, step, kind, subject, message);
  log(state, step, WARNINGS.has(kind) ? "warn" : "info", message, { event: kind, subject });
}

export function eventsAfter(
  state: MasterState,
  after: { readonly epoch: number; readonly seq: number } | null,
  limit: number,
): EventView[] {
  const { ring } = state.events;
  let low = 0;
  if (after !== null && after.epoch > state.self.epoch) return [];
  if (after !== null && after.epoch === state.self.epoch) {
    const first = ring[0]?.seq ?? 0;
    low = Math.max(0, after.seq - first + 1);
  }
  return ring.slice(low, low + limit);
}

export function answerEvents(
  state: MasterState,
  step: Step,
  linkId: number,
  requestId: number,
  input: OperationInput<"events">,
): void {
  const found = eventsAfter(state, input.after, input.limit);
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
    const events = eventsAfter(state, waiter.what.after, waiter.what.limit);
    if (events.length === 0) continue;
    endWait(state, waiter);
    step.turn.effects.push({ kind: "reply", linkId: waiter.linkId, requestId: waiter.requestId, body: { events } });
  }
}
