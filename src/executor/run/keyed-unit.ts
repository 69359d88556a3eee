/** What operators with keys share: how a record's key becomes the id by which state is found, also when the key is an object or a promise. */
import type { KeyFunction } from "../../api/built.js";
import type { OperatorContext } from "../../api/context.js";
import { hashKey, keyIdentity } from "../../dataflow/hash.js";
import { keyGroupOf } from "../../dataflow/key-groups.js";
import type { Chain } from "./chain.js";
import type { ChainNode } from "./chain-nodes.js";
import { KEY, NONE } from "./stages.js";
import type { EntryOf } from "./state/keyed-table.js";
import { isThenable } from "./thenable.js";

/** Generated code reads `key` and `keyContext`, and calls `idOf` for keys that are objects. */
export abstract class KeyedUnit {
  readonly key: KeyFunction | null;
  readonly keyContext: OperatorContext;
  protected readonly chain: Chain;
  protected readonly node: ChainNode;
  /** The keys as users know them, by id; only those that are objects. */
  private readonly objectKeys = new Map<unknown, unknown>();

  constructor(chain: Chain, node: ChainNode, key: KeyFunction | null) {
    this.chain = chain;
    this.node = node;
    this.key = key;
    this.keyContext = node.context;
  }

  /** NONE when the key is a promise: the record was deferred at stage KEY. */
  idOf(key: object, record: unknown): unknown {
    if (isThenable(key)) {
      this.chain.defer(this.resumable(), KEY, record, key, undefined);
      return NONE;
    }
    return this.rememberedId(key);
  }

  /** The id of a key that is no promise. */
  protected rememberedId(key: unknown): unknown {
    if (typeof key !== "object" || key === null) return key;
    const id = keyIdentity(key);
    if (!this.objectKeys.has(id)) this.objectKeys.set(id, key);
    return id;
  }

  protected keyOf(id: unknown): unknown {
    return typeof id === "string" && id.charCodeAt(0) === 0 ? (this.objectKeys.get(id) ?? id) : id;
  }

  /** Entries of a checkpoint: the id is what records are routed by, so a key's group here is that of its records. */
  protected entriesOf(maxParallelism: number): EntryOf {
    return (id, value) => ({ keyGroup: keyGroupOf(hashKey(id), maxParallelism), key: this.keyOf(id), value });
  }

  protected forgetKeys(): void {
    this.objectKeys.clear();
  }

  protected abstract resumable(): import("./chain-nodes.js").Resumable;
}
