/**
 * Where the client keeps the link to the present leader, and where calls wait for the next one.
 *
 * Invariants:
 *   1. `current` is never a link that has ended.
 *   2. Every waiter settles: by a link, its deadline, its signal, a permanent refusal by all masters, or the close.
 */
import { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { Looking } from "../finding/master-finder.js";
import type { Link } from "../link/link.js";

export interface Slot {
  current(): Link | null;
  fill(link: Link): void;
  /** A link beside the leader's that has to end with the client. */
  owns(link: Link): void;
  /** Rejects with TIMEOUT at the deadline. */
  take(signal: AbortSignal, deadline: number): Promise<Link>;
  looking(looking: Looking): void;
  /** Null while a leader is known and was found at once. */
  lastLooking(): Looking | null;
  /** The highest epoch of a leader so far. */
  epoch(): number;
  closedReason(): CodedError | null;
  close(reason: CodedError): void;
}

interface Waiter {
  resolve(link: Link): void;
  reject(reason: unknown): void;
}

export function createSlot(clock: Clock): Slot {
  const waiters = new Set<Waiter>();
  const owned = new Set<Link>();
  let current: Link | null = null;
  let lastLooking: Looking | null = null;
  let epoch = 0;
  let closed: CodedError | null = null;

  const wait = (signal: AbortSignal, deadline: number): Promise<Link> =>
    new Promise((resolve, reject) => {
      const leave = () => {
        timer?.cancel();
        signal.removeEventListener("abort", onAbort);
        waiters.delete(waiter);
      };
      const waiter: Waiter = {
        resolve: (link) => {
          leave();
          resolve(link);
        },
        reject: (reason) => {
          leave();
          reject(reason);
        },
      };
      const onAbort = () => waiter.reject(signal.reason);
      const timer =
        deadline === Number.POSITIVE_INFINITY
          ? null
          : clock.at(deadline, () => waiter.reject(new CodedError("TIMEOUT", "no leading master was found in time")));
      signal.addEventListener("abort", onAbort, { once: true });
      waiters.add(waiter);
    });

  return {
    current: () => current,
    fill(link) {
      if (closed !== null) {
        link.close();
        return;
      }
      current = link;
      lastLooking = null;
      epoch = Math.max(epoch, link.peer.epoch);
      link.ended.then(() => {
        if (current === link) current = null;
      });
      for (const waiter of [...waiters]) waiter.resolve(link);
    },
    owns(link) {
      if (closed !== null) {
        link.close();
        return;
      }
      owned.add(link);
      link.ended.then(() => owned.delete(link));
    },
    take(signal, deadline) {
      if (signal.aborted) return Promise.reject(signal.reason);
      if (closed !== null) return Promise.reject(closed);
      if (current !== null) return Promise.resolve(current);
      return wait(signal, deadline);
    },
    looking(looking) {
      lastLooking = looking;
      if (looking.permanent === null) return;
      for (const waiter of [...waiters]) waiter.reject(looking.permanent);
    },
    lastLooking: () => lastLooking,
    epoch: () => epoch,
    closedReason: () => closed,
    close(reason) {
      if (closed !== null) return;
      closed = reason;
      for (const waiter of [...waiters]) waiter.reject(reason);
      for (const link of owned) link.close();
      current?.close();
      current = null;
    },
  };
}
