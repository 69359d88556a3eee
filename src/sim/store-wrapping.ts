/** Stores whose sessions do something more, or something else: for what the simulator wants to see, and for planted bugs. */
import type { CommitResult, CoordinationSession, CoordinationStore, Transaction } from "../env/coordination-store.js";

export type Commit = (transaction: Transaction) => Promise<CommitResult>;

/** A store whose sessions are changed. */
export function withSessions(
  store: CoordinationStore,
  change: (session: CoordinationSession) => Partial<CoordinationSession>,
): CoordinationStore {
  return {
    limits: store.limits,
    nudge: () => store.nudge(),
    stoppedOwner: () => store.stoppedOwner?.() ?? null,
    close: () => store.close(),
    async openSession(options) {
      const session = await store.openSession(options);
      const plain: CoordinationSession = {
        id: session.id,
        ended: session.ended,
        deadline: () => session.deadline(),
        get: (key, call) => session.get(key, call),
        list: (request, call) => session.list(request, call),
        watch: (prefix, listener) => session.watch(prefix, listener),
        close: () => session.close(),
        commit: (transaction, call) => session.commit(transaction, call),
      };
      return { ...plain, ...change(plain) };
    },
  };
}

/** A store whose commits go through `commit`, which is given the real one. */
export function withCommit(
  store: CoordinationStore,
  commit: (session: CoordinationSession, real: Commit, transaction: Transaction) => Promise<CommitResult>,
): CoordinationStore {
  return withSessions(store, (session) => ({
    commit: (transaction, call) => commit(session, (changed) => session.commit(changed, call), transaction),
  }));
}
