/**
 * The coordination store in this process's memory: for recovery mode `none`, tests and the simulator. Nothing survives the process.
 *
 * It needs no clock: a session in the same process cannot lapse. What the simulator and its checkers need beyond the contract
 * (`records`, `onApplied`) stands on the concrete type only; faults are put around any store by `createFaultyStore`.
 */
import type { CoordinationStore, StoredRecord, StoreLimits } from "../env/coordination-store.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { type AppliedCommit, LocalStore } from "./local-store.js";
import { RecordTable } from "./record-table.js";

export interface MemoryStoreOptions {
  readonly limits?: StoreLimits;
  /** Persistent records to start with, as `records()` gave them: a store that was closed and opened again. */
  readonly initialRecords?: Iterable<StoredRecord>;
  /** The revision that those records were read at. */
  readonly initialRevision?: number;
  /** The linear history, for checkers. Called inside the commit; must not call the store. */
  readonly onApplied?: (applied: AppliedCommit) => void;
}

export interface MemoryStore extends CoordinationStore {
  /** All persistent records now. */
  records(): readonly StoredRecord[];
  revision(): number;
}

export function createMemoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  const table = new RecordTable(options.initialRecords ?? [], options.initialRevision ?? 0);
  const local = new LocalStore({
    limits: options.limits ?? DEFAULT_LIMITS,
    table,
    journal: { write: () => Promise.resolve() },
    sessionIdPrefix: `memory-${table.revision}-`,
    ...(options.onApplied === undefined ? {} : { onApplied: options.onApplied }),
  });
  return {
    limits: local.limits,
    async openSession(open) {
      open.signal.throwIfAborted();
      return local.openSession(open);
    },
    nudge() {},
    close: () => local.close(),
    records: () => table.persistent(),
    revision: () => table.revision,
  };
}
