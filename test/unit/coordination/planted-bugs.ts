/** Stores and leaders that are broken on purpose: each makes one mistake that has been made elsewhere (reliability.md, sections 0 and 6). */

import { CodedError, hasCode } from "../../../src/base/errors.js";
import { EPOCH_KEY, LEADER_PREFIX, RECORDS_PREFIX } from "../../../src/coordination/keys.js";
import type { Leadership } from "../../../src/coordination/leadership.js";
import { type CampaignOptions, campaign } from "../../../src/coordination/leadership.js";
import type { CommitResult, CoordinationSession, CoordinationStore, Transaction } from "../../../src/env/coordination-store.js";
import { TTL_MS } from "./leadership-stage.js";

type Commit = (transaction: Transaction) => Promise<CommitResult>;

/** A store whose commits go through `commit`, which is given the real one. */
function withCommit(
  store: CoordinationStore,
  commit: (session: CoordinationSession, real: Commit, transaction: Transaction) => Promise<CommitResult>,
): CoordinationStore {
  return {
    limits: store.limits,
    nudge: () => store.nudge(),
    close: () => store.close(),
    async openSession(options) {
      const session = await store.openSession(options);
      return {
        id: session.id,
        ended: session.ended,
        deadline: () => session.deadline(),
        get: (key, call) => session.get(key, call),
        list: (request, call) => session.list(request, call),
        watch: (prefix, listener) => session.watch(prefix, listener),
        close: () => session.close(),
        commit: (transaction, call) => commit(session, (changed) => session.commit(changed, call), transaction),
      };
    },
  };
}

const writesKey = (transaction: Transaction, key: string): boolean =>
  transaction.writes.some((write) => "put" in write && write.put === key);
const live: { readonly signal: AbortSignal } = { signal: new AbortController().signal };

/** The fence left out: what a leader writes is not guarded by the epoch. */
export function withoutFence(store: CoordinationStore): CoordinationStore {
  return withCommit(store, (_session, real, transaction) => {
    if (writesKey(transaction, EPOCH_KEY)) return real(transaction);
    return real({ ...transaction, guards: transaction.guards.filter((guard) => guard.key !== EPOCH_KEY) });
  });
}

/** Version 0 taken as "any version": `version || -1`, as a ZooKeeper client on npm does it. */
export function zeroMeansAny(store: CoordinationStore): CoordinationStore {
  return withCommit(store, (_session, real, transaction) =>
    real({ ...transaction, guards: transaction.guards.filter((guard) => "absent" in guard || guard.version !== 0) }),
  );
}

/** The epoch is taken without compare-and-set. */
export function epochWithoutCompare(store: CoordinationStore): CoordinationStore {
  return withCommit(store, (_session, real, transaction) =>
    real(
      writesKey(transaction, EPOCH_KEY)
        ? { ...transaction, guards: transaction.guards.filter((guard) => guard.key !== EPOCH_KEY) }
        : transaction,
    ),
  );
}

/** A deposed leader that goes on: a refused fence is taken for a stale one, read again and tried again. */
export function goesOnWhenDeposed(store: CoordinationStore): CoordinationStore {
  return withCommit(store, async (session, real, transaction) => {
    const result = await real(transaction);
    if (result.ok || result.failedGuard.key !== EPOCH_KEY || writesKey(transaction, EPOCH_KEY)) return result;
    const present = await session.get(EPOCH_KEY, live);
    return real({ ...transaction, guards: [{ key: EPOCH_KEY, version: present?.version ?? 0 }] });
  });
}

/** Acknowledge before commit, in the store: the answer comes first, the writing later. */
export function acknowledgesFirst(store: CoordinationStore): CoordinationStore {
  return withCommit(store, async (session, real, transaction) => {
    for (const guard of transaction.guards) {
      const record = await session.get(guard.key, live);
      if ("absent" in guard ? record !== undefined : record?.version !== guard.version) return { ok: false, failedGuard: guard };
    }
    const versions = new Map<string, number>();
    for (const write of transaction.writes) {
      if ("put" in write) versions.set(write.put, ((await session.get(write.put, live))?.version ?? -1) + 1);
    }
    setImmediate(() => void real(transaction).catch(() => {}));
    return { ok: true, revision: 1, versions };
  });
}

/** An unknown outcome taken for a failure: the commit is simply sent again. */
export function repeatsUnknown(store: CoordinationStore): CoordinationStore {
  return withCommit(store, async (_session, real, transaction) => {
    try {
      return await real(transaction);
    } catch (thrown) {
      throw hasCode(thrown, "OUTCOME_UNKNOWN") ? new CodedError("CONNECTION_LOST", "the connection broke") : thrown;
    }
  });
}

/** An unknown outcome taken for a success. */
export function trustsUnknown(store: CoordinationStore): CoordinationStore {
  return withCommit(store, async (_session, real, transaction) => {
    try {
      return await real(transaction);
    } catch (thrown) {
      if (!hasCode(thrown, "OUTCOME_UNKNOWN")) throw thrown;
      return { ok: true, revision: 1, versions: new Map() };
    }
  });
}

/** A commit that is not atomic: its writes are applied one by one, each when the guards hold. */
export function appliesOneByOne(store: CoordinationStore): CoordinationStore {
  return withCommit(store, async (_session, real, transaction) => {
    const [first, ...rest] = transaction.writes;
    let result = await real({ guards: [], writes: first === undefined ? [] : [first] });
    for (const write of rest) result = await real({ ...transaction, writes: [write] });
    return result;
  });
}

/** Acknowledge before commit, in leadership. */
export const acknowledgesBeforeCommit: typeof campaign = async (store, options) => {
  const real = await campaign(store, options);
  return {
    epoch: real.epoch,
    clusterId: real.clusterId,
    limits: real.limits,
    ended: real.ended,
    active: () => real.active(),
    canBeTaken: real.canBeTaken,
    resign: () => real.resign(),
    readRecords: (read) => real.readRecords(read),
    async commit(writes, call) {
      if (!real.active()) return real.commit(writes, call);
      void real.commit(writes, call).catch(() => {});
    },
  };
};

/**
 * The fence on a record that is deleted and made again: the leader's own ephemeral record, whose version starts at 0 for every leader.
 * Otherwise as small as a leadership can be.
 */
export async function fencesOnLeaderRecord(store: CoordinationStore, options: CampaignOptions): Promise<Leadership> {
  const key = `${LEADER_PREFIX}only`;
  const session = await store.openSession({ candidate: options.candidate, ttlMs: TTL_MS, ...live });
  const epoch = ((await session.get(EPOCH_KEY, live))?.version ?? -1) + 2;
  if (options.takeOver === true) await session.commit({ guards: [], writes: [{ delete: key }] }, live);
  const value = new TextEncoder().encode(options.candidate);
  const writes = [
    { put: key, value, ephemeral: true },
    { put: EPOCH_KEY, value },
  ] as const;
  const won = await session.commit({ guards: [{ key, absent: true }], writes }, live);
  if (!won.ok) throw new CodedError("CONFLICT", "somebody else leads");
  let end: CodedError | undefined;
  let resolveEnded: (reason: CodedError) => void = () => {};
  const ended = new Promise<CodedError>((resolve) => {
    resolveEnded = resolve;
  });
  return {
    epoch,
    clusterId: undefined,
    limits: { maxWrites: 100, maxKeyBytes: 100, maxValueBytes: 1_000, maxCommitBytes: 100_000 },
    ended,
    active: () => end === undefined,
    canBeTaken: false,
    resign: () => session.close(),
    async *readRecords() {},
    async commit(records, call) {
      if (end !== undefined) throw end;
      const puts = records.flatMap((record) =>
        record.value === null ? [] : [{ put: RECORDS_PREFIX + record.key, value: record.value }],
      );
      const result = await session.commit({ guards: [{ key, version: 0 }], writes: puts }, call);
      if (result.ok) return;
      end = new CodedError("FENCED", "the leader's record has changed");
      resolveEnded(end);
      throw end;
    },
  };
}
