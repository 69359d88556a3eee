/**
 * One connection that another executor of the try has made to send its batches through.
 *
 * Boundary: reads frames and checks them; what they carry goes to inboxes. It never pauses the connection: credits bound what waits.
 *
 * States: silent -> open -> finished | failed. A silent one has sent nothing yet: its dialler may have given it up while this event loop was
 * busy, and dials again. So its end is no failure, and nothing is lost with it.
 */
import { CodedError } from "../../../base/errors.js";
import type { ChannelId } from "../network.js";
import {
  bodyOf,
  controlFrame,
  FrameKind,
  failureFrame,
  MAX_CHANNELS,
  protocolViolation,
  readBarrier,
  readFailure,
  readHeader,
  readOpen,
  readWatermark,
} from "./frames.js";
import type { Inbox, InboxSource } from "./inbox.js";
import type { DataConnection } from "./peer-transport.js";

export interface ReceivingPeerOptions {
  readonly connection: DataConnection;
  readonly fromSubtask: number;
  readonly toSubtask: number;
  readonly inboxOf: (id: ChannelId) => Inbox;
  /** The connection, or what came from it, is broken. Returns what the network failed with. */
  readonly onFailed: (cause: CodedError) => CodedError;
  readonly onPeerFailed: (cause: CodedError) => void;
  /** It ended before it had sent anything. */
  readonly onGivenUp: () => void;
  /** It has sent everything. */
  readonly onFinished: () => void;
}

export class ReceivingPeer implements InboxSource {
  private readonly options: ReceivingPeerOptions;
  private readonly inboxes: Inbox[] = [];
  private state: "silent" | "open" | "finished" | "failed" = "silent";

  constructor(options: ReceivingPeerOptions) {
    this.options = options;
  }

  /** Frames flow from here on. */
  start(): void {
    const { connection } = this.options;
    connection.ended.then((reason) => this.broken(reason));
    connection.onFrame((frame) => this.onFrame(frame));
    connection.resume();
  }

  get isSilent(): boolean {
    return this.state === "silent";
  }

  /** Of a silent one, whose dialler has made another connection. */
  giveUp(): void {
    this.state = "failed";
    this.options.connection.destroy();
  }

  /** All channels that were announced have ended. */
  get hasEnded(): boolean {
    return this.inboxes.every((inbox) => inbox.hasEnded);
  }

  giveCredit(channel: number, count: number): void {
    if (this.state === "open") this.options.connection.send(controlFrame(FrameKind.CREDIT, channel, count));
  }

  undecodable(cause: unknown): CodedError {
    const error = CodedError.from(cause, "PROTOCOL_VIOLATION");
    this.state = "failed";
    this.options.connection.destroy();
    return this.options.onFailed(error);
  }

  /** This side needs nothing more: everything has arrived. */
  finish(): void {
    if (this.isConnected) this.options.connection.send(controlFrame(FrameKind.GOODBYE));
    this.state = "finished";
    this.options.connection.close();
  }

  abort(error: CodedError): void {
    if (this.isConnected) this.options.connection.send(failureFrame(error.toShape()));
    this.state = "failed";
    this.options.connection.close();
  }

  private get isConnected(): boolean {
    return this.state === "silent" || this.state === "open";
  }

  private onFrame(frame: Uint8Array): void {
    if (!this.isConnected) return;
    this.state = "open";
    try {
      this.read(frame);
    } catch (thrown) {
      this.undecodable(thrown);
    }
  }

  private read(frame: Uint8Array): void {
    const { kind, channel, argument } = readHeader(frame);
    switch (kind) {
      case FrameKind.BATCH:
        this.inbox(channel).batch(bodyOf(frame), argument);
        return;
      case FrameKind.BARRIER:
        this.inbox(channel).barrier(readBarrier(frame), argument);
        return;
      case FrameKind.WATERMARK:
        this.inbox(channel).watermark(readWatermark(frame), argument);
        return;
      case FrameKind.END:
        this.inbox(channel).end(argument);
        return;
      case FrameKind.OPEN:
        this.open(channel, readOpen(frame));
        return;
      case FrameKind.GOODBYE:
        if (!this.hasEnded) throw protocolViolation("it left before the end of a channel");
        this.options.connection.send(controlFrame(FrameKind.GOODBYE));
        this.state = "finished";
        this.options.onFinished();
        return;
      case FrameKind.FAILURE:
        this.options.onPeerFailed(CodedError.fromShape(readFailure(frame)));
        this.state = "failed";
        this.options.connection.close();
        return;
      default:
        throw protocolViolation(`it sent a frame of kind ${kind}`);
    }
  }

  private open(number: number, id: ChannelId): void {
    if (number !== this.inboxes.length || number >= MAX_CHANNELS) throw protocolViolation("it numbered its channels wrongly");
    if (id.fromSubtask !== this.options.fromSubtask || id.toSubtask !== this.options.toSubtask)
      throw protocolViolation("it announced a channel that is not its own");
    const inbox = this.options.inboxOf(id);
    inbox.announced(this, number);
    this.inboxes.push(inbox);
  }

  private inbox(number: number): Inbox {
    const inbox = this.inboxes[number];
    if (inbox === undefined) throw protocolViolation("it sent a batch on a channel that it has not announced");
    return inbox;
  }

  private broken(reason: CodedError): void {
    if (!this.isConnected) return;
    const wasSilent = this.isSilent;
    this.state = "failed";
    if (wasSilent) this.options.onGivenUp();
    else this.options.onFailed(reason);
  }
}
