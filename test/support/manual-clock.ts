/** A clock that tests move by hand, and an environment on it: deterministic chance, real digests, a memory transport. */
import { createHash, createHmac } from "node:crypto";
import type { Clock } from "../../src/env/clock.js";
import type { Env } from "../../src/env/env.js";
import type { Log } from "../../src/env/log.js";
import type { MemoryTransport } from "../../src/host/link/memory-transport.js";
import { createMemoryTransport } from "../../src/host/link/memory-transport.js";

export interface ManualClock extends Clock {
  /** Runs everything due in order, letting promises settle between timers. */
  advance(durationMs: number): Promise<void>;
  /** Moves time without running timers in between: what a stopped process sees when it goes on. */
  jump(durationMs: number): Promise<void>;
  timers(): number;
}

/** Lets promise chains and microtasks run until they are quiet. */
export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

export function createManualClock(): ManualClock {
  let now = 1_000;
  let sequence = 0;
  const timers = new Map<number, { at: number; order: number; run: () => void }>();
  const nextDue = (until: number) => {
    let best: { id: number; at: number } | null = null;
    for (const [id, timer] of timers) if (timer.at <= until && (best === null || timer.at < best.at)) best = { id, at: timer.at };
    return best;
  };
  const runUntil = async (until: number, keepTime: boolean) => {
    for (;;) {
      const due = nextDue(until);
      if (due === null) break;
      const timer = timers.get(due.id);
      timers.delete(due.id);
      if (keepTime) now = Math.max(now, due.at);
      timer?.run();
      await settle();
    }
  };
  return {
    now: () => now,
    wallNow: () => 1_700_000_000_000 + now,
    at(instant, run) {
      const id = sequence++;
      timers.set(id, { at: instant, order: id, run });
      return { cancel: () => void timers.delete(id) };
    },
    async advance(durationMs) {
      const until = now + durationMs;
      await settle();
      await runUntil(until, true);
      now = until;
    },
    async jump(durationMs) {
      now += durationMs;
      await runUntil(now, false);
    },
    timers: () => timers.size,
  };
}

export const quietLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

export interface TestEnv extends Env {
  readonly clock: ManualClock;
  readonly transport: MemoryTransport;
}

export function createTestEnv(): TestEnv {
  const clock = createManualClock();
  let state = 12345;
  const fraction = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    clock,
    transport: createMemoryTransport(clock),
    random: { fraction, bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(fraction() * 256)) },
    log: quietLog,
    digest: {
      hmacSha256: (key, message) => new Uint8Array(createHmac("sha256", key).update(message).digest()),
      sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex"),
    },
  };
}
