/**
 * sort: holds the records of a bounded input, within its limit, and emits them in order at the end. Equal records keep their order of arrival.
 *
 * In a checkpoint the records are those of whatever subtask they are given to: any may sort them.
 */
import { CodedError } from "../../base/errors.js";
import { keyGroupsOfSubtask } from "../../dataflow/key-groups.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Unit } from "./chain-nodes.js";
import { HELD_RECORDS, type KeyedState, type StateEntry } from "./keyed-state.js";

export class SortUnit implements Unit, KeyedState {
  private readonly chain: Chain;
  private readonly node: ChainNode;
  private readonly compare: (left: unknown, right: unknown) => number;
  private readonly limit: number;
  private readonly maxRecords: number;
  private records: unknown[] = [];

  constructor(chain: Chain, node: ChainNode, compare: (left: unknown, right: unknown) => number) {
    const config = node.spec.config as { readonly limit: number | null; readonly maxRecords: number };
    this.chain = chain;
    this.node = node;
    this.compare = compare;
    this.limit = config.limit ?? Number.POSITIVE_INFINITY;
    this.maxRecords = config.maxRecords;
  }

  take(record: unknown): void {
    this.records.push(record);
    if (Number.isFinite(this.limit)) {
      // Only so many can matter: sorting at twice the limit costs a constant factor.
      if (this.records.length > this.limit * 2) this.cut();
      return;
    }
    if (this.records.length <= this.maxRecords) return;
    throw new CodedError("LIMIT_EXCEEDED", `Sort '${this.node.spec.uid}' holds more than ${this.maxRecords} records.`, {
      hint: "Give it a `limit` for the first records only, or a larger `maxRecords` when memory allows it.",
      details: { operator: this.node.spec.uid, maxRecords: this.maxRecords },
    });
  }

  async end(): Promise<void> {
    this.cut();
    const { records } = this;
    this.records = [];
    await this.chain.emitBatch(this.node.main, records, records.length);
  }

  async resume(): Promise<void> {}

  get size(): number {
    return this.records.length;
  }

  *entries(maxParallelism: number): Iterable<StateEntry> {
    const { subtask, parallelism } = this.node.context;
    const keyGroup = keyGroupsOfSubtask(subtask, maxParallelism, parallelism).first;
    const { records } = this;
    for (let at = 0; at < records.length; at += HELD_RECORDS)
      yield { keyGroup, key: at, value: records.slice(at, at + HELD_RECORDS) };
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { value } of entries) for (const record of value as readonly unknown[]) this.records.push(record);
  }

  private cut(): void {
    try {
      this.records.sort(this.compare);
    } catch (thrown) {
      throw this.chain.failed(this.node.index, thrown);
    }
    if (this.records.length > this.limit) this.records.length = this.limit;
  }
}
