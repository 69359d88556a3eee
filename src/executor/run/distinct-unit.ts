/** distinct: remembers the ids of all keys seen. The fast path is generated code over `seen`; entries never change, so a snapshot needs no copies. */
import type { KeyFunction } from "../../api/built.js";
import { hashKey, keyIdentity } from "../../dataflow/hash.js";
import { keyGroupOf } from "../../dataflow/key-groups.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable, Unit } from "./chain-nodes.js";
import type { StateEntry } from "./keyed-state.js";
import { KeyedUnit } from "./keyed-unit.js";
import type { OpenSnapshot, SnapshotState } from "./state/open-snapshot.js";

export class DistinctUnit extends KeyedUnit implements Unit, SnapshotState {
  readonly seen = new Set<unknown>();
  readonly needsFull = false;
  private tracking = false;
  /** Since the last snapshot; and what that one held, while it is not known whether its checkpoint counts. */
  private added: unknown[] = [];
  private unsettled: unknown[] = [];

  constructor(chain: Chain, node: ChainNode, key: KeyFunction) {
    super(chain, node, key);
  }

  async resume({ record, value }: Deferred): Promise<void> {
    const id = keyIdentity(await this.chain.result(this.node, value));
    if (this.seen.has(id)) return;
    this.add(id);
    await this.chain.emit(this.node.main, record);
  }

  get size(): number {
    return this.seen.size;
  }

  /** A key that was not seen before. Called by generated code. */
  add(id: unknown): void {
    this.seen.add(id);
    if (this.tracking) this.added.push(id);
  }

  track(): void {
    this.tracking = true;
  }

  settle(isComplete: boolean): void {
    if (!isComplete) this.added = this.unsettled.concat(this.added);
    this.unsettled = [];
  }

  /** Keys that are objects are given by their ids, which restore as well as they do. */
  snapshot(isFull: boolean, maxParallelism: number): OpenSnapshot {
    this.settle(false);
    this.unsettled = this.added;
    this.added = [];
    // Sets keep their order: what comes from now on comes behind these.
    let left = isFull ? this.seen.size : this.unsettled.length;
    const ids = isFull ? this.seen.values() : this.unsettled.values();
    const next = (): StateEntry => {
      left--;
      const id = ids.next().value;
      return { keyGroup: keyGroupOf(hashKey(id), maxParallelism), key: id, value: true };
    };
    return {
      isFull,
      take: (limit) => Array.from({ length: Math.min(limit, left) }, next),
      close: () => {
        left = 0;
      },
    };
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key } of entries) this.seen.add(key);
  }

  /** The ids are enough: nothing ever asks for the keys again. */
  protected override rememberedId(key: unknown): unknown {
    return keyIdentity(key);
  }

  protected resumable(): Resumable {
    return this;
  }
}
