/**
 * The sending end of a channel to another process.
 *
 * Invariants:
 *   1. Frames on the way or waiting at the receiver never exceed the credits, nor `windowBytes` by more than one frame; what exceeds them is
 *      held as records, one batch at most.
 *   2. A frame is encoded only when it can be handed to the connection at once, so that nothing encoded waits here.
 *   3. Batches of large records are cut to about TARGET_FRAME_BYTES each, and never exceed `maxPayloadBytes`.
 */
import { assert } from "../../../base/assert.js";
import { CodedError } from "../../../base/errors.js";
import type { Watermark } from "../../../dataflow/time/watermarks.js";
import { BatchEncoder, type TextCodec } from "../codec/index.js";
import type { BatchOutput, ChannelId } from "../network.js";
import {
  barrierFrame,
  controlFrame,
  FRAME_HEADER_BYTES,
  FrameKind,
  protocolViolation,
  watermarkFrame,
  writeHeader,
} from "./frames.js";

/** A frame of many records is not meant to be much larger; one record may be. */
const TARGET_FRAME_BYTES = 1024 * 1024;

/** The connection below, which all channels to the same process share. */
export interface FrameSink {
  /** There is a connection, and less than its high water waits in it. */
  isReady(): boolean;
  send(frame: Uint8Array): void;
  /** All that the channel had to say is said. */
  ended(): void;
}

export interface OutputChannelOptions {
  readonly id: ChannelId;
  readonly number: number;
  readonly sink: FrameSink;
  readonly text: TextCodec;
  readonly credits: number;
  readonly windowBytes: number;
  readonly maxPayloadBytes: number;
}

interface Held {
  /** A number: the barrier of that checkpoint. */
  readonly item: readonly unknown[] | number | Watermark;
  next: number;
  readonly resolve: () => void;
  readonly reject: (error: CodedError) => void;
}

export class OutputChannel implements BatchOutput {
  readonly id: ChannelId;
  private readonly options: OutputChannelOptions;
  private readonly encoder: BatchEncoder;
  private credits: number;
  /** Sizes of the batches whose credit has not come back, oldest first, and their sum. */
  private readonly underway: number[] = [];
  private underwayBytes = 0;
  private sequence = 0;
  private bytesPerRecord = 0;
  private held: Held | null = null;
  private state: "open" | "ending" | "ended" = "open";
  private failure: CodedError | null = null;

  constructor(options: OutputChannelOptions) {
    this.options = options;
    this.id = options.id;
    this.credits = options.credits;
    const { text, maxPayloadBytes } = options;
    this.encoder = new BatchEncoder({ text, maxPayloadBytes, headerBytes: FRAME_HEADER_BYTES });
  }

  /** The receiver has everything that was and will be sent, as far as this side can say. */
  get isEnded(): boolean {
    return this.state === "ended";
  }

  /** `end` was called, though what was sent may still be held. */
  get isEnding(): boolean {
    return this.state !== "open";
  }

  send(records: readonly unknown[], start: number, count: number): true | Promise<void> {
    assert(this.held === null && this.state === "open", "a batch was sent on a channel that is out of credit or has ended");
    if (this.failure !== null) return Promise.reject(this.failure);
    try {
      const sent = this.transmit(records, start, count);
      if (sent === count) return true;
      const rest = records.slice(start + sent, start + count);
      return new Promise((resolve, reject) => {
        this.held = { item: rest, next: 0, resolve, reject };
      });
    } catch (thrown) {
      this.failure = this.unsendable(thrown);
      return Promise.reject(this.failure);
    }
  }

  barrier(id: number): true | Promise<void> {
    return this.sendMark(id);
  }

  watermark(watermark: Watermark): true | Promise<void> {
    return this.sendMark(watermark);
  }

  private sendMark(mark: number | Watermark): true | Promise<void> {
    assert(this.held === null && this.state === "open", "a mark was sent on a channel that is out of credit or has ended");
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.transmitMark(mark)) return true;
    return new Promise((resolve, reject) => {
      this.held = { item: mark, next: 0, resolve, reject };
    });
  }

  end(): void {
    if (this.failure !== null || this.state !== "open") return;
    this.state = "ending";
    this.pump();
  }

  credit(count: number): void {
    if (count > this.underway.length) throw protocolViolation("it gave back more credits than it had");
    this.credits += count;
    for (const bytes of this.underway.splice(0, count)) this.underwayBytes -= bytes;
    this.pump();
  }

  /** Goes on with what is held, as far as credit and connection allow. */
  pump(): void {
    const { held } = this;
    if (held !== null) {
      if (!this.transmitHeld(held)) return;
      this.held = null;
      held.resolve();
    }
    if (this.state === "ending" && this.options.sink.isReady()) {
      this.state = "ended";
      this.options.sink.send(controlFrame(FrameKind.END, this.options.number, this.sequence));
      this.options.sink.ended();
    }
  }

  fail(error: CodedError): void {
    this.failure ??= error;
    this.held?.reject(this.failure);
    this.held = null;
  }

  /** True: all of it is sent. */
  private transmitHeld(held: Held): boolean {
    const { item } = held;
    if (!isRecords(item)) return this.transmitMark(item);
    try {
      held.next += this.transmit(item, held.next, item.length - held.next);
    } catch (thrown) {
      this.fail(this.unsendable(thrown));
      return false;
    }
    return held.next === item.length;
  }

  private transmitMark(mark: number | Watermark): boolean {
    const { sink, number, windowBytes } = this.options;
    if (this.credits === 0 || this.underwayBytes >= windowBytes || !sink.isReady()) return false;
    const frame =
      typeof mark === "number" ? barrierFrame(number, this.sequence, mark) : watermarkFrame(number, this.sequence, mark);
    this.sent(frame.length);
    sink.send(frame);
    return true;
  }

  /** A frame takes its place in the order, a credit, and its bytes of the window. */
  private sent(frameBytes: number): void {
    this.sequence = (this.sequence + 1) >>> 0;
    this.credits--;
    this.underway.push(frameBytes - FRAME_HEADER_BYTES);
    this.underwayBytes += frameBytes - FRAME_HEADER_BYTES;
  }

  /** Sends what may be sent now; returns the number of records. */
  private transmit(records: readonly unknown[], start: number, count: number): number {
    const { sink, number, windowBytes } = this.options;
    let sent = 0;
    while (sent < count && this.credits > 0 && this.underwayBytes < windowBytes && sink.isReady()) {
      const most = Math.max(1, Math.floor(TARGET_FRAME_BYTES / Math.max(1, this.bytesPerRecord)));
      const { bytes, consumed } = this.encoder.encode(records, start + sent, Math.min(count - sent, most));
      this.bytesPerRecord = bytes.length / consumed;
      writeHeader(bytes, FrameKind.BATCH, number, this.sequence);
      this.sent(bytes.length);
      sent += consumed;
      sink.send(bytes);
    }
    return sent;
  }

  private unsendable(thrown: unknown): CodedError {
    const { code, message, hint } = CodedError.from(thrown, "BAD_RECORD");
    return new CodedError(code, `A record can't be sent through the exchange ${this.id.edge}: ${message}`, {
      ...(hint === null ? {} : { hint }),
      cause: thrown,
    });
  }
}

function isRecords(item: readonly unknown[] | number | Watermark): item is readonly unknown[] {
  return Array.isArray(item);
}
