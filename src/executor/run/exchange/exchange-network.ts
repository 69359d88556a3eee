/**
 * The network of one try between executor processes: the contract of `network.ts` over one connection for each pair of executors and
 * direction. Channels within this process stay in it, unencoded.
 *
 * Invariants:
 *   1. A broken connection, bytes that are none, or a neighbour's failure fail the network with EXECUTOR_LOST, which names the neighbour. (A
 *      connection that ends before it has carried a frame is none: its dialler gave it up and dials again, or tells its own failure.)
 *   2. `close()` without a reason, once every channel has ended, resolves when all receivers have everything, and rejects when one is lost.
 *      It waits as long as they live: the driver judges their lives, and closes with a reason.
 *   3. In any other case `close` drops what is under way, and tells the neighbours why. After it no connection of the try is open.
 */
import { assert, present } from "../../../base/assert.js";
import { CodedError } from "../../../base/errors.js";
import { MAX_PAYLOAD_BYTES, type TextCodec } from "../codec/index.js";
import { createLocalNetwork } from "../local-network.js";
import { type BatchInput, type BatchOutput, type ChannelId, channelKey, type ExchangeNetwork } from "../network.js";
import { ExchangeInput } from "./exchange-input.js";
import { Inbox, type WaitingBytes } from "./inbox.js";
import type { DataConnection, ExchangePeer, PeerTransport, TryName } from "./peer-transport.js";
import { ReceivingPeer } from "./receiving-peer.js";
import { SendingPeer } from "./sending-peer.js";

/**
 * Batches of a channel on the way. More than in one process (CREDITS_PER_CHANNEL): a round trip takes a turn of two event loops, and what
 * waits are bytes, not objects.
 */
export const EXCHANGE_CREDITS = 32;
/** Bytes of a channel on the way: large batches are stopped sooner than by the credits. */
export const EXCHANGE_WINDOW_BYTES = 4 * 1024 * 1024;

export interface ExchangeNetworkOptions extends TryName {
  /** Of this executor. */
  readonly subtask: number;
  /** All executors of the try by subtask, this one among them. */
  readonly peers: readonly ExchangePeer[];
  readonly transport: PeerTransport;
  readonly text: TextCodec;
  readonly creditsPerChannel?: number;
  readonly windowBytesPerChannel?: number;
  /** Bound of one encoded batch; larger ones are cut. */
  readonly maxPayloadBytes?: number;
}

export interface PeerNetwork extends ExchangeNetwork {
  /** Encoded bytes that arrived and were not polled: now, and the most so far. */
  readonly waiting: () => Readonly<WaitingBytes>;
}

export class PeerExchangeNetwork implements PeerNetwork {
  readonly name: TryName;
  private readonly options: ExchangeNetworkOptions;
  private readonly credits: number;
  private readonly windowBytes: number;
  private readonly local;
  private readonly senders = new Map<number, SendingPeer>();
  private readonly receivers = new Map<number, ReceivingPeer>();
  /** Subtasks that have sent everything. */
  private readonly finished = new Set<number>();
  private readonly inboxes = new Map<string, Inbox>();
  private readonly opened = new Set<Inbox>();
  private readonly inputs: ExchangeInput[] = [];
  private readonly memory: WaitingBytes = { waitingBytes: 0, peakBytes: 0 };
  private failure: CodedError | null = null;
  private closing: Promise<void> | null = null;
  private over = false;

  constructor(options: ExchangeNetworkOptions) {
    this.options = options;
    this.name = { attempt: options.attempt, try: options.try };
    this.credits = options.creditsPerChannel ?? EXCHANGE_CREDITS;
    this.windowBytes = options.windowBytesPerChannel ?? EXCHANGE_WINDOW_BYTES;
    this.local = createLocalNetwork(
      options.creditsPerChannel === undefined ? {} : { creditsPerChannel: options.creditsPerChannel },
    );
  }

  waiting(): Readonly<WaitingBytes> {
    return { ...this.memory };
  }

  output(channel: ChannelId): BatchOutput {
    assert(channel.fromSubtask === this.options.subtask, "an output of another executor's channel");
    if (channel.toSubtask === this.options.subtask) return this.local.output(channel);
    const output = this.senderTo(channel.toSubtask).open(channel);
    if (this.failure !== null) output.fail(this.failure);
    return output;
  }

  input(channels: readonly ChannelId[]): BatchInput {
    const own = channels.filter(({ fromSubtask }) => fromSubtask === this.options.subtask);
    const others = channels.filter(({ fromSubtask }) => fromSubtask !== this.options.subtask);
    const inboxes = others.map((channel) => this.inboxOf(channel));
    for (const inbox of inboxes) this.opened.add(inbox);
    const input = new ExchangeInput(inboxes, own.length === 0 ? null : this.local.input(own));
    this.inputs.push(input);
    if (this.failure !== null) input.fail(this.failure);
    for (const subtask of this.finished) this.expectComplete(subtask);
    return input;
  }

  /** A connection that an executor has made for this try. Null: accepted; else why not. */
  accept(connection: DataConnection, processId: string): string | null {
    const subtask = this.options.peers.findIndex((peer) => peer.processId === processId);
    if (subtask < 0 || subtask === this.options.subtask) return "it has no part in the try";
    if (this.over || this.failure !== null) return "the try is over";
    const earlier = this.receivers.get(subtask);
    if (earlier !== undefined && !earlier.isSilent) return "it is connected already";
    earlier?.giveUp();
    const receiver = new ReceivingPeer({
      connection,
      fromSubtask: subtask,
      toSubtask: this.options.subtask,
      inboxOf: (id) => this.inboxOf(id),
      onFailed: (cause) => this.lost(subtask, `The exchange with executor ${processId} broke`, cause),
      onPeerFailed: (cause) => this.lost(subtask, `Executor ${processId} has stopped`, cause),
      onGivenUp: () => {
        if (this.receivers.get(subtask) === receiver) this.receivers.delete(subtask);
      },
      onFinished: () => {
        this.finished.add(subtask);
        this.expectComplete(subtask);
      },
    });
    this.receivers.set(subtask, receiver);
    receiver.start();
    return null;
  }

  close(reason?: CodedError): Promise<void> {
    if (reason === undefined && this.failure === null && this.isComplete()) {
      this.closing ??= this.finish();
      return this.closing;
    }
    return this.abort(reason ?? this.failure ?? new CodedError("CLOSED", "The exchange network was closed."));
  }

  private async finish(): Promise<void> {
    try {
      await Promise.all([...this.senders.values()].map((sender) => sender.finish()));
    } catch (thrown) {
      await this.abort(CodedError.from(thrown));
      throw thrown;
    }
    if (this.over) return;
    this.over = true;
    for (const receiver of this.receivers.values()) receiver.finish();
    await this.local.close();
  }

  private async abort(error: CodedError): Promise<void> {
    if (this.over) return;
    this.over = true;
    this.fail(error);
    for (const sender of this.senders.values()) sender.abort(error);
    for (const receiver of this.receivers.values()) receiver.abort(error);
    for (const inbox of this.inboxes.values()) inbox.clear();
    await this.local.close(error);
  }

  /** Nothing is left to be sent or received. */
  private isComplete(): boolean {
    const isSent = [...this.senders.values()].every((sender) => sender.isEnding);
    return isSent && [...this.opened].every((inbox) => inbox.hasEnded);
  }

  private fail(error: CodedError): CodedError {
    if (this.failure !== null) return this.failure;
    this.failure = error;
    for (const sender of this.senders.values()) sender.fail(error);
    for (const input of this.inputs) input.fail(error);
    void this.local.close(error);
    return error;
  }

  private lost(subtask: number, what: string, cause: CodedError): CodedError {
    const { processId } = this.peer(subtask);
    const details = { processId, attempt: this.options.attempt, cause: cause.code };
    return this.fail(new CodedError("EXECUTOR_LOST", `${what}: ${cause.message}`, { details, cause }));
  }

  /** Whoever has sent everything must have sent all that somebody here waits for. */
  private expectComplete(subtask: number): void {
    for (const inbox of this.opened) {
      if (inbox.id.fromSubtask !== subtask || inbox.hasEnded) continue;
      const cause = new CodedError("PROTOCOL_VIOLATION", `it left without the channel ${channelKey(inbox.id)}`);
      this.lost(subtask, `The exchange with executor ${this.peer(subtask).processId} broke`, cause);
    }
  }

  private inboxOf(id: ChannelId): Inbox {
    const key = channelKey(id);
    const known = this.inboxes.get(key);
    if (known !== undefined) return known;
    const inbox = new Inbox(id, {
      credits: this.credits,
      windowBytes: this.windowBytes,
      text: this.options.text,
      memory: this.memory,
    });
    this.inboxes.set(key, inbox);
    return inbox;
  }

  private senderTo(subtask: number): SendingPeer {
    const known = this.senders.get(subtask);
    if (known !== undefined) return known;
    const peer = this.peer(subtask);
    const { transport, text, maxPayloadBytes } = this.options;
    const sender = new SendingPeer({
      peer,
      name: this.name,
      transport,
      text,
      credits: this.credits,
      windowBytes: this.windowBytes,
      maxPayloadBytes: maxPayloadBytes ?? MAX_PAYLOAD_BYTES,
      onFailed: (cause) => void this.lost(subtask, `The exchange with executor ${peer.processId} broke`, cause),
      onPeerFailed: (cause) => void this.lost(subtask, `Executor ${peer.processId} has stopped`, cause),
    });
    this.senders.set(subtask, sender);
    return sender;
  }

  private peer(subtask: number): ExchangePeer {
    return present(this.options.peers[subtask], `executor of subtask ${subtask}`);
  }
}
