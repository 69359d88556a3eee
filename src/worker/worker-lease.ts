/**
 * Leases of processes that end without this worker, or without a leader that hears of it. Their keepers judge by themselves, by what is written here.
 *
 *   runs on (`continue`)        ends when the worker process is gone: shown to be alive every `leaseRenewMs`, whatever becomes of masters
 *   must not run twice (`stop`) ends when no leader confirms this worker (wire/partition-lease.ts): asked every second while such a process lives.
 *                               Where every master that is known refuses connections, says that it does not lead, or is stopped as the standby
 *                               beside it says, nobody can start it elsewhere (the next leader gives each worker a fresh deadline, and so does
 *                               one that goes on): that confirms it as well, so masters, or their store, may be away for hours. Silence confirms
 *                               nothing; so when the leader is silent, the others are asked.
 *
 * A launch of the second kind waits until the lease is fresh, or its keeper would end it at once. It goes on by a leader's word only: that nobody leads
 * says that nothing new is started, but a leader that has given this worker up since the order may have given the order to another.
 */
import { LEASE_RENEW_MS } from "../wire/partition-lease.js";
import type { LaunchOrder } from "../wire/worker-messages.js";
import { isLeased, liveCount, log, send, type WorkerState, type WorkerStep } from "./worker-state.js";

/** Renewals without an answer that are remembered; the answer to an older one would not make the lease fresh. */
const MAX_ASKED = 16;
/** A renewal that has no answer after this share of the lease: the other masters are asked as well. */
const LOOK_AROUND_SHARE = 0.2;

/** The master counts its deadline from what it last heard; the lease is at most one renewal older than that. */
export function livelyLeaseMs(worker: WorkerState): number | null {
  const deadlineMs = worker.masterDeadlineMs;
  return deadlineMs === null ? null : Math.max(1, deadlineMs / 2, deadlineMs - worker.limits.leaseMarginMs);
}

export function settleLeases(worker: WorkerState, step: WorkerStep): void {
  const { instant } = step.now;
  if (worker.livelyAt !== null && worker.livelyAt <= instant) {
    step.turn.effects.push({ kind: "renew-lease" });
    worker.aliveAt = instant;
    // Often enough that a short deadline is not mistaken for a stop.
    worker.livelyAt = instant + Math.min(worker.limits.leaseRenewMs, (livelyLeaseMs(worker) ?? Number.POSITIVE_INFINITY) / 4);
  }
  const { lease } = worker;
  if (lease.renewAt === null || lease.renewAt > instant) return;
  lease.renewAt = null;
  if (worker.link?.state !== "registered" || !hasLeased(worker)) return;
  lease.renewAt = instant + Math.min(LEASE_RENEW_MS, (lease.lengthMs ?? LEASE_RENEW_MS) / 4);
  const [unansweredSince] = lease.asked.values();
  if (lease.lengthMs !== null && unansweredSince !== undefined && instant - unansweredSince >= LOOK_AROUND_SHARE * lease.lengthMs)
    step.turn.effects.push({ kind: "look-around", linkId: worker.link.id });
  lease.sequence += 1;
  lease.asked.set(lease.sequence, instant);
  const [oldest] = lease.asked.keys();
  if (lease.asked.size > MAX_ASKED && oldest !== undefined) lease.asked.delete(oldest);
  send(worker, step, { kind: "worker.renew", body: { sequence: lease.sequence } });
}

export const hasLeased = (worker: WorkerState): boolean =>
  [...worker.processes.values()].some((entry) => entry.phase !== "ended" && isLeased(entry.processId, entry.application));

/** The leader has heard this worker at `askedAt` or later, or no master ran then. */
function confirmLease(worker: WorkerState, step: WorkerStep, askedAt: number): void {
  const { lease } = worker;
  if (askedAt <= lease.startedAt) return;
  lease.startedAt = askedAt;
  step.turn.effects.push({ kind: "renew-leader-lease", ageMs: Math.max(0, step.now.instant - askedAt) });
}

/** A leader knows this worker, and has not given it up. */
function confirmedByLeader(worker: WorkerState, step: WorkerStep, askedAt: number): void {
  confirmLease(worker, step, askedAt);
  for (const order of [...worker.lease.held.values()]) launchHeld(worker, step, order);
}

export function leaseRenewed(worker: WorkerState, step: WorkerStep, sequence: number): void {
  const askedAt = worker.lease.asked.get(sequence);
  if (askedAt === undefined) return;
  for (const earlier of worker.lease.asked.keys()) if (earlier <= sequence) worker.lease.asked.delete(earlier);
  confirmedByLeader(worker, step, askedAt);
}

/** Also of a worker that was started again without a master: the keepers of what it has adopted know how long their lease is. */
export function nobodyLeads(worker: WorkerState, step: WorkerStep, since: number): void {
  if (hasLeased(worker)) confirmLease(worker, step, since);
}

export function leaseRegistered(worker: WorkerState, step: WorkerStep, lengthMs: number, askedAt: number): void {
  const { lease } = worker;
  lease.lengthMs = lengthMs;
  lease.asked.clear();
  lease.renewAt = step.now.instant;
  confirmedByLeader(worker, step, askedAt);
}

/** Launches it now, or as soon as the lease has been renewed. */
export function launchLeased(worker: WorkerState, step: WorkerStep, order: LaunchOrder): void {
  worker.lease.held.set(order.processId, order);
  worker.lease.renewAt ??= step.now.instant;
  launchHeld(worker, step, order);
}

function launchHeld(worker: WorkerState, step: WorkerStep, order: LaunchOrder): void {
  const { lengthMs, startedAt, held } = worker.lease;
  if (lengthMs === null || step.now.instant - startedAt > lengthMs / 3) return;
  held.delete(order.processId);
  const entry = worker.processes.get(order.processId);
  if (entry?.phase !== "launching" || entry.note === null) return;
  const lease = { endsWithoutWorkerMs: null, endsWithoutLeaderMs: lengthMs };
  step.turn.effects.push({ kind: "launch", order, note: entry.note, ...lease });
  entry.note = null;
}

/** When a timer of leases is due next. */
export const nextLeaseAt = (worker: WorkerState): number =>
  Math.min(worker.livelyAt ?? Number.POSITIVE_INFINITY, worker.lease.renewAt ?? Number.POSITIVE_INFINITY);

/**
 * This process was stopped (SIGSTOP, a frozen machine) for so long that the master may have given it up: orders that waited meanwhile may be
 * given to others by now, so nothing more is taken over this connection, and the next one begins with a registration.
 */
export function leaveWhenAway(worker: WorkerState, step: WorkerStep): void {
  const limitMs = livelyLeaseMs(worker);
  if (worker.link === null || worker.aliveAt === null || limitMs === null) return;
  const awayMs = step.now.instant - worker.aliveAt;
  if (awayMs < limitMs) return;
  log(step, "warn", `This worker was stopped for ${Math.round(awayMs)} ms: it registers again.`, {
    awayMs: Math.round(awayMs),
    processes: liveCount(worker),
  });
  step.turn.effects.push({ kind: "close-link", linkId: worker.link.id, reason: "this worker was stopped for too long" });
  worker.link = null;
  worker.registerAt = null;
}
