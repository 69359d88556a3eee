/** The state of a unit, whichever way it gives it to checkpoints. */
import { type KeyedState, keyedStateOf, type StateEntry } from "../../../src/executor/run/keyed-state.js";
import { type SnapshotState, snapshotStateOf } from "../../../src/executor/run/state/open-snapshot.js";

export type AnyState = KeyedState | SnapshotState;

export function stateOf(unit: object | null): AnyState | null {
  return snapshotStateOf(unit) ?? keyedStateOf(unit);
}

/** All of it, as it is now. */
export function entriesOf(state: AnyState, maxParallelism = 128): StateEntry[] {
  return "entries" in state
    ? [...state.entries(maxParallelism)]
    : [...state.snapshot(true, maxParallelism).take(Number.MAX_SAFE_INTEGER)];
}
