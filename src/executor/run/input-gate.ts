/**
 * The receiving end of channels: queues what arrived, gives it out fairly, and tells when a credit is free again. Every network uses it.
 *
 * Invariants: batches of a channel leave in the order they arrived, its end last; channels with something to give take turns; a channel
 * never holds more batches than its sender has credits (a sender that ignores this is the network's bug, see `push`). A lane that gave a
 * barrier is stopped until it is released.
 */
import { assert } from "../../base/assert.js";
import type { CodedError } from "../../base/errors.js";
import { type BatchInput, type ChannelId, type ChannelItem, type InputBatch, inputBatchOf } from "./network.js";

interface Lane {
  readonly channel: ChannelId;
  readonly waiting: ChannelItem[];
  ended: boolean;
  stopped: boolean;
}

export interface InputGateOptions {
  readonly channels: readonly ChannelId[];
  /** More than this in one channel is a broken promise of the sender. */
  readonly maxBatchesPerChannel: number;
  /** A batch of this channel (its index) was taken: its sender may send one more. */
  readonly onTaken: (channel: number) => void;
}

export class InputGate implements BatchInput {
  private readonly lanes: readonly Lane[];
  private readonly options: InputGateOptions;
  /** Lanes that have something, in the order of their turns. */
  private readonly turns: number[] = [];
  private failure: CodedError | null = null;
  private listener: (() => void) | null = null;

  constructor(options: InputGateOptions) {
    this.options = options;
    this.lanes = options.channels.map((channel) => ({ channel, waiting: [], ended: false, stopped: false }));
  }

  /** Something arrived on the channel of that index. An array is the gate's from now on. */
  push(channel: number, item: ChannelItem): void {
    const lane = this.lanes[channel];
    if (lane === undefined || this.failure !== null) return;
    assert(!lane.ended, "a batch after the end of its channel");
    lane.ended = item === null;
    assert(lane.waiting.length <= this.options.maxBatchesPerChannel, "a channel holds more batches than it has credits");
    lane.waiting.push(item);
    if (lane.waiting.length > 1 || lane.stopped) return;
    this.turns.push(channel);
    this.listener?.();
  }

  /** Every later poll throws this. */
  fail(error: CodedError): void {
    this.failure ??= error;
    this.listener?.();
  }

  /** Batches that wait now; for tests of the bound and for metrics. */
  waitingBatches(): number {
    return this.lanes.reduce((sum, lane) => sum + lane.waiting.length, 0);
  }

  poll(): InputBatch | undefined {
    if (this.failure !== null) throw this.failure;
    const turn = this.turns.shift();
    const lane = turn === undefined ? undefined : this.lanes[turn];
    if (turn === undefined || lane === undefined) return undefined;
    const item = lane.waiting.shift() ?? null;
    lane.stopped = typeof item === "number";
    if (lane.waiting.length > 0 && !lane.stopped) this.turns.push(turn);
    if (item !== null) this.options.onTaken(turn);
    return inputBatchOf(lane.channel, item);
  }

  release(channels: readonly ChannelId[]): void {
    for (const [index, lane] of this.lanes.entries()) {
      if (!lane.stopped || !channels.includes(lane.channel)) continue;
      lane.stopped = false;
      if (lane.waiting.length > 0) this.turns.push(index);
    }
  }

  onReady(listener: () => void): void {
    this.listener = listener;
  }
}
