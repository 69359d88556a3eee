/**
 * Faults around any coordination store, for the simulator and for tests: one FaultyStore stands for one process's connection to it.
 *
 * Faults stay inside the contract of `env/coordination-store.ts`: what they do, some real store, network or disk does one day. So
 * commits of a session keep their order, an unknown outcome is never applied later, and an expired session stays ended.
 * Everything that waits goes through the two clocks, so a virtual clock makes all of it deterministic.
 */
import { CodedError } from "../base/errors.js";
import { type Clock, sleep } from "../env/clock.js";
import type { CoordinationSession, CoordinationStore, OpenSession, Transaction } from "../env/coordination-store.js";
import { FaultySession } from "./faulty-session.js";
import { untilAborted } from "./until-aborted.js";

/** What is about to happen; `decide` may look at it. */
export type StoreCall =
  | { readonly kind: "open" | "get" | "list" | "watch-event"; readonly sessionId: string | undefined }
  | { readonly kind: "commit"; readonly sessionId: string; readonly transaction: Transaction };

export interface StoreFault {
  /** The request takes this long to reach the store, the answer this long to come back. */
  readonly requestDelayMs?: number;
  readonly replyDelayMs?: number;
  /** Commits only. `connection-lost`: certainly not applied. `disk-failed-*` also ends the session. `expired-*`: before or after it is applied. */
  readonly outcome?:
    | "unknown-applied"
    | "unknown-not-applied"
    | "connection-lost"
    | "disk-failed-applied"
    | "disk-failed-not-applied"
    | "expired-applied"
    | "expired-not-applied";
}

export interface FaultyStoreOptions {
  /** The process's clock: local deadlines are read on it. */
  readonly clock: Clock;
  /** The store's clock: sessions expire and requests travel by it. The process's clock when absent. */
  readonly storeClock?: Clock;
  /** Asked before each call; undefined: no fault. */
  readonly decide?: (call: StoreCall) => StoreFault | undefined;
}

export interface FaultyStore extends CoordinationStore {
  /** Ends this process's sessions and takes no new ones; `inner` belongs to all processes and stays open. */
  close(): Promise<void>;
  /** The fault of the next commit that `matches` (any, when absent), before `decide` is asked. Several queue up. */
  failNextCommit(outcome: NonNullable<StoreFault["outcome"]>, matches?: (transaction: Transaction) => boolean): void;
  /**
   * `hang`: calls wait for `reconnect`, as on a network that drops everything. `reject`: they reject CONNECTION_LOST at once. Commits
   * that were under way reject OUTCOME_UNKNOWN (with `hang`: after `reconnect`). The store gives the sessions up `ttlMs` later.
   */
  disconnect(mode: "hang" | "reject"): void;
  /** Sessions that expired meanwhile learn it now; the others go on, and their watches report `lost`. */
  reconnect(): void;
  /** The store gives up all sessions of this process; it learns at once, or on `reconnect` when disconnected. */
  expireSessions(): Promise<void>;
  /** Swallows watch events from now on, and after `afterMs` reports `lost`. */
  loseWatches(afterMs: number): void;
  /** The process died: no call is ever answered again, and its sessions expire after `expireAfterMs` (default: their ttl). */
  crash(expireAfterMs?: number): void;
}

/** What a FaultySession needs to know of its process. */
export interface FaultyProcess {
  readonly clock: Clock;
  readonly storeClock: Clock;
  readonly decide: (call: StoreCall) => StoreFault | undefined;
  state(): "connected" | "hang" | "reject" | "crashed";
  /** Resolves on the next `reconnect`; never after a crash. */
  connected(): Promise<void>;
  forget(session: FaultySession): void;
}

export function createFaultyStore(inner: CoordinationStore, options: FaultyStoreOptions): FaultyStore {
  const clock = options.clock;
  const storeClock = options.storeClock ?? clock;
  const sessions = new Set<FaultySession>();
  const planned: {
    readonly outcome: NonNullable<StoreFault["outcome"]>;
    readonly matches: (transaction: Transaction) => boolean;
  }[] = [];
  let state: "connected" | "hang" | "reject" | "crashed" = "connected";
  let closed: CodedError | undefined;
  let wake: () => void = () => {};
  let reconnected = Promise.resolve();

  const decide = (call: StoreCall): StoreFault | undefined => {
    const index = call.kind === "commit" ? planned.findIndex((plan) => plan.matches(call.transaction)) : -1;
    const [plan] = index < 0 ? [] : planned.splice(index, 1);
    return plan === undefined ? options.decide?.(call) : { outcome: plan.outcome };
  };
  const process: FaultyProcess = {
    clock,
    storeClock,
    decide,
    state: () => state,
    connected: () => reconnected,
    forget: (session) => void sessions.delete(session),
  };
  const leave = (next: "hang" | "reject" | "crashed") => {
    if (state === "crashed") return;
    if (state === "connected") {
      reconnected = new Promise((resolve) => {
        wake = resolve;
      });
    }
    state = next;
  };

  return {
    limits: inner.limits,
    async openSession(open: OpenSession): Promise<CoordinationSession> {
      open.signal.throwIfAborted();
      if (closed !== undefined) throw closed;
      if (state !== "connected") open.onWaiting?.({ owner: undefined, reason: "there is no connection to the coordination store" });
      await untilAborted(reconnected, open.signal);
      const fault = decide({ kind: "open", sessionId: undefined });
      const delayMs = (fault?.requestDelayMs ?? 0) + (fault?.replyDelayMs ?? 0);
      if (delayMs > 0) await sleep(storeClock, delayMs, open.signal);
      const session = new FaultySession(await inner.openSession(open), open.ttlMs, process);
      sessions.add(session);
      if (state !== "connected") session.disconnected();
      return session;
    },
    nudge: () => inner.nudge(),
    async close() {
      // A dead process closes nothing; its sessions expire by themselves.
      if (state === "crashed") return;
      closed = new CodedError("CLOSED", "the coordination store was closed");
      await Promise.all([...sessions].map((session) => session.close()));
    },
    failNextCommit(outcome, matches = () => true) {
      planned.push({ outcome, matches });
    },
    disconnect(mode) {
      leave(mode);
      for (const session of sessions) session.disconnected();
    },
    reconnect() {
      if (state === "connected" || state === "crashed") return;
      state = "connected";
      for (const session of sessions) session.reconnected();
      wake();
    },
    async expireSessions() {
      await Promise.all([...sessions].map((session) => session.expire()));
    },
    loseWatches(afterMs) {
      for (const session of sessions) session.loseWatches(afterMs);
    },
    crash(expireAfterMs) {
      leave("crashed");
      for (const session of sessions) session.disconnected(expireAfterMs);
    },
  };
}

/** The error of a commit whose answer never came. */
export function outcomeUnknown(): CodedError {
  return new CodedError("OUTCOME_UNKNOWN", "the connection to the coordination store broke before it answered a commit");
}
