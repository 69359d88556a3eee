/**
 * The lease of what must not run twice (`onPartition: "stop"`): all of its times in one place, for both sides.
 *
 *   worker   asks the leader to renew; when the answer comes, the lease counts from the instant of ASKING, so it never begins before the leader
 *            heard of the worker. When it is `leaseMs` old the process gets the polite signal, LEASE_GRACE_MS later it is killed. Its keeper does
 *            that by itself (node/process-shim.ts): also when the worker is stopped or dead.
 *   master   starts it elsewhere no earlier than deadline + fence after it last heard of the worker
 *
 * Neither knows the other's clock. The proof, for clocks that are wrong by at most CLOCK_RATE_ERROR: what the worker measures as T lasts at most
 * T / (1 - error), what the master measures as T at least T / (1 + error). So the process is over in time when
 *
 *   leaseMs + LEASE_POLL_MS + LEASE_GRACE_MS + LEASE_SLACK_MS <= (deadline + fence) * (1 - error) / (1 + error)
 *
 * which `leaseMsFor` keeps and test/unit/wire/partition-lease.test.ts tries out.
 *
 * A worker may also be confirmed by an instant at which nobody led, or at which the leader was stopped. Whoever leads, or goes on, later than that
 * gives the worker a whole deadline, and to what ran on one that had been declared lost before a whole deadline + fence (master/lease-debts.ts), so
 * that the inequality holds from that instant on.
 */
export const CLOCK_RATE_ERROR = 0.1;
/** The keeper looks at the lease once a second. */
export const LEASE_POLL_MS = 1_000;
/** Between the polite signal and the kill. */
export const LEASE_GRACE_MS = 2_000;
/** A keeper that gets the processor late, and the kill itself. */
export const LEASE_SLACK_MS = 1_000;
/** Written in whole seconds and renewed every second, a shorter lease would look old although all is well, on a busy machine at least. */
export const MIN_LEASE_MS = 4_000;
/** Leases are renewed this often, or four times in their length. */
export const LEASE_RENEW_MS = 1_000;

const AFTER_LEASE_MS = LEASE_POLL_MS + LEASE_GRACE_MS + LEASE_SLACK_MS;
const CLOCKS = (1 - CLOCK_RATE_ERROR) / (1 + CLOCK_RATE_ERROR);

/** In whole seconds. At least MIN_LEASE_MS if the fence is at least `fenceMsFor` of the deadline. */
export function leaseMsFor(deadlineMs: number, fenceMs: number): number {
  return Math.floor(((deadlineMs + fenceMs) * CLOCKS - AFTER_LEASE_MS) / 1_000) * 1_000;
}

/** The shortest fence with which a lease lasts `leaseMs`, however short the deadline is. */
export function fenceMsFor(deadlineMs: number, leaseMs: number = MIN_LEASE_MS): number {
  const wholeMs = Math.ceil(Math.max(leaseMs, MIN_LEASE_MS) / 1_000) * 1_000;
  return Math.max(0, Math.ceil((wholeMs + AFTER_LEASE_MS) / CLOCKS) - deadlineMs);
}
