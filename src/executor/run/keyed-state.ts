/**
 * Keyed state as checkpoints will see it: entries by key group, so that a job can be restored with another parallelism.
 *
 * Invariants: entries are derived from the live Map when asked for (never kept per group, which would halve the speed of updates); restoring
 * all entries of a unit into fresh units, each by the key groups that its subtask owns, continues as if nothing had happened.
 */
import { hashKey } from "../../dataflow/hash.js";
import { keyGroupOf } from "../../dataflow/key-groups.js";

/** Records that operators hold are given in entries of at most so many, so that no entry is large. */
export const HELD_RECORDS = 256;

/** In place of a key group: every subtask has the same entries (a broadcast input), and a rescaled job gives those of one subtask to all. */
export const EVERY_SUBTASK = -1;

export interface StateEntry {
  readonly keyGroup: number;
  readonly key: unknown;
  /** The accumulator, or the row of declared states; for distinct true; what joins and sorts hold. */
  readonly value: unknown;
  /** The key is gone since the checkpoint before. */
  readonly removed?: true;
}

/** Which states the values of entries consist of, in order; what wrote it may be an older version of the job. */
export type StateLayout = readonly {
  readonly name: string;
  readonly kind: "value" | "list" | "map";
  /** Of the codec; 0: none. */
  readonly version: number;
  readonly expires: boolean;
}[];

/** What units with state offer. Only between batches, when nothing is deferred. */
export interface KeyedState {
  readonly size: number;
  /** In the order in which keys were first seen. */
  entries(maxParallelism: number): Iterable<StateEntry>;
  /** Before the first record. An entry is valid until the next one is asked for. */
  restore(entries: Iterable<StateEntry>, layout: StateLayout | null): void;
}

export function keyedStateOf(unit: object | null): KeyedState | null {
  return unit !== null && "entries" in unit && "restore" in unit ? (unit as KeyedState) : null;
}

export function* stateEntries(
  state: Iterable<readonly [unknown, unknown]>,
  keyOf: (id: unknown) => unknown,
  maxParallelism: number,
): Iterable<StateEntry> {
  // The id is what records are routed by: so a key's group here is that of its records.
  for (const [id, value] of state) yield { keyGroup: keyGroupOf(hashKey(id), maxParallelism), key: keyOf(id), value };
}
