/**
 * The state of one chain's operators in checkpoints: read before the first record, written at each barrier.
 *
 * State that can be written while it changes (`SnapshotState`) is opened at the barrier and encoded beside the records that follow, and holds what has changed
 * since the last complete checkpoint. Other state is encoded whole, and the chain stands still for that.
 *
 * Invariants: `snapshot` has opened everything when it returns, so nothing that follows the barrier is in it; one snapshot is open at a time.
 */
import { keyGroupsOfSubtask } from "../../../dataflow/key-groups.js";
import type { SlicePart, StateHandle } from "../../../wire/checkpoint.js";
import type { Chain } from "../chain.js";
import { keyedStateOf } from "../keyed-state.js";
import { type OpenSnapshot, type SnapshotState, snapshotStateOf } from "../state/open-snapshot.js";
import { readState, type StateAccess, StateEncoder, type StateHeader, writeSnapshot, writeState } from "./state-blobs.js";
import { StateChain } from "./state-chain.js";

export interface ChainStatesOptions {
  readonly chain: Chain;
  readonly access: StateAccess;
  readonly maxParallelism: number;
  readonly subtask: number;
}

/** What is the same for all operators of the slice. */
export type SnapshotHeader = Omit<StateHeader, "operator" | "layout">;

/** By operator; those without any are left out. */
export type StatesByOperator = Readonly<Record<string, readonly StateHandle[]>>;

export interface ChainSnapshot {
  /** The chain may go on. Never rejects: what could not be encoded is told by `states`. */
  readonly encoded: Promise<void>;
  /** Durable. */
  readonly states: Promise<StatesByOperator>;
}

interface Changing {
  readonly uid: string;
  readonly state: SnapshotState;
  readonly blobs: StateChain;
}

interface Opened extends Changing {
  readonly snapshot: OpenSnapshot;
}

export class ChainStates {
  private readonly options: ChainStatesOptions;
  private changing: readonly Changing[] = [];
  private writing: Promise<unknown> = Promise.resolve();
  /** By operator. */
  private readonly encoders = new Map<string, StateEncoder>();

  constructor(options: ChainStatesOptions) {
    this.options = options;
  }

  /** Rejects with CHECKPOINT_UNREADABLE. */
  async restore(restored: SlicePart | null): Promise<void> {
    const { chain, access, subtask, maxParallelism } = this.options;
    const changing: Changing[] = [];
    for (const { spec, unit, context } of chain.nodes) {
      const state = snapshotStateOf(unit);
      const readable = state ?? keyedStateOf(unit);
      const handles = restored?.states[spec.uid] ?? null;
      const isSpread = restored?.spread?.includes(spec.uid) === true;
      const own = isSpread ? { own: keyGroupsOfSubtask(subtask, maxParallelism, context.parallelism) } : {};
      if (readable !== null && handles !== null) await readState(readable, handles, { operator: spec.uid, ...own }, access);
      if (state === null) continue;
      state.track();
      // Blobs that hold entries of others are no base of what this subtask writes.
      changing.push({ uid: spec.uid, state, blobs: new StateChain(isSpread ? null : handles) });
    }
    this.changing = changing;
  }

  /** `completed`: the newest complete checkpoint that is known. `isWanted`: whether anybody still waits for this one. */
  snapshot(header: SnapshotHeader, completed: number, isWanted: () => boolean): ChainSnapshot {
    const opened = this.changing.map((one): Opened => {
      const { state, blobs } = one;
      state.settle(blobs.settle(completed));
      blobs.begin(header.checkpoint);
      return { ...one, snapshot: state.snapshot(blobs.wantsFull() || state.needsFull, this.options.maxParallelism) };
    });
    const standing = this.writeStanding(header);
    const states = this.writeOpened(opened, header, standing, isWanted);
    this.writing = states.catch(() => undefined);
    return { encoded: standing.then(ignore, ignore), states };
  }

  private encoderOf(uid: string): StateEncoder {
    const known = this.encoders.get(uid);
    if (known !== undefined) return known;
    const made = new StateEncoder(this.options.access.text);
    this.encoders.set(uid, made);
    return made;
  }

  /** Resolves when no snapshot is open: what ends the input may then do with the state what it likes. */
  async idle(): Promise<void> {
    await this.writing;
  }

  private async writeOpened(
    opened: readonly Opened[],
    header: SnapshotHeader,
    standing: Promise<Map<string, Promise<readonly StateHandle[]>>>,
    isWanted: () => boolean,
  ): Promise<StatesByOperator> {
    try {
      const states = await standing;
      for (const { uid, state, snapshot, blobs } of opened) {
        const { layout } = state;
        const own = { ...header, operator: uid, ...(layout === undefined ? {} : { layout }) };
        const { handles } = await writeSnapshot(snapshot, own, this.options.access, isWanted, this.encoderOf(uid));
        states.set(
          uid,
          handles.then((written) => blobs.written(header.checkpoint, snapshot.isFull, written)),
        );
      }
      const all = await Promise.all([...states].map(async ([uid, handles]) => [uid, await handles] as const));
      return Object.fromEntries(all.filter(([, handles]) => handles.length > 0));
    } finally {
      for (const { snapshot } of opened) snapshot.close();
    }
  }

  /** By operator: the handles, once they are durable. */
  private async writeStanding(header: SnapshotHeader): Promise<Map<string, Promise<readonly StateHandle[]>>> {
    const states = new Map<string, Promise<readonly StateHandle[]>>();
    const { chain, access, maxParallelism } = this.options;
    for (const { spec, unit } of chain.nodes) {
      const state = keyedStateOf(unit);
      if (state === null || state.size === 0) continue;
      const { handles } = await writeState(
        state,
        { ...header, operator: spec.uid },
        maxParallelism,
        access,
        this.encoderOf(spec.uid),
      );
      states.set(spec.uid, handles);
    }
    return states;
  }
}

const ignore = (): void => undefined;
