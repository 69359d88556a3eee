/** distinct: remembers the ids of all keys seen. The fast path is generated code over `seen`. */
import type { KeyFunction } from "../../api/built.js";
import { keyIdentity } from "../../dataflow/hash.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Deferred, Resumable, Unit } from "./chain-nodes.js";
import { KeyedUnit } from "./keyed-unit.js";

export class DistinctUnit extends KeyedUnit implements Unit {
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

  /** The ids are enough: nothing ever asks for the keys again. */
  protected override rememberedId(key: unknown): unknown {
    return keyIdentity(key);
  }

  protected resumable(): Resumable {
    return this;
  }
}
