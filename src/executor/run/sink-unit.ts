/**
 * A sink's subtask: batches records for its writer, one write at a time, and prepares it at the end. A writer that waits stops the chain.
 */
import type { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { SinkWriter } from "../../dataflow/connector.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Unit } from "./chain-nodes.js";
import type { Blockable } from "./edge-output.js";
import { BATCH_RECORDS } from "./network.js";
import { sinkFailed } from "./user-errors.js";

export class SinkUnit implements Unit, Blockable {
  written = 0;
  private readonly chain: Chain;
  private readonly node: ChainNode;
  private readonly writer: SinkWriter<unknown>;
  private records: unknown[] = [];
  private pending: Promise<void> | null = null;
  private old = false;

  constructor(chain: Chain, node: ChainNode, writer: SinkWriter<unknown>) {
    this.chain = chain;
    this.node = node;
    this.writer = writer;
  }

  take(record: unknown): void {
    this.records.push(record);
    if (this.records.length >= BATCH_RECORDS && this.pending === null) this.write();
  }

  get held(): boolean {
    return this.records.length > 0;
  }

  flush(all = true): void {
    if (this.held && this.pending === null && (all || this.old)) this.write();
    this.old = this.held;
  }

  async unblocked(): Promise<void> {
    while (this.pending !== null) {
      await this.pending;
      this.pending = null;
      if (this.records.length >= BATCH_RECORDS) this.write();
    }
  }

  /** Everything is handed to the writer. */
  async finish(): Promise<void> {
    await this.unblocked();
    if (this.held) this.write();
    await this.unblocked();
  }

  async prepare(): Promise<{ readonly uid: string; readonly committable: JsonValue }> {
    try {
      return { uid: this.node.spec.uid, committable: await this.writer.prepare() };
    } catch (thrown) {
      throw this.failed(thrown);
    }
  }

  async resume(): Promise<void> {}

  private write(): void {
    const { records } = this;
    let writing: void | Promise<void>;
    try {
      writing = this.writer.write(records, records.length);
    } catch (thrown) {
      throw this.failed(thrown);
    }
    this.written += records.length;
    this.old = false;
    if (writing === undefined) {
      records.length = 0;
      return;
    }
    // The array is the writer's until its promise settles.
    this.records = [];
    this.pending = Promise.resolve(writing).catch((thrown) => {
      throw this.failed(thrown);
    });
    this.pending.catch(() => undefined);
    this.chain.blocked(this);
  }

  private failed(thrown: unknown): CodedError {
    return sinkFailed(this.node.spec.uid, thrown);
  }
}
