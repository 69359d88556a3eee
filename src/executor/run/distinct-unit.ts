/** distinct: remembers the ids of all keys seen. The fast path is generated code over `seen`. */
import type { KeyFunction } from "../../api/built.js";
import { hashKey, keyIdentity } from "../../dataflow/hash.js";
import { keyGroupOf } from "../../dataflow/key-groups.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable, Unit } from "./chain-nodes.js";
import type { KeyedState, StateEntry } from "./keyed-state.js";
import { KeyedUnit } from "./keyed-unit.js";

export class DistinctUnit extends KeyedUnit implements Unit, KeyedState {
  readonly seen = new Set<unknown>();

  constructor(chain: Chain, node: ChainNode, key: KeyFunction) {
    super(chain, node, key);
  }

  async resume({ record, value }: Deferred): Promise<void> {
    const id = keyIdentity(await this.chain.result(this.node, value));
    if (this.seen.has(id)) return;
    this.seen.add(id);
    await this.chain.emit(this.node.main, record);
  }

  get size(): number {
    return this.seen.size;
  }

  /** Keys that are objects are given by their ids, which restore as well as they do. */
  *entries(maxParallelism: number): Iterable<StateEntry> {
    for (const id of this.seen) yield { keyGroup: keyGroupOf(hashKey(id), maxParallelism), key: id, value: true };
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
