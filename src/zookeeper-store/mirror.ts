/**
 * The whole store in memory: what the log came to up to an index, and the ephemeral records that are there. No I/O.
 *
 * Invariants:
 *   1. Between two turns of the session's lane it holds what is committed and nothing else: what was staged is kept or taken back first.
 *   2. Of a key there is one record: an ephemeral one that the log has overtaken (its session ended unseen) makes way for the log's.
 *   3. `changedAt` of a key is never below the index of its last change, nor above the end of the run that it was read from: so the keys
 *      changed after a run's boundary are known without reading a page again.
 */
import { RecordTable } from "../coordination/record-table.js";
import type { StoredRecord } from "../env/coordination-store.js";
import { EMPTY_MANIFEST, type EphemeralRecord, type LogEntry, type Manifest, type RecordState, stateBytes } from "./codec.js";
import type { Tail } from "./merge-plan.js";

/** Owners are znodes; the table only needs to know that there is one. */
export const EPHEMERAL = "ephemeral";

export class Mirror {
  readonly table = new RecordTable([], 0);
  /** Znode version of `head` when it stood at `index`. */
  headVersion = 0;
  /** Ephemeral records whose value has to be read again. */
  readonly touched = new Set<string>();
  private known: Manifest = EMPTY_MANIFEST;
  private applied = 0;
  /** Bytes of each log entry after the manifest. */
  private readonly tailSizes: number[] = [];
  private tailBytes = 0;
  private persistentBytes = 0;
  private readonly changed = new Map<string, number>();
  private readonly deleted = new Map<string, number>();
  private readonly keyOf = new Map<string, string>();
  private readonly nameOf = new Map<string, string>();

  /** Of the last entry that it holds. */
  get index(): number {
    return this.applied;
  }

  get manifest(): Manifest {
    return this.known;
  }

  /** Log entries after the manifest. */
  get tail(): Tail {
    return { entries: this.tailSizes.length, bytes: this.tailBytes };
  }

  /** Keys and values of persistent records. */
  get storedBytes(): number {
    return this.persistentBytes;
  }

  /** The znode of the key's record, if that is ephemeral. */
  ephemeralOf(key: string): string | undefined {
    return this.nameOf.get(key);
  }

  ephemeralNames(): ReadonlySet<string> {
    return new Set(this.keyOf.keys());
  }

  /** States of a run that ends at `to`, read from its pages; runs in their order, before any entry. */
  loadRun(states: readonly RecordState[], to: number, revision: number): void {
    for (const state of states) this.takeState(state, to);
    this.applied = to;
    this.table.adopt([], revision, EPHEMERAL);
  }

  /** The next entry of the log. */
  applyEntry(entry: LogEntry, sizeBytes: number): void {
    for (const state of entry.states) this.takeState(state, entry.index);
    for (const name of entry.touched) this.touched.add(name);
    this.reached(entry.index, entry.revision, sizeBytes);
  }

  /** An own entry was committed: its changes are in the table already. */
  keepEntry(entry: LogEntry, sizeBytes: number): void {
    for (const state of entry.states) this.note(state, entry.index);
    this.reached(entry.index, entry.revision, sizeBytes);
  }

  /** A newer manifest takes entries out of the tail. */
  setManifest(manifest: Manifest): void {
    for (const sizeBytes of this.tailSizes.splice(0, Math.max(0, manifest.to - this.known.to))) this.tailBytes -= sizeBytes;
    this.known = manifest;
    // Once the oldest run holds a deletion's effect, nothing older can bring the record back.
    const oldest = manifest.runs[0]?.to ?? 0;
    for (const [key, index] of this.deleted) if (index <= oldest) this.deleted.delete(key);
  }

  /** The newest states of what changed after `from`; with `from` 0 of everything, and then without deletions. */
  statesAfter(from: number): RecordState[] {
    const states: RecordState[] = [];
    for (const [key, index] of this.changed) {
      const record = index > from ? this.table.get(key) : undefined;
      if (record !== undefined) states.push({ key, record });
    }
    if (from > 0) for (const [key, index] of this.deleted) if (index > from) states.push({ key, record: undefined });
    return states;
  }

  putEphemeral(name: string, { key, value }: EphemeralRecord, version: number): boolean {
    const present = this.table.get(key);
    // The log's record is newer than an ephemeral one of the same key: both at once cannot have been committed.
    if (present !== undefined && !this.nameOf.has(key)) return false;
    this.bindEphemeral(name, key);
    this.adopt({ key, record: { key, value, version } }, true);
    return true;
  }

  /** Its znode is gone. Undefined when that changes no record. */
  dropEphemeral(name: string): string | undefined {
    const key = this.keyOf.get(name);
    this.keyOf.delete(name);
    if (key === undefined || this.nameOf.get(key) !== name) return undefined;
    this.nameOf.delete(key);
    this.adopt({ key, record: undefined }, true);
    return key;
  }

  /** Bookkeeping only; the record itself is the table's. */
  bindEphemeral(name: string, key: string): void {
    this.keyOf.set(name, key);
    this.nameOf.set(key, name);
  }

  unbindEphemeral(name: string): void {
    const key = this.keyOf.get(name);
    this.keyOf.delete(name);
    if (key !== undefined && this.nameOf.get(key) === name) this.nameOf.delete(key);
  }

  /** The size of persistent records changes with a staged change. */
  account(before: StoredRecord | undefined, after: StoredRecord | undefined): void {
    this.persistentBytes += sizeOf(after) - sizeOf(before);
  }

  private takeState(state: RecordState, index: number): void {
    const name = this.nameOf.get(state.key);
    if (name === undefined) this.account(this.table.get(state.key), state.record);
    else {
      this.account(undefined, state.record);
      this.unbindEphemeral(name);
    }
    this.adopt(state, false);
    this.note(state, index);
  }

  private note({ key, record }: RecordState, index: number): void {
    if (record === undefined) {
      this.changed.delete(key);
      this.deleted.set(key, index);
    } else {
      this.deleted.delete(key);
      this.changed.set(key, index);
    }
  }

  private adopt({ key, record }: RecordState, ephemeral: boolean): void {
    this.table.adopt([{ key, record, ephemeral }], this.table.revision, EPHEMERAL);
  }

  private reached(index: number, revision: number, sizeBytes: number): void {
    this.applied = index;
    this.tailSizes.push(sizeBytes);
    this.tailBytes += sizeBytes;
    this.table.adopt([], revision, EPHEMERAL);
  }
}

function sizeOf(record: StoredRecord | undefined): number {
  return record === undefined ? 0 : stateBytes({ key: record.key, record });
}
