/**
 * The records of a store: guards, versions, ephemeral owners, order. Pure and synchronous; the memory and the LevelDB backend are this
 * table with a journal each, the ZooKeeper backend mirrors a replicated log in it, so that all mean the same by every word of the contract.
 *
 * Invariants: `apply` changes everything or nothing; the revision grows with every applied transaction; values are copied in and
 * never changed, so whoever gets one may keep it. (Copied by `new Uint8Array`: the `slice` of a Node Buffer would share its bytes.)
 */
import type { CommitResult, Guard, Page, StoredRecord, Transaction } from "../env/coordination-store.js";
import { MAX_PAGE_BYTES } from "./limits.js";

/** One record's new state, for the journal and for watches. `record` undefined: deleted. */
export interface Change {
  readonly key: string;
  readonly record: StoredRecord | undefined;
  readonly previous: StoredRecord | undefined;
  readonly ephemeral: boolean;
}

export interface Applied {
  readonly result: CommitResult;
  /** Empty when a guard failed. */
  readonly changes: readonly Change[];
}

interface Entry {
  readonly record: StoredRecord;
  /** The session that created it, or undefined: persistent. */
  readonly owner: string | undefined;
}

export class RecordTable {
  private readonly entries = new Map<string, Entry>();
  /** Keys in order, kept between reads; undefined after a key came or went. */
  private sorted: string[] | undefined = [];
  private currentRevision: number;

  constructor(records: Iterable<StoredRecord>, revision: number) {
    this.currentRevision = revision;
    for (const record of records) this.set(record.key, { record, owner: undefined });
  }

  get revision(): number {
    return this.currentRevision;
  }

  get size(): number {
    return this.entries.size;
  }

  get(key: string): StoredRecord | undefined {
    return this.entries.get(key)?.record;
  }

  /** Every persistent record, in order. */
  persistent(): StoredRecord[] {
    return this.keys().flatMap((key) => {
      const entry = this.entries.get(key);
      return entry === undefined || entry.owner !== undefined ? [] : [entry.record];
    });
  }

  list(prefix: string, after: string | undefined, limit: number): Page {
    const keys = this.keys();
    const records: StoredRecord[] = [];
    let bytes = 0;
    const from = after === undefined || compareKeys(after, prefix) < 0 ? firstNotBelow(keys, prefix) : firstAbove(keys, after);
    for (let index = from; index < keys.length; index++) {
      const key = keys[index];
      const record = key === undefined ? undefined : this.get(key);
      if (record === undefined || !record.key.startsWith(prefix)) break;
      if (records.length === limit || bytes > MAX_PAGE_BYTES) return { records, next: records.at(-1)?.key };
      records.push(record);
      bytes += record.value.length;
    }
    return { records, next: undefined };
  }

  apply(transaction: Transaction, sessionId: string): Applied {
    const failedGuard = transaction.guards.find((guard) => !this.holds(guard));
    if (failedGuard !== undefined) return { result: { ok: false, failedGuard }, changes: [] };
    const versions = new Map<string, number>();
    const changes: Change[] = [];
    for (const write of transaction.writes) {
      if ("delete" in write) {
        const change = this.remove(write.delete);
        if (change !== undefined) changes.push(change);
        continue;
      }
      const existing = this.entries.get(write.put);
      const version = existing === undefined ? 0 : existing.record.version + 1;
      const owner = existing === undefined ? (write.ephemeral === true ? sessionId : undefined) : existing.owner;
      const record = { key: write.put, value: new Uint8Array(write.value), version };
      this.set(write.put, { record, owner });
      versions.set(write.put, version);
      changes.push({ key: write.put, record, previous: existing?.record, ephemeral: owner !== undefined });
    }
    this.currentRevision++;
    return { result: { ok: true, revision: this.currentRevision, versions }, changes };
  }

  /**
   * Takes over what was decided elsewhere (read from a replicated log), or back what was not kept after all; the table's revision is
   * `revision` afterwards. Ephemeral records get `owner`.
   */
  adopt(changes: Iterable<Pick<Change, "key" | "record" | "ephemeral">>, revision: number, owner: string): void {
    for (const { key, record, ephemeral } of changes) {
      if (record === undefined) this.remove(key);
      else this.set(key, { record, owner: ephemeral ? owner : undefined });
    }
    this.currentRevision = revision;
  }

  /** Removes the ephemeral records of a session. */
  endSession(sessionId: string): Change[] {
    const owned = [...this.entries.values()].filter((entry) => entry.owner === sessionId).map((entry) => entry.record.key);
    if (owned.length > 0) this.currentRevision++;
    return owned.flatMap((key) => this.remove(key) ?? []);
  }

  private holds(guard: Guard): boolean {
    const record = this.get(guard.key);
    return "absent" in guard ? record === undefined : record !== undefined && record.version === guard.version;
  }

  private set(key: string, entry: Entry): void {
    if (!this.entries.has(key)) this.sorted = undefined;
    this.entries.set(key, entry);
  }

  private remove(key: string): Change | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    this.sorted = undefined;
    return { key, record: undefined, previous: entry.record, ephemeral: entry.owner !== undefined };
  }

  private keys(): readonly string[] {
    this.sorted ??= [...this.entries.keys()].sort(compareKeys);
    return this.sorted;
  }
}

/**
 * Order of the UTF-8 bytes. JavaScript compares UTF-16 units, which differs only where surrogates (U+10000 and above) meet
 * U+E000-U+FFFF.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const unitA = a.charCodeAt(index);
    const unitB = b.charCodeAt(index);
    if (unitA === unitB) continue;
    const surrogateA = unitA >= 0xd800 && unitA <= 0xdfff;
    const surrogateB = unitB >= 0xd800 && unitB <= 0xdfff;
    if (surrogateA !== surrogateB && unitA >= 0xd800 && unitB >= 0xd800) return surrogateA ? 1 : -1;
    return unitA - unitB;
  }
  return a.length - b.length;
}

function firstNotBelow(keys: readonly string[], key: string): number {
  return firstIndex(keys, (candidate) => compareKeys(candidate, key) >= 0);
}

function firstAbove(keys: readonly string[], key: string): number {
  return firstIndex(keys, (candidate) => compareKeys(candidate, key) > 0);
}

/** Binary search: `reached` is false up to some index and true from there. */
function firstIndex(keys: readonly string[], reached: (key: string) => boolean): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const key = keys[middle];
    if (key !== undefined && reached(key)) high = middle;
    else low = middle + 1;
  }
  return low;
}
