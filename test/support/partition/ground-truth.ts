/**
 * What a cluster's store went through, replayed from ZooKeeper's own transaction log with the store's own codec, and the promises that hold
 * for every prefix of it:
 *   - the log of a store has no hole, no index twice, and each entry moves the head by one (so the log that was read is whole);
 *   - epochs only grow, and only the session that took an epoch commits in it (I1, I2);
 *   - no commit of an older epoch stands after a newer epoch, and none is there twice (I3);
 *   - whatever changes a record is fenced, that is, comes with `commit/last`;
 *   - an application's key never gets a second application, an end is final, attempts only grow (I5, I8).
 *
 * Boundary: pure; the transactions come from zookeeper-log.ts. `checkAcknowledged` compares it with what clients were told (I4).
 */
import { decodeEpoch, decodeLastCommit } from "../../../src/coordination/epoch-records.js";
import { EPOCH_KEY, LAST_COMMIT_KEY, RECORDS_PREFIX } from "../../../src/coordination/keys.js";
import type { StoredRecord } from "../../../src/env/coordination-store.js";
import { type ApplicationState, isFinal } from "../../../src/wire/application.js";
import { APPLICATIONS_PREFIX, decodeApplicationRecord } from "../../../src/wire/records.js";
import { decodeEntry, decodeHead, type LogEntry } from "../../../src/zookeeper-store/codec.js";
import type { LoggedOperation, LoggedTransaction } from "../zookeeper-log.js";

export interface TakenEpoch {
  readonly epoch: number;
  readonly session: string;
  /** The leader's address. */
  readonly candidate: string;
  readonly zxid: bigint;
  /** Wall clock of ZooKeeper's leader, ms. */
  readonly at: number;
}

export interface RecordedApplication {
  readonly id: string;
  readonly key: string;
  state: ApplicationState;
  attempt: number;
  deleted: boolean;
}

export interface StoreHistory {
  readonly storeId: string;
  /** Violations, each as a sentence that names the transaction. */
  readonly problems: string[];
  readonly epochs: TakenEpoch[];
  readonly applications: Map<string, RecordedApplication>;
  entries: number;
  commits: number;
}

interface Replay extends StoreHistory {
  readonly root: string;
  readonly nonces: Set<string>;
  readonly byKey: Map<string, string>;
  index: number;
  headVersion: number;
  last: { readonly epoch: number; readonly sequence: number };
}

/** One history for each store that was ever at the path, the oldest first. */
export function replayStores(transactions: readonly LoggedTransaction[], root: string): readonly StoreHistory[] {
  const replays: Replay[] = [];
  for (const transaction of transactions) {
    for (const operation of transaction.operations) {
      if (operation.op !== "create" || operation.path !== `${root}/format`) continue;
      const { store } = JSON.parse(operation.data.toString("utf8")) as { store: string };
      replays.push(newReplay(root, store));
    }
    for (const replay of replays) replayTransaction(replay, transaction);
  }
  return replays;
}

function newReplay(root: string, storeId: string): Replay {
  return {
    ...{ root, storeId, problems: [], epochs: [], applications: new Map(), entries: 0, commits: 0 },
    ...{ nonces: new Set(), byKey: new Map(), index: 0, headVersion: 0, last: { epoch: 0, sequence: 0 } },
  };
}

function replayTransaction(replay: Replay, transaction: LoggedTransaction): void {
  const store = `${replay.root}/${replay.storeId}`;
  const blame = (what: string) => void replay.problems.push(`zxid ${transaction.zxid.toString(16)}: ${what}`);
  const entries = transaction.operations.filter((one) => one.op === "create" && one.path.startsWith(`${store}/log/`));
  const head = transaction.operations.find((one) => one.op === "set" && one.path === `${store}/head`);
  if (head?.op === "set") replayHead(replay, head, entries.length, blame);
  if (entries.length > 0 && head === undefined) blame("a log entry without a move of the head");
  for (const operation of entries) if (operation.op === "create") replayEntry(replay, transaction, operation, blame);
}

function replayHead(
  replay: Replay,
  head: LoggedOperation & { readonly op: "set" },
  entryCount: number,
  blame: (what: string) => void,
): void {
  if (entryCount !== 1) blame(`the head was moved with ${entryCount} log entries`);
  if (head.version !== replay.headVersion + 1) blame(`the head went from version ${replay.headVersion} to ${head.version}`);
  replay.headVersion = head.version;
  const { index } = decodeHead(head.data, head.path);
  if (index !== replay.index + 1) blame(`the head went from ${replay.index} to ${index}`);
}

function replayEntry(
  replay: Replay,
  { zxid, at }: LoggedTransaction,
  operation: LoggedOperation & { readonly op: "create" },
  blame: (what: string) => void,
): void {
  const entry = decodeEntry(operation.data, operation.path);
  if (entry.index !== replay.index + 1) blame(`entry ${entry.index} follows entry ${replay.index}`);
  replay.index = entry.index;
  replay.entries += 1;
  if (replay.nonces.has(entry.nonce)) blame(`entry ${entry.index} repeats the nonce ${entry.nonce}`);
  replay.nonces.add(entry.nonce);
  const epoch = recordOf(entry, EPOCH_KEY);
  if (epoch !== undefined) replayEpoch(replay, entry, { ...decodeEpoch(epoch), zxid, at }, blame);
  replayCommit(replay, entry, blame);
  for (const { key, record } of entry.states) {
    const prefix = `${RECORDS_PREFIX}${APPLICATIONS_PREFIX}`;
    if (key.startsWith(prefix)) replayApplication(replay, key.slice(prefix.length), record, blame);
  }
}

const recordOf = (entry: LogEntry, key: string): StoredRecord | undefined =>
  entry.states.find((state) => state.key === key)?.record;

function replayEpoch(replay: Replay, entry: LogEntry, taken: TakenEpoch, blame: (what: string) => void): void {
  const before = replay.epochs.at(-1)?.epoch ?? 0;
  if (taken.epoch <= before) blame(`epoch ${taken.epoch} was taken after epoch ${before}`);
  if (taken.session !== entry.sessionId) blame(`epoch ${taken.epoch} of session ${taken.session} was taken by ${entry.sessionId}`);
  replay.epochs.push(taken);
}

function replayCommit(replay: Replay, entry: LogEntry, blame: (what: string) => void): void {
  const record = recordOf(entry, LAST_COMMIT_KEY);
  if (record === undefined) {
    const unfenced = entry.states.filter(({ key }) => key.startsWith(RECORDS_PREFIX) || key === EPOCH_KEY);
    if (unfenced.length > 0) blame(`${unfenced.map(({ key }) => key).join(", ")} changed without a fence`);
    return;
  }
  const last = decodeLastCommit(record);
  const present = replay.epochs.at(-1);
  replay.commits += 1;
  if (last.epoch !== present?.epoch) blame(`a commit of epoch ${last.epoch} stands after epoch ${present?.epoch ?? "none"}`);
  if (present !== undefined && entry.sessionId !== present.session)
    blame(`session ${entry.sessionId} committed in epoch ${present.epoch}, which session ${present.session} has taken`);
  const expected = last.epoch === replay.last.epoch ? replay.last.sequence + 1 : 0;
  if (last.sequence !== expected) blame(`commit ${last.sequence} of epoch ${last.epoch} stands where ${expected} was due`);
  replay.last = last;
}

function replayApplication(replay: Replay, id: string, stored: StoredRecord | undefined, blame: (what: string) => void): void {
  const known = replay.applications.get(id);
  if (stored === undefined) {
    if (known === undefined) blame(`${id} was deleted before it was there`);
    else if (!isFinal(known.state)) blame(`${id} was deleted while it was ${known.state}`);
    if (known !== undefined) known.deleted = true;
    return;
  }
  const decoded = decodeApplicationRecord(stored.value);
  if (!decoded.ok) {
    blame(`the record of ${id} is ${decoded.reason}`);
    return;
  }
  const { submissionKey: key, state, attempt } = decoded.record;
  if (known === undefined) {
    const other = replay.byKey.get(key);
    if (other !== undefined) blame(`the key ${key} got a second application, ${id} after ${other}`);
    replay.byKey.set(key, id);
    replay.applications.set(id, { id, key, state, attempt, deleted: false });
    return;
  }
  if (known.deleted) blame(`${id} came back after it was deleted`);
  if (isFinal(known.state) && state !== known.state) blame(`${id} went from ${known.state} to ${state}`);
  if (attempt < known.attempt) blame(`${id} went back from attempt ${known.attempt} to ${attempt}`);
  Object.assign(known, { state, attempt });
}

/** A promise that a client got: the application of this key is this one. */
export interface Acknowledged {
  readonly key: string;
  readonly id: string;
}

/** What was promised and is not there. */
export function checkAcknowledged(history: StoreHistory, acknowledged: readonly Acknowledged[]): readonly string[] {
  return acknowledged.flatMap(({ key, id }) => {
    const application = history.applications.get(id);
    if (application === undefined) return [`${id} was acknowledged to the client that submitted ${key}, and was never recorded`];
    if (application.key !== key) return [`${id} was acknowledged for ${key}, and is of ${application.key}`];
    return application.deleted ? [`${id} (${key}) was acknowledged, and its record is gone`] : [];
  });
}
