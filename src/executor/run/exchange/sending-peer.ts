/**
 * Everything that one executor sends to another one in one try: one connection, dialled when the first channel is opened.
 *
 * States: idle -> dialling -> connected -> finished (the receiver has said that it has everything) | failed.
 * Invariant: while the connection is above its high water no channel encodes; which channels are out of credit matters to themselves only.
 */
import { CodedError } from "../../../base/errors.js";
import type { TextCodec } from "../codec/index.js";
import type { ChannelId } from "../network.js";
import {
  controlFrame,
  FrameKind,
  failureFrame,
  MAX_CHANNELS,
  openFrame,
  protocolViolation,
  readFailure,
  readHeader,
} from "./frames.js";
import { OutputChannel } from "./output-channel.js";
import type { DataConnection, ExchangePeer, PeerTransport, TryName } from "./peer-transport.js";

export interface SendingPeerOptions {
  readonly peer: ExchangePeer;
  readonly name: TryName;
  readonly transport: PeerTransport;
  readonly text: TextCodec;
  readonly credits: number;
  readonly windowBytes: number;
  readonly maxPayloadBytes: number;
  /** The connection, or what came from it, is broken. */
  readonly onFailed: (cause: CodedError) => void;
  /** The other side says that its part of the try has failed. */
  readonly onPeerFailed: (cause: CodedError) => void;
}

export class SendingPeer {
  private readonly options: SendingPeerOptions;
  private readonly channels: OutputChannel[] = [];
  private readonly dialling = new AbortController();
  private connection: DataConnection | null = null;
  private state: "idle" | "dialling" | "connected" | "finished" | "failed" = "idle";
  private congested = false;
  private finishing = false;
  private saidGoodbye = false;
  private readonly finished: Promise<void>;
  private settle: { readonly resolve: () => void; readonly reject: (error: CodedError) => void } | null = null;

  constructor(options: SendingPeerOptions) {
    this.options = options;
    this.finished = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.finished.catch(() => undefined);
  }

  open(id: ChannelId): OutputChannel {
    const number = this.channels.length;
    if (number >= MAX_CHANNELS) throw new CodedError("LIMIT_EXCEEDED", `more than ${MAX_CHANNELS} channels to one executor`);
    const { text, credits, windowBytes, maxPayloadBytes } = this.options;
    const sink = {
      isReady: () => this.connection !== null && !this.congested,
      send: (frame: Uint8Array) => this.send(frame),
      ended: () => this.sayGoodbye(),
    };
    const channel = new OutputChannel({ id, number, sink, text, credits, windowBytes, maxPayloadBytes });
    this.channels.push(channel);
    if (this.state === "idle") void this.dial();
    else if (this.connection !== null) this.send(openFrame(number, id));
    return channel;
  }

  get isEnding(): boolean {
    return this.channels.every((channel) => channel.isEnding);
  }

  /** Resolves when the receiver has everything, and rejects when that can't be known. All channels must have been ended. */
  finish(): Promise<void> {
    if (this.state === "idle") return Promise.resolve();
    this.finishing = true;
    this.sayGoodbye();
    return this.finished;
  }

  /** Ends the connection; the other side is told why. */
  abort(error: CodedError): void {
    if (this.state === "finished" || this.state === "failed") return;
    this.state = "failed";
    for (const channel of this.channels) channel.fail(error);
    this.settle?.reject(error);
    this.dialling.abort(error);
    this.connection?.send(failureFrame(error.toShape()));
    this.connection?.close();
    this.connection = null;
  }

  /** Told by the network, once it has failed: senders must not wait any longer. */
  fail(error: CodedError): void {
    for (const channel of this.channels) channel.fail(error);
    this.settle?.reject(error);
  }

  private async dial(): Promise<void> {
    this.state = "dialling";
    const { transport, peer, name } = this.options;
    try {
      const connection = await transport.dial(peer, name, this.dialling.signal);
      if (this.state === "dialling") this.connected(connection);
      else connection.destroy();
    } catch (thrown) {
      this.broken(CodedError.from(thrown, "CONNECTION_LOST"));
    }
  }

  private connected(connection: DataConnection): void {
    this.state = "connected";
    this.connection = connection;
    for (const [number, { id }] of this.channels.entries()) connection.send(openFrame(number, id));
    connection.ended.then((reason) => this.broken(reason));
    connection.onFrame((frame) => this.onFrame(frame));
    this.pump();
  }

  private onFrame(frame: Uint8Array): void {
    if (this.connection === null) return;
    try {
      this.read(frame);
    } catch (thrown) {
      this.connection?.destroy();
      this.broken(CodedError.from(thrown, "PROTOCOL_VIOLATION"));
    }
  }

  private read(frame: Uint8Array): void {
    const { kind, channel, argument } = readHeader(frame);
    if (kind === FrameKind.CREDIT) {
      const output = this.channels[channel];
      if (output === undefined) throw protocolViolation("it gave credit to a channel that does not exist");
      output.credit(argument);
    } else if (kind === FrameKind.GOODBYE) {
      if (!this.channels.every((output) => output.isEnded)) throw protocolViolation("it left before the end of a channel");
      this.state = "finished";
      this.settle?.resolve();
      this.connection?.close();
      this.connection = null;
    } else if (kind === FrameKind.FAILURE) {
      this.state = "failed";
      this.connection?.close();
      this.connection = null;
      this.options.onPeerFailed(CodedError.fromShape(readFailure(frame)));
    } else {
      throw protocolViolation(`it sent a frame of kind ${kind}`);
    }
  }

  private send(frame: Uint8Array): void {
    const { connection } = this;
    if (connection === null || connection.send(frame) || this.congested) return;
    this.congested = true;
    connection.drained().then(() => {
      this.congested = false;
      this.pump();
    });
  }

  private pump(): void {
    for (const channel of this.channels) if (this.connection !== null) channel.pump();
  }

  private sayGoodbye(): void {
    if (!this.finishing || this.saidGoodbye || this.connection === null) return;
    if (!this.channels.every((channel) => channel.isEnded)) return;
    this.saidGoodbye = true;
    this.send(controlFrame(FrameKind.GOODBYE));
  }

  private broken(reason: CodedError): void {
    if (this.state === "finished" || this.state === "failed") return;
    this.state = "failed";
    this.connection = null;
    this.options.onFailed(reason);
  }
}
