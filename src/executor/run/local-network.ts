/**
 * Exchanges within one process: for tests (`runJob`), and for the channels of a subtask to itself in any other network.
 *
 * Invariant: a channel holds at most `creditsPerChannel` batches, plus one whose `send` answered with a promise.
 */
import { CodedError } from "../../base/errors.js";
import type { Watermark } from "../../dataflow/time/watermarks.js";
import { InputGate } from "./input-gate.js";
import {
  type BatchInput,
  type BatchOutput,
  type ChannelId,
  type ChannelItem,
  CREDITS_PER_CHANNEL,
  channelKey,
  type ExchangeNetwork,
} from "./network.js";

export interface LocalNetworkOptions {
  readonly creditsPerChannel?: number;
}

export interface LocalNetwork extends ExchangeNetwork {
  /** The most batches that waited in one channel so far; tests hold it against the credits. */
  readonly peakWaiting: () => number;
}

export function createLocalNetwork(options: LocalNetworkOptions = {}): LocalNetwork {
  const credits = options.creditsPerChannel ?? CREDITS_PER_CHANNEL;
  const channels = new Map<string, LocalChannel>();
  const gates = new Set<InputGate>();
  const open = (id: ChannelId) => {
    const key = channelKey(id);
    const channel = channels.get(key) ?? new LocalChannel(credits);
    channels.set(key, channel);
    return channel;
  };
  return {
    output: (id) => open(id),
    input: (ids): BatchInput => {
      const opened = ids.map(open);
      const gate = new InputGate({ channels: ids, maxBatchesPerChannel: credits + 1, onTaken: (index) => opened[index]?.taken() });
      gates.add(gate);
      for (const [index, channel] of opened.entries()) channel.connect((records) => gate.push(index, records));
      return gate;
    },
    close: async (reason = new CodedError("CLOSED", "The exchange network was closed.")) => {
      for (const channel of channels.values()) channel.fail(reason);
      for (const gate of gates) gate.fail(reason);
    },
    peakWaiting: () => Math.max(0, ...[...channels.values()].map((channel) => channel.peak)),
  };
}

class LocalChannel implements BatchOutput {
  peak = 0;
  private readonly credits: number;
  private waiting = 0;
  private deliver: ((item: ChannelItem) => void) | null = null;
  /** Sent before the receiver opened its input. */
  private readonly early: ChannelItem[] = [];
  private blocked: { readonly resolve: () => void; readonly reject: (error: CodedError) => void } | null = null;
  private failure: CodedError | null = null;

  constructor(credits: number) {
    this.credits = credits;
  }

  send(records: readonly unknown[], start: number, count: number): true | Promise<void> {
    return this.take(records.slice(start, start + count));
  }

  barrier(id: number): true | Promise<void> {
    return this.take(id);
  }

  watermark(watermark: Watermark): true | Promise<void> {
    return this.take(watermark);
  }

  private take(item: ChannelItem): true | Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    this.waiting++;
    if (this.waiting > this.peak) this.peak = this.waiting;
    this.put(item);
    if (this.waiting <= this.credits) return true;
    return new Promise((resolve, reject) => {
      this.blocked = { resolve, reject };
    });
  }

  end(): void {
    if (this.failure === null) this.put(null);
  }

  connect(deliver: (item: ChannelItem) => void): void {
    this.deliver = deliver;
    for (const item of this.early.splice(0)) deliver(item);
  }

  taken(): void {
    this.waiting--;
    if (this.waiting > this.credits) return;
    this.blocked?.resolve();
    this.blocked = null;
  }

  fail(error: CodedError): void {
    this.failure ??= error;
    this.blocked?.reject(error);
    this.blocked = null;
  }

  private put(item: ChannelItem): void {
    if (this.deliver === null) this.early.push(item);
    else this.deliver(item);
  }
}
