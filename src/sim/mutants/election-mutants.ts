/** Mistakes of elections, fences and recoveries. */
import { utf8Decode, utf8Encode } from "../../base/utf8.js";
import { EPOCH_KEY, RECORDS_PREFIX } from "../../coordination/keys.js";
import type { Clock } from "../../env/clock.js";
import type { CoordinationStore, OpenSession, StoredRecord, Transaction } from "../../env/coordination-store.js";
import type { MasterHostOptions } from "../../host/master/master-host.js";
import { LEADER_AWAY_MS } from "../../master/away.js";
import { APPLICATIONS_PREFIX, WORKERS_PREFIX } from "../../wire/records.js";
import { withCommit, withSessions } from "../store-wrapping.js";
import { type Mutant, mutant } from "./mutant.js";

const writesEpoch = ({ writes }: Transaction): boolean => writes.some((write) => "put" in write && write.put === EPOCH_KEY);
const withStore =
  (change: (store: CoordinationStore) => CoordinationStore) =>
  (options: MasterHostOptions): MasterHostOptions => ({ ...options, store: change(options.store) });

/** Changes what recovery reads under a prefix of the records. */
const withRecovered = (prefix: string, change: (records: readonly StoredRecord[]) => readonly StoredRecord[]) =>
  withStore((store) =>
    withSessions(store, (session) => ({
      list: async (request, call) => {
        const page = await session.list(request, call);
        return request.prefix === `${RECORDS_PREFIX}${prefix}` ? { ...page, records: change(page.records) } : page;
      },
    })),
  );

const withBody = (record: StoredRecord, change: (body: Record<string, unknown>) => void): StoredRecord => {
  const parsed = JSON.parse(utf8Decode(record.value) ?? "{}") as { body: Record<string, unknown> };
  change(parsed.body);
  return { ...record, value: utf8Encode(JSON.stringify(parsed)) };
};

/** Small enough that all timers that are due at the end of a stop together do not look like an absence. */
const CATCH_UP_MS = 10;

/** A clock that shows no absence: what is missed is caught up bit by bit, a little with each timer that is due. */
function withoutLeaps(clock: Clock): Clock {
  let shown = clock.now();
  const now = () => {
    const real = clock.now();
    if (real - shown <= LEADER_AWAY_MS / 2) shown = real;
    return shown;
  };
  return {
    now,
    wallNow: () => clock.wallNow(),
    at: (instant, run) =>
      clock.at(instant, () => {
        shown = Math.min(clock.now(), shown + CATCH_UP_MS);
        run();
      }),
  };
}

export const ELECTION_MUTANTS: readonly Mutant[] = [
  mutant("epoch-does-not-grow", "the next leader takes the epoch of the one before", {
    master: withStore((store) =>
      withCommit(store, (_session, real, transaction) => {
        if (!writesEpoch(transaction)) return real(transaction);
        const writes = transaction.writes.map((write) => {
          if (!("put" in write) || write.put !== EPOCH_KEY) return write;
          const body = JSON.parse(utf8Decode(write.value) ?? "{}") as { epoch: number };
          return { ...write, value: utf8Encode(JSON.stringify({ ...body, epoch: Math.max(1, body.epoch - 1) })) };
        });
        return real({ ...transaction, writes });
      }),
    ),
  }),
  mutant("version-0-is-any", "a guard on version 0 is taken for a guard on any version", {
    master: withStore((store) =>
      withCommit(store, (_session, real, transaction) => {
        const guards = transaction.guards.filter((guard) => !("version" in guard) || guard.version !== 0);
        return real({ ...transaction, guards });
      }),
    ),
  }),
  mutant("recovers-without-the-last", "recovery leaves out the last application of a page", {
    master: withRecovered(APPLICATIONS_PREFIX, (records) => records.slice(0, -1)),
  }),
  mutant("recovers-without-workers", "recovery does not read which workers there were", {
    master: withRecovered(WORKERS_PREFIX, () => []),
  }),
  mutant("recovers-as-waiting", "what ran is recovered as something that waits", {
    master: withRecovered(APPLICATIONS_PREFIX, (records) =>
      records.map((record) =>
        withBody(record, (body) => {
          if (body.state === "running") Object.assign(body, { state: "waiting", driver: null });
        }),
      ),
    ),
  }),
  mutant("does-not-notice-its-absence", "a leader that was stopped counts its deadlines as if it had heard everybody meanwhile", {
    master: (options) => ({ ...options, env: { ...options.env, clock: withoutLeaps(options.env.clock) } }),
  }),
  mutant("vouches-for-the-living", "a standby says of a leader that runs that it is stopped", {
    master: withStore((store) => {
      let waitsFor: string | null = null;
      return {
        ...withSessions(store, () => ({})),
        openSession: async (open) => {
          const onWaiting: NonNullable<OpenSession["onWaiting"]> = (waiting) => {
            waitsFor = waiting.owner ?? null;
            open.onWaiting?.(waiting);
          };
          const session = await store.openSession({ ...open, onWaiting });
          waitsFor = null;
          return session;
        },
        stoppedOwner: () => waitsFor,
      };
    }),
  }),
  mutant("forgets-cancels-at-take-over", "a new leader does not read that something is to be cancelled", {
    master: withRecovered(APPLICATIONS_PREFIX, (records) =>
      records.map((record) =>
        withBody(record, (body) => {
          body.cancelRequested = false;
        }),
      ),
    ),
  }),
];
