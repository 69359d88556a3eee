/**
 * The sending end of an exchange edge, for one subtask: chooses the receiving subtask of each record, batches, and sends.
 *
 * Invariants: a batch is sent when it is full, and nothing is sent on a channel that is out of credit; then the chain stops after the
 * record it is at (`ChainControl.blocked`), so a buffer grows past a batch by at most what one record gives.
 */
import type { KeyFunction } from "../../api/built.js";
import type { OperatorContext } from "../../api/context.js";
import { CodedError } from "../../base/errors.js";
import { keyIdentity } from "../../dataflow/hash.js";
import type { Watermark } from "../../dataflow/time/watermarks.js";
import type { Deferred, Resumable } from "./chain-nodes.js";
import { BATCH_RECORDS, type BatchOutput } from "./network.js";
import { KEY } from "./stages.js";
import { isThenable } from "./thenable.js";

/** What outputs need of the chain that feeds them. */
export interface ChainControl {
  /** The chain has to wait for this before its next record. */
  blocked(output: Blockable): void;
  defer(unit: Resumable, stage: number, record: unknown, value: unknown, key: unknown): void;
  failed(place: number, thrown: unknown): CodedError;
}

export interface Blockable {
  /** Resolves when more can be taken; rejects when the job can't go on. */
  unblocked(): Promise<void>;
}

/** One channel's part-filled batch. */
class ChannelBuffer implements Blockable {
  private readonly output: BatchOutput;
  private readonly control: ChainControl;
  private records: unknown[] = new Array(BATCH_RECORDS);
  private count = 0;
  private pending: Promise<void> | null = null;
  /** Not sent yet: the channel is out of credit. */
  private mark: Watermark | null = null;
  /** Held records at the last look, and nothing was sent since. */
  private old = false;

  constructor(output: BatchOutput, control: ChainControl) {
    this.output = output;
    this.control = control;
  }

  push(record: unknown): void {
    this.records[this.count++] = record;
    if (this.count >= BATCH_RECORDS && this.pending === null) this.send(0, BATCH_RECORDS);
  }

  get held(): boolean {
    return this.count > 0;
  }

  /** Sends what has been waiting since the last call (`all`: everything). */
  flush(all: boolean): void {
    if (this.count > 0 && this.pending === null && (all || this.old)) this.send(0, this.count);
    this.old = this.count > 0;
  }

  async unblocked(): Promise<void> {
    while (this.pending !== null) {
      await this.pending;
      this.pending = null;
      if (this.count >= BATCH_RECORDS) this.send(0, BATCH_RECORDS);
      else this.sendMark();
    }
  }

  /** Behind everything that was pushed. The chain is told when that has to wait. */
  watermark(watermark: Watermark): void {
    this.mark = watermark;
    if (this.pending === null) this.sendMark();
  }

  async end(): Promise<void> {
    await this.emptied();
    this.output.end();
  }

  /** Behind everything that was pushed. Resolves when more can be pushed. */
  async barrier(id: number): Promise<void> {
    await this.emptied();
    const sent = this.output.barrier(id);
    if (sent !== true) await sent;
  }

  private async emptied(): Promise<void> {
    await this.unblocked();
    if (this.count === 0) return;
    this.send(0, this.count);
    await this.unblocked();
  }

  /** A watermark may come later than it could, never before a record that was pushed before it. */
  private sendMark(): void {
    const { mark } = this;
    if (mark === null) return;
    if (this.count > 0) this.send(0, this.count);
    if (this.pending !== null) return;
    this.mark = null;
    this.wait(this.output.watermark(mark));
  }

  private send(start: number, count: number): void {
    const sent = this.output.send(this.records, start, count);
    // Only what one record gave beyond a full batch is left over, while the channel was out of credit.
    if (this.count > count) this.records = this.records.slice(count, this.count);
    this.count -= count;
    this.old = false;
    this.wait(sent);
  }

  private wait(sent: true | Promise<void>): void {
    if (sent === true) return;
    this.pending = sent;
    // The chain awaits it in `unblocked`; when the chain has failed first, nobody does.
    sent.catch(() => undefined);
    this.control.blocked(this);
  }
}

/** Chooses the subtask that a key's records go to. */
export type Route = (keyId: unknown) => number;

/** Generated code calls `push` on edges without a key, and `pushKeyed` or `pushObjectKey` on those with one. */
export class EdgeOutput implements Resumable {
  /** Null unless the edge is a hash exchange. */
  readonly key: KeyFunction | null;
  readonly keyContext: OperatorContext | null;
  /** The place that an error of the key function is reported for. */
  readonly keyIndex: number;
  readonly push: (record: unknown) => void;
  private readonly buffers: readonly ChannelBuffer[];
  private readonly route: Route;
  private readonly control: ChainControl;
  private next = 0;

  constructor(options: {
    readonly kind: "single" | "hash" | "rebalance" | "broadcast";
    readonly outputs: readonly BatchOutput[];
    readonly control: ChainControl;
    readonly key: { readonly run: KeyFunction; readonly context: OperatorContext; readonly index: number } | null;
    readonly route: Route;
    /** The first receiver of a rebalance; differs between senders, so that few records are spread too. */
    readonly first: number;
  }) {
    this.buffers = options.outputs.map((output) => new ChannelBuffer(output, options.control));
    this.key = options.key?.run ?? null;
    this.keyContext = options.key?.context ?? null;
    this.keyIndex = options.key?.index ?? 0;
    this.route = options.route;
    this.control = options.control;
    this.next = options.first % Math.max(1, options.outputs.length);
    this.push = this.pushOf(options.kind);
  }

  pushKeyed(record: unknown, keyId: unknown): void {
    const buffer = this.buffers[this.route(keyId)];
    if (buffer === undefined)
      throw new CodedError("INTERNAL", "invariant broken: a key is routed to a subtask that does not exist");
    buffer.push(record);
  }

  pushObjectKey(record: unknown, key: object, control: ChainControl): void {
    if (isThenable(key)) control.defer(this, KEY, record, key, undefined);
    else this.pushKeyed(record, keyIdentity(key));
  }

  async resume({ record, value }: Deferred): Promise<void> {
    try {
      this.pushKeyed(record, keyIdentity(await value));
    } catch (thrown) {
      throw this.control.failed(this.keyIndex, thrown);
    }
  }

  get held(): boolean {
    return this.buffers.some((buffer) => buffer.held);
  }

  flush(all: boolean): void {
    for (const buffer of this.buffers) buffer.flush(all);
  }

  async end(): Promise<void> {
    for (const buffer of this.buffers) await buffer.end();
  }

  /** To all receivers: event time has come so far for each of them. */
  watermark(watermark: Watermark): void {
    for (const buffer of this.buffers) buffer.watermark(watermark);
  }

  /** Side by side: a receiver that aligns may take from one channel only when it has the barrier of another one. */
  async barrier(id: number): Promise<void> {
    await Promise.all(this.buffers.map((buffer) => buffer.barrier(id)));
  }

  private pushOf(kind: "single" | "hash" | "rebalance" | "broadcast"): (record: unknown) => void {
    const { buffers } = this;
    const [only] = buffers;
    if (buffers.length === 1 && only !== undefined) return (record) => only.push(record);
    if (kind === "broadcast") {
      return (record) => {
        for (const buffer of buffers) buffer.push(record);
      };
    }
    return (record) => {
      const buffer = buffers[this.next];
      this.next = this.next + 1 === buffers.length ? 0 : this.next + 1;
      buffer?.push(record);
    };
  }
}
