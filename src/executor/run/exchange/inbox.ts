/**
 * The receiving end of a channel from another process: keeps payloads as the bytes that arrived, and decodes them when they are polled.
 *
 * Invariant: it holds at most `credits` payloads that were not polled. Credits go back when they are half of all credits, or of the window's
 * bytes: a frame for each would be dear, and a sender that is out of one of the two has always some coming. An inbox that gave a barrier is
 * stopped until it is released.
 */
import type { CodedError } from "../../../base/errors.js";
import type { Watermark } from "../../../dataflow/time/watermarks.js";
import { BatchDecoder, type TextCodec } from "../codec/index.js";
import type { ChannelId, ChannelItem } from "../network.js";
import { BARRIER_BYTES, protocolViolation, WATERMARK_BYTES } from "./frames.js";

/** The connection that the channel comes from. */
export interface InboxSource {
  giveCredit(channel: number, count: number): void;
  /** What arrived can't be decoded. Returns the error for whoever polled. */
  undecodable(cause: unknown): CodedError;
}

/** How much waits in all inboxes of a network. */
export interface WaitingBytes {
  waitingBytes: number;
  peakBytes: number;
}

export interface InboxOptions {
  readonly credits: number;
  readonly windowBytes: number;
  readonly text: TextCodec;
  readonly memory: WaitingBytes;
}

/** A frame is a view of what the socket read, often of far more bytes than its own: those would wait with it, uncounted. */
const PINS_AT_MOST = 4;

const unpinned = (payload: Uint8Array): Uint8Array =>
  payload.length * PINS_AT_MOST < payload.buffer.byteLength ? payload.slice() : payload;

/** A batch's payload, a barrier's checkpoint, a watermark. */
type Waiting = Uint8Array | number | Watermark;

function bytesOf(item: Waiting): number {
  if (typeof item === "number") return BARRIER_BYTES;
  return item instanceof Uint8Array ? item.length : WATERMARK_BYTES;
}

export class Inbox {
  readonly id: ChannelId;
  private readonly credits: number;
  private readonly windowBytes: number;
  private readonly text: TextCodec;
  private readonly memory: WaitingBytes;
  private readonly waiting: Waiting[] = [];
  private stopped = false;
  private decoder: BatchDecoder | null = null;
  private source: InboxSource | null = null;
  private number = 0;
  private received = 0;
  /** Batches that were polled, and whose credits have not gone back yet. */
  private owed = 0;
  private owedBytes = 0;
  private state: "open" | "ended" | "taken" = "open";
  private listener: (() => void) | null = null;

  constructor(id: ChannelId, options: InboxOptions) {
    this.id = id;
    this.credits = options.credits;
    this.windowBytes = options.windowBytes;
    this.text = options.text;
    this.memory = options.memory;
  }

  /** The sender has announced the channel. */
  announced(source: InboxSource, number: number): void {
    if (this.source !== null) throw protocolViolation("it announced a channel twice");
    this.source = source;
    this.number = number;
  }

  get isAnnounced(): boolean {
    return this.source !== null;
  }

  /** Its end has arrived. */
  get hasEnded(): boolean {
    return this.state !== "open";
  }

  get waitingBatches(): number {
    return this.waiting.length;
  }

  /** Called when an inbox that had nothing to give gets something. */
  onArrival(listener: () => void): void {
    this.listener = listener;
    if (!this.isEmpty) listener();
  }

  /** It has nothing to give now. */
  get isEmpty(): boolean {
    return this.stopped || (this.waiting.length === 0 && this.state !== "ended");
  }

  /** It gave a barrier, and may go on. */
  release(): void {
    if (!this.stopped) return;
    this.stopped = false;
    if (!this.isEmpty) this.listener?.();
  }

  batch(payload: Uint8Array, sequence: number): void {
    this.accept(unpinned(payload), sequence, payload.length);
  }

  barrier(id: number, sequence: number): void {
    this.accept(id, sequence, BARRIER_BYTES);
  }

  watermark(watermark: Watermark, sequence: number): void {
    this.accept(watermark, sequence, WATERMARK_BYTES);
  }

  private accept(item: Waiting, sequence: number, bytes: number): void {
    if (this.state !== "open") throw protocolViolation("a batch came after the end of its channel");
    if (sequence !== this.received) throw protocolViolation("a batch is missing or came twice");
    if (this.waiting.length + this.owed >= this.credits) throw protocolViolation("it sent more batches than it has credits");
    this.received = (this.received + 1) >>> 0;
    this.waiting.push(item);
    this.memory.waitingBytes += bytes;
    this.memory.peakBytes = Math.max(this.memory.peakBytes, this.memory.waitingBytes);
    if (this.waiting.length === 1 && !this.stopped) this.listener?.();
  }

  end(sequence: number): void {
    if (this.state !== "open" || sequence !== this.received)
      throw protocolViolation("the end of a channel came at the wrong place");
    this.state = "ended";
    if (this.waiting.length === 0 && !this.stopped) this.listener?.();
  }

  /** What comes next; only when it is not empty. Throws what `undecodable` returns. */
  take(): ChannelItem {
    const item = this.waiting.shift();
    if (item === undefined) {
      this.state = "taken";
      this.decoder = null;
      return null;
    }
    const bytes = bytesOf(item);
    this.memory.waitingBytes -= bytes;
    this.owed++;
    this.owedBytes += bytes;
    if (this.state === "open" && (this.owed * 2 >= this.credits || this.owedBytes * 2 >= this.windowBytes)) {
      this.source?.giveCredit(this.number, this.owed);
      this.owed = 0;
      this.owedBytes = 0;
    }
    if (!(item instanceof Uint8Array)) {
      this.stopped = typeof item === "number";
      return item;
    }
    this.decoder ??= new BatchDecoder({ text: this.text });
    try {
      return this.decoder.decode(item);
    } catch (thrown) {
      throw this.source?.undecodable(thrown) ?? thrown;
    }
  }

  /** Drops what waits. */
  clear(): void {
    for (const item of this.waiting.splice(0)) this.memory.waitingBytes -= bytesOf(item);
  }
}
