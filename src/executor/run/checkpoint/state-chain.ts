/**
 * The blobs of one operator's state over the checkpoints of a try: everything (the base), then what has changed since, in order.
 *
 * A checkpoint adds to what the last complete one refers to, so unchanged state is not written again; when the changes outgrow the base, everything is written anew.
 *
 * Invariants:
 *   1. Only what a complete checkpoint refers to is built upon. A checkpoint of which it is not known counts as given up: its changes are told again.
 *   2. What is built upon stays: the last complete checkpoint and the one before it are kept (RETAINED_CHECKPOINTS), blobs go when no kept one refers to them.
 */
import type { StateHandle } from "../../../wire/checkpoint.js";

/** Blobs of changes behind a base; bounds the manifest, and what a restore reads. */
export const MAX_CHANGE_BLOBS = 64;

interface Written {
  readonly handles: readonly StateHandle[];
  readonly baseBytes: number;
  readonly changedBytes: number;
  readonly changeBlobs: number;
}

export class StateChain {
  private complete: Written | null;
  private last: { readonly id: number; readonly before: Written | null; written: Written | null } | null = null;

  /** `restored`: what the state was read from, and is exactly what it consists of; null: nothing. */
  constructor(restored: readonly StateHandle[] | null) {
    this.complete = restored === null ? null : baseOf(restored);
  }

  /** `completed`: the newest complete checkpoint. Whether that of the last snapshot is. */
  settle(completed: number): boolean {
    const { last } = this;
    this.last = null;
    if (last === null || last.written === null || last.id > completed) return false;
    this.complete = last.written;
    return true;
  }

  wantsFull(): boolean {
    const { complete } = this;
    if (complete === null || complete.changeBlobs >= MAX_CHANGE_BLOBS) return true;
    return complete.changedBytes > complete.baseBytes;
  }

  begin(id: number): void {
    this.last = { id, before: this.complete, written: null };
  }

  /** The snapshot of that checkpoint is durable: all handles of the state. None, when another one has begun since. */
  written(id: number, isFull: boolean, handles: readonly StateHandle[]): readonly StateHandle[] {
    const { last } = this;
    if (last?.id !== id) return [];
    last.written = isFull || last.before === null ? baseOf(handles) : changed(last.before, handles);
    return last.written.handles;
  }
}

function baseOf(handles: readonly StateHandle[]): Written {
  return { handles, baseBytes: bytesOf(handles), changedBytes: 0, changeBlobs: 0 };
}

function changed(before: Written, handles: readonly StateHandle[]): Written {
  return {
    handles: [...before.handles, ...handles],
    baseBytes: before.baseBytes,
    changedBytes: before.changedBytes + bytesOf(handles),
    changeBlobs: before.changeBlobs + handles.length,
  };
}

function bytesOf(handles: readonly StateHandle[]): number {
  return handles.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
