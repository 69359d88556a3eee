/** What a checkpoint asks of state that goes on changing while it is written down. */
import type { StateEntry, StateLayout } from "../keyed-state.js";

/** One picture of the state. Its entries hold live values: they are to be encoded before anything else runs. */
export interface OpenSnapshot {
  /** Whether it is everything, or what has changed since the last checkpoint. */
  readonly isFull: boolean;
  /** Absent: `take` may be called at any time. Else before each call. */
  ready?(): Promise<void>;
  /** Up to `limit` entries that it has not given yet; none: it is at its end. */
  take(limit: number): readonly StateEntry[];
  /** Nothing more is asked of it. */
  close(): void;
}

/** What units offer whose state can be written down while it changes. Between batches only, when nothing is deferred. */
export interface SnapshotState {
  readonly size: number;
  /** Of the values of its entries, when they consist of declared states. */
  readonly layout?: StateLayout;
  /** Too much has changed to be told as a change: the next snapshot has to be full. */
  readonly needsFull: boolean;
  /** From now on changes are noted. Before the first record. */
  track(): void;
  /** Whether the checkpoint of the last snapshot is complete. To be said before the next one is opened. */
  settle(isComplete: boolean): void;
  /** Of this moment; one at a time. */
  snapshot(isFull: boolean, maxParallelism: number): OpenSnapshot;
  /** About so many entries will be restored. Absent: that is of no use. */
  expect?(entries: number): void;
  /** Before the first record; entries of a full snapshot, and then of the changes since, in order. An entry is valid until the next one is asked for. */
  restore(entries: Iterable<StateEntry>, layout: StateLayout | null): void;
  /** Absent: `restore` may be called any number of times. Else after each call. */
  readonly makeRoom?: (() => Promise<void>) | undefined;
}

export function snapshotStateOf(unit: object | null): SnapshotState | null {
  return unit !== null && "snapshot" in unit && "settle" in unit ? (unit as SnapshotState) : null;
}
