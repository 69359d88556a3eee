/**
 * Exchanges between subtasks, as the engine sees them: channels that carry batches of records, with credits.
 *
 * Boundary: the slice (`slice.ts`) partitions, batches and flushes; a network only moves batches. `local-network.ts` moves them within one
 * process; `exchange/` over connections, where the channels of a subtask to itself stay in the process.
 *
 * Contract:
 *   1. A channel is (edge, subtask that sends, subtask that receives). Batches of a channel arrive whole, in order, each once; then its end.
 *   2. Credits: a channel holds at most `creditsPerChannel` batches that its receiver has not yet polled, plus the one whose `send`
 *      answered with a promise. So a slow consumer stops its producers, and the memory of an exchange is bounded by
 *      channels x (credits + 1) x batch. Credits are per channel: a full channel never delays another one, also on the same connection.
 *   3. Who flushes when is the slice's duty: it sends a batch when it is full (BATCH_RECORDS), and a part-filled one FLUSH_AFTER_MS after it
 *      was begun (sooner when the subtask has nothing else to do). A network sends what it is given at once and has no flush timer.
 *   4. A receiver may open its input before or after the first batch was sent to it; nothing is lost, and credits bound what waits.
 *   5. A barrier takes a credit and its place in the order, as a batch does. Once it is polled its channel gives nothing more until it is released.
 *   6. A watermark takes a credit and its place in the order, too, and stops nothing.
 *   7. When the network fails (a peer is gone), `poll` throws and pending `send` promises reject with the same CodedError (EXECUTOR_LOST).
 */
import type { CodedError } from "../../base/errors.js";
import type { Watermark } from "../../dataflow/time/watermarks.js";

/** Records of a full batch. Larger costs latency and memory, smaller costs throughput (performance.md section 4, exchange). */
export const BATCH_RECORDS = 1_024;

/** A part-filled batch is sent after so long. */
export const FLUSH_AFTER_MS = 3;

/** Batches of a channel on the way or waiting, before its sender has to wait. */
export const CREDITS_PER_CHANNEL = 8;

export interface ChannelId {
  /** `id` of the edge in the execution plan (`dataflow/chains.ts`). */
  readonly edge: string;
  readonly fromSubtask: number;
  readonly toSubtask: number;
}

export interface BatchOutput {
  /**
   * Sends `records[start] .. records[start + count - 1]`, which the network copies or encodes before it returns: the array stays the
   * caller's. The batch is always accepted. True: the next one may be sent at once. A promise: the channel is out of credit; nothing may be
   * sent on it before the promise resolves. It rejects when the network fails or is closed, and when a record can't be encoded.
   */
  send(records: readonly unknown[], start: number, count: number): true | Promise<void>;
  /** Sends a checkpoint's barrier behind all batches so far; otherwise as `send`. */
  barrier(id: number): true | Promise<void>;
  /** Sends a watermark behind all batches so far; otherwise as `send`. */
  watermark(watermark: Watermark): true | Promise<void>;
  /** No batch follows. The receiver learns it after the last batch. */
  end(): void;
}

export interface InputBatch {
  readonly channel: ChannelId;
  /** The receiver's own. Null: the channel has ended, or it is a barrier or a watermark. */
  readonly records: unknown[] | null;
  /** Of this checkpoint. */
  readonly barrier?: number;
  readonly watermark?: Watermark;
}

/** What stands in a channel: a batch, a barrier (its checkpoint), a watermark, or the end. */
export type ChannelItem = unknown[] | number | Watermark | null;

export function inputBatchOf(channel: ChannelId, item: ChannelItem): InputBatch {
  if (item === null || Array.isArray(item)) return { channel, records: item };
  return typeof item === "number" ? { channel, records: null, barrier: item } : { channel, records: null, watermark: item };
}

export interface BatchInput {
  /**
   * The next batch or end of any of the channels, fair between them; undefined when none is there now. Taking a batch gives its credit
   * back. Throws the network's error once it has failed.
   */
  poll(): InputBatch | undefined;
  /** These channels (as `poll` named them) have given a barrier and may go on. */
  release(channels: readonly ChannelId[]): void;
  /** One listener, called (never from within `poll`) when a poll that found nothing may now find something, or will throw. */
  onReady(listener: () => void): void;
}

export interface ExchangeNetwork {
  /** Each channel is opened once by its sender ... */
  output(channel: ChannelId): BatchOutput;
  /** ... and once by its receiver. All these channels lead to the same subtask. */
  input(channels: readonly ChannelId[]): BatchInput;
  /**
   * Drops what is under way. Pending sends reject with CLOSED (or the given reason). May be called twice. Between processes, when no reason
   * is given and every channel has ended: resolves once the receivers have everything, and rejects with EXECUTOR_LOST when that fails.
   */
  close(reason?: CodedError): Promise<void>;
}

export function channelKey(channel: ChannelId): string {
  return `${channel.fromSubtask}>${channel.toSubtask}:${channel.edge}`;
}
