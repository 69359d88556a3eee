/** Mistakes between a leader and its store: those that have been made elsewhere (reliability.md, sections 0 and 6). */
import { hasCode } from "../../base/errors.js";
import { EPOCH_KEY, LEADER_PREFIX } from "../../coordination/keys.js";
import type { CoordinationStore, Transaction } from "../../env/coordination-store.js";
import type { MasterHostOptions } from "../../host/master/master-host.js";
import { withCommit, withSessions } from "../store-wrapping.js";
import { type Mutant, mutant } from "./mutant.js";
import { withApplicationRecords } from "./wrapping.js";

const writesEpoch = ({ writes }: Transaction): boolean => writes.some((write) => "put" in write && write.put === EPOCH_KEY);
const withStore =
  (change: (store: CoordinationStore, options: MasterHostOptions) => CoordinationStore) =>
  (options: MasterHostOptions): MasterHostOptions => ({ ...options, store: change(options.store, options) });

export const STORE_MUTANTS: readonly Mutant[] = [
  mutant("no-fence", "what a leader writes is not guarded by its epoch", {
    master: withStore((store) =>
      withCommit(store, (_session, real, transaction) =>
        writesEpoch(transaction)
          ? real(transaction)
          : real({ ...transaction, guards: transaction.guards.filter(({ key }) => key !== EPOCH_KEY) }),
      ),
    ),
  }),
  mutant("epoch-without-compare", "the epoch is taken without compare-and-set", {
    master: withStore((store) =>
      withCommit(store, (_session, real, transaction) =>
        real(
          writesEpoch(transaction)
            ? { ...transaction, guards: transaction.guards.filter(({ key }) => key !== EPOCH_KEY) }
            : transaction,
        ),
      ),
    ),
  }),
  mutant("goes-on-when-deposed", "a refused fence is read again and the commit tried with it", {
    master: withStore((store) =>
      withCommit(store, async (session, real, transaction) => {
        const result = await real(transaction);
        if (result.ok || result.failedGuard.key !== EPOCH_KEY || writesEpoch(transaction)) return result;
        const present = await session.get(EPOCH_KEY, { signal: new AbortController().signal });
        return real({ ...transaction, guards: [{ key: EPOCH_KEY, version: present?.version ?? 0 }] });
      }),
    ),
  }),
  mutant("acknowledges-first", "a commit is answered before it is durable", {
    master: withStore((store, { env }) =>
      withCommit(store, async (session, real, transaction) => {
        if (writesEpoch(transaction)) return real(transaction);
        const versions = new Map<string, number>();
        for (const write of transaction.writes) {
          if (!("put" in write)) continue;
          const present = await session.get(write.put, { signal: new AbortController().signal });
          versions.set(write.put, (present?.version ?? -1) + 1);
        }
        env.clock.at(env.clock.now() + 30, () => void real(transaction).catch(() => {}));
        return { ok: true, revision: 1, versions };
      }),
    ),
  }),
  mutant("trusts-unknown", "an unknown outcome is taken for a success", {
    master: withStore((store) =>
      withCommit(store, async (_session, real, transaction) => {
        try {
          return await real(transaction);
        } catch (thrown) {
          if (!hasCode(thrown, "OUTCOME_UNKNOWN") || writesEpoch(transaction)) throw thrown;
          return { ok: true, revision: 1, versions: new Map() };
        }
      }),
    ),
  }),
  mutant("cancel-not-recorded", "that an application is to be cancelled is not in its record", {
    master: withStore((store) =>
      withApplicationRecords(store, (body) => {
        body.cancelRequested = false;
      }),
    ),
  }),
  mutant("decision-not-recorded", "which attempt's output was decided is not in the record", {
    master: withStore((store) =>
      withApplicationRecords(store, (body) => {
        body.commit = null;
      }),
    ),
  }),
  mutant("attempt-not-recorded", "the record keeps the attempt before the present one", {
    master: withStore((store) =>
      withApplicationRecords(store, (body) => {
        const attempt = Math.max(0, Number(body.attempt) - 1);
        Object.assign(body, { attempt, restarts: Math.max(0, attempt - 1) });
      }),
    ),
  }),
  mutant("sees-no-leader", "a standby does not see that the leader's session lives", {
    master: withStore((store) =>
      withSessions(store, (session) => ({
        list: (request, call) =>
          request.prefix === LEADER_PREFIX ? Promise.resolve({ records: [], next: undefined }) : session.list(request, call),
      })),
    ),
  }),
];
