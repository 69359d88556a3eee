/**
 * A standby's eye on the leader: a link to it, by whose end a dead leader is noticed in milliseconds.
 *
 * When the link breaks and nobody listens at the address any more, the process is gone: `onDead` (safe on any suspicion: the epoch is the
 * truth). A broken link with a reconnect that hangs says nothing; then the store's session decides.
 */
import { CodedError, hasCode } from "../../base/errors.js";
import type { Link } from "../link/link.js";

const MIN_PAUSE_MS = 5;
const MAX_PAUSE_MS = 1_000;
const STABLE_LINK_MS = 200;

export interface LeaderSeen {
  readonly id: string;
  readonly address: string;
  readonly pid: number;
  readonly epoch: number;
}

export interface StandbyOptions {
  /** Bounded in time by itself. */
  dial(address: string, signal: AbortSignal): Promise<Link>;
  onLeader(leader: LeaderSeen | null, link: Link | null): void;
  onDead(address: string): void;
  now(): number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
}

export interface Standby {
  /** Who the store says leads; the same address again is harmless. */
  hint(address: string): void;
  close(): Promise<void>;
}

export function watchLeader(options: StandbyOptions): Standby {
  const stop = new AbortController();
  let address: string | null = null;
  /** Replaced at each hint: ends the pause, and the link to another address. */
  let moved = new AbortController();
  let pauseMs = MIN_PAUSE_MS;

  const follow = async (target: string, signal: AbortSignal): Promise<void> => {
    const link = await options.dial(target, signal);
    const onAbort = () => link.close();
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) link.close();
    pauseMs = MIN_PAUSE_MS;
    // One that stands by itself (it has just been named, or has handed over) tells when it leads.
    const report = () => {
      const { pid, state } = link.peer.facts;
      if (state === "STANDBY") return;
      options.onLeader({ id: link.peer.id, address: target, pid: typeof pid === "number" ? pid : 0, epoch: link.peer.epoch }, link);
    };
    link.onAnnounced(report);
    report();
    await link.ended;
    signal.removeEventListener("abort", onAbort);
    options.onLeader(null, null);
  };

  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const target = address;
      const signal = AbortSignal.any([stop.signal, moved.signal]);
      try {
        if (target !== null) {
          const madeAt = options.now();
          await follow(target, signal);
          // Again at once: a refusal tells a dead process from a lost connection. Not when it was turned away.
          if (!signal.aborted && options.now() - madeAt >= STABLE_LINK_MS) continue;
        }
      } catch (thrown) {
        if (target !== null && !signal.aborted && hasCode(thrown, "CONNECTION_REFUSED")) options.onDead(target);
      }
      if (stop.signal.aborted) return;
      if (moved.signal.aborted) {
        moved = new AbortController();
        continue;
      }
      await options.sleep(pauseMs, signal).catch(() => {});
      pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2);
    }
  };
  const running = run();

  return {
    hint(next) {
      if (next === address) return;
      address = next;
      pauseMs = MIN_PAUSE_MS;
      moved.abort(new CodedError("ABORTED", "another leader"));
    },
    close: async () => {
      stop.abort(new CodedError("CLOSED", "the standby is closed"));
      await running;
    },
  };
}
