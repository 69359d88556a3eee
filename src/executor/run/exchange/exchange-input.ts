/** The input of a subtask from several processes: inboxes of other executors, and a gate for the channels from its own process. */
import type { CodedError } from "../../../base/errors.js";
import { type BatchInput, type ChannelId, type InputBatch, inputBatchOf } from "../network.js";
import type { Inbox } from "./inbox.js";

export class ExchangeInput implements BatchInput {
  private readonly local: BatchInput | null;
  private readonly inboxes: readonly Inbox[];
  /** Inboxes that have something, in the order of their turns. */
  private readonly turns: Inbox[] = [];
  private localFirst = false;
  private polling = false;
  private failure: CodedError | null = null;
  private listener: (() => void) | null = null;

  constructor(inboxes: readonly Inbox[], local: BatchInput | null) {
    this.local = local;
    this.inboxes = inboxes;
    local?.onReady(() => this.notify());
    for (const inbox of inboxes) {
      inbox.onArrival(() => {
        this.turns.push(inbox);
        this.notify();
      });
    }
  }

  poll(): InputBatch | undefined {
    if (this.failure !== null) throw this.failure;
    this.polling = true;
    try {
      this.localFirst = !this.localFirst;
      if (this.localFirst) return this.local?.poll() ?? this.pollInboxes();
      return this.pollInboxes() ?? this.local?.poll();
    } finally {
      this.polling = false;
    }
  }

  release(channels: readonly ChannelId[]): void {
    for (const inbox of this.inboxes) if (channels.includes(inbox.id)) inbox.release();
    this.local?.release(channels);
  }

  onReady(listener: () => void): void {
    this.listener = listener;
  }

  fail(error: CodedError): void {
    this.failure ??= error;
    this.notify();
  }

  private pollInboxes(): InputBatch | undefined {
    const inbox = this.turns.shift();
    if (inbox === undefined) return undefined;
    const item = inbox.take();
    if (!inbox.isEmpty) this.turns.push(inbox);
    return inputBatchOf(inbox.id, item);
  }

  private notify(): void {
    if (!this.polling) this.listener?.();
  }
}
