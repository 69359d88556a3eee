/** A registry of masters that a test plays: connections, sessions, lists and errors as it says. */
import { CodedError } from "../../src/base/errors.js";
import type { MasterRegistry, RegistryListener, SeenMasters } from "../../src/env/master-registry.js";
import type { TestEnv } from "./manual-clock.js";

export const NOBODY: SeenMasters = { leader: null, candidates: [] };

export function createFakeRegistry(env: TestEnv, options: { readonly sessionMs?: number } = {}) {
  const sessionMs = options.sessionMs ?? 10_000;
  const open = new Map<RegistryListener, { connected: boolean }>();
  let seen: SeenMasters | CodedError = NOBODY;
  let reachable = true;
  const counts = { opened: 0, reads: 0, closed: 0 };
  let heardAt = Number.NEGATIVE_INFINITY;
  const unreachable = () => new CodedError("CONNECTION_LOST", "no server gives a session (connection refused)");
  const registry: MasterRegistry = {
    address: "zk://z:2181/x",
    open(listener) {
      counts.opened += 1;
      const session = { connected: false };
      open.set(listener, session);
      queueMicrotask(() => {
        if (reachable && open.has(listener)) {
          heardAt = env.clock.now();
          session.connected = true;
          listener.connected(false);
        } else if (open.has(listener)) listener.disconnected(unreachable());
      });
      return {
        read: async () => {
          counts.reads += 1;
          if (!reachable) throw unreachable();
          heardAt = env.clock.now();
          if (seen instanceof CodedError) throw seen;
          return seen;
        },
        deadline: () => (session.connected ? heardAt + sessionMs : Number.NEGATIVE_INFINITY),
        close: async () => {
          if (open.delete(listener)) counts.closed += 1;
        },
      };
    },
  };
  return {
    registry,
    counts,
    sessions: () => open.size,
    /** The list changes, and whoever is connected is told. */
    set(next: SeenMasters | CodedError) {
      seen = next;
      if (reachable) for (const listener of [...open.keys()]) listener.changed();
    },
    /** Nothing gets through any more, and nobody says so but the broken connection. */
    cut() {
      reachable = false;
      for (const listener of [...open.keys()]) listener.disconnected(unreachable());
    },
    /** The servers are there again; sessions that live go on. */
    heal() {
      reachable = true;
      heardAt = env.clock.now();
      for (const [listener, session] of open) {
        listener.connected(session.connected);
        session.connected = true;
      }
    },
    expire() {
      for (const listener of [...open.keys()]) listener.ended(new CodedError("SESSION_ENDED", "the session expired"));
    },
    /** From now on nothing answers, also at the first try. */
    down() {
      reachable = false;
    },
  };
}
