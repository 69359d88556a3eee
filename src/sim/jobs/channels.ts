/**
 * The channels between executors of one try, as the engine uses them (contract: executor/run/network.ts): FIFO, with credits and latency. They end
 * with the process at either end.
 *
 * Modelled are order, delay, credits and failure; the real exchange (executor/run/exchange) has tests of its own.
 */
import { CodedError } from "../../base/errors.js";
import { InputGate } from "../../executor/run/input-gate.js";
import {
  type BatchInput,
  type BatchOutput,
  type ChannelId,
  type ChannelItem,
  channelKey,
  type ExchangeNetwork,
} from "../../executor/run/network.js";
import type { SeededRandom } from "../seed.js";
import type { SimProcess, World } from "../world.js";

const CREDITS = 4;

interface Channel {
  sender: Side | null;
  receiver: Side | null;
  push: ((item: ChannelItem) => void) | null;
  /** Arrived before the receiver opened its input. */
  readonly early: ChannelItem[];
  lastAt: number;
  onWay: number;
  waiting: number;
  unblock: (() => void) | null;
  isEnded: boolean;
}

/** One executor's network of the try. */
interface Side {
  readonly process: SimProcess;
  fail(error: CodedError): void;
}

export class ChannelWorld {
  private readonly world: World;
  private readonly random: SeededRandom;
  private readonly latency: { readonly minLatencyMs: number; readonly maxLatencyMs: number };
  /** By try and channel. */
  private readonly channels = new Map<string, Channel>();

  constructor(world: World, latency: { readonly minLatencyMs: number; readonly maxLatencyMs: number }) {
    this.world = world;
    this.random = world.random.fork("channels");
    this.latency = latency;
  }

  open(process: SimProcess, tryName: string): ExchangeNetwork {
    return new SimExchange(this, process, tryName);
  }

  channel(tryName: string, id: ChannelId): Channel {
    const key = `${tryName} ${channelKey(id)}`;
    const known = this.channels.get(key);
    if (known !== undefined) return known;
    const made: Channel = {
      sender: null,
      receiver: null,
      push: null,
      early: [],
      lastAt: 0,
      onWay: 0,
      waiting: 0,
      unblock: null,
      isEnded: false,
    };
    this.channels.set(key, made);
    return made;
  }

  /** Arrives behind what was sent before it. */
  deliver(channel: Channel, item: ChannelItem, arrived: () => void): void {
    const delayMs = this.random.between(this.latency.minLatencyMs, this.latency.maxLatencyMs);
    channel.lastAt = Math.max(channel.lastAt, this.world.now() + delayMs);
    channel.onWay += 1;
    const arrive = () => {
      channel.onWay -= 1;
      if (item === null) channel.isEnded = true;
      if (channel.push === null) channel.early.push(item);
      else channel.push(item);
      arrived();
    };
    this.world.schedule(channel.lastAt, "exchange", () => {
      const { receiver } = channel;
      // Handed over in the receiver's own time: one that is stopped takes it later, a dead one never.
      if (receiver === null) arrive();
      else this.world.schedule(this.world.now(), "exchange in", arrive, receiver.process);
    });
  }

  later(process: SimProcess, label: string, act: () => void): void {
    this.world.schedule(this.world.now() + this.latency.minLatencyMs, label, act, process);
  }
}

class SimExchange implements ExchangeNetwork {
  private readonly channels: ChannelWorld;
  private readonly tryName: string;
  private readonly outputs: Channel[] = [];
  private readonly inputs: Channel[] = [];
  private readonly gates: InputGate[] = [];
  private readonly side: Side;
  private failure: CodedError | null = null;
  private blocked: ((error: CodedError) => void)[] = [];
  private drained: (() => void) | null = null;

  constructor(channels: ChannelWorld, process: SimProcess, tryName: string) {
    this.channels = channels;
    this.tryName = tryName;
    this.side = { process, fail: (error) => this.fail(error) };
    process.onDeath(() => this.tellNeighbours("its process is gone"));
  }

  output(id: ChannelId): BatchOutput {
    const channel = this.channels.channel(this.tryName, id);
    channel.sender = this.side;
    this.outputs.push(channel);
    const give = (item: ChannelItem): true | Promise<void> => {
      if (this.failure !== null) return Promise.reject(this.failure);
      channel.waiting += 1;
      this.channels.deliver(channel, item, () => this.arrived());
      if (channel.waiting <= CREDITS) return true;
      return new Promise((resolve, reject) => {
        channel.unblock = resolve;
        this.blocked.push(reject);
      });
    };
    return {
      send: (records, start, count) => give(records.slice(start, start + count)),
      barrier: (checkpoint) => give(checkpoint),
      watermark: (watermark) => give(watermark),
      end: () => void (this.failure === null && this.channels.deliver(channel, null, () => this.arrived())),
    };
  }

  input(ids: readonly ChannelId[]): BatchInput {
    const opened = ids.map((id) => this.channels.channel(this.tryName, id));
    const gate = new InputGate({
      channels: ids,
      maxBatchesPerChannel: CREDITS + 2,
      onTaken: (index) => this.taken(opened[index]),
    });
    this.gates.push(gate);
    for (const [index, channel] of opened.entries()) {
      channel.receiver = this.side;
      this.inputs.push(channel);
      channel.push = (item) => gate.push(index, item);
      for (const item of channel.early.splice(0)) channel.push(item);
    }
    return gate;
  }

  async close(reason?: CodedError): Promise<void> {
    if (reason === undefined && this.failure === null) {
      if (this.outputs.some(({ onWay }) => onWay > 0))
        await new Promise<void>((resolve, reject) => {
          this.drained = resolve;
          this.blocked.push(reject);
        });
      return;
    }
    const error = reason ?? new CodedError("CLOSED", "The exchange network was closed.");
    if (this.failure === null) this.tellNeighbours(error.message);
    this.fail(error);
  }

  private taken(channel: Channel | undefined): void {
    if (channel?.sender == null) return;
    this.channels.later(channel.sender.process, "credit", () => {
      channel.waiting -= 1;
      if (channel.waiting > CREDITS) return;
      channel.unblock?.();
      channel.unblock = null;
    });
  }

  private arrived(): void {
    if (this.drained === null || this.outputs.some(({ onWay }) => onWay > 0)) return;
    this.drained();
    this.drained = null;
  }

  private tellNeighbours(why: string): void {
    const error = new CodedError("EXECUTOR_LOST", `A neighbour of the try is gone: ${why}`);
    const open = (channel: Channel) => !channel.isEnded;
    const neighbours = [
      ...this.outputs.filter(open).map(({ receiver }) => receiver),
      ...this.inputs.filter(open).map(({ sender }) => sender),
    ];
    for (const neighbour of new Set(neighbours))
      if (neighbour !== null && neighbour !== this.side)
        this.channels.later(neighbour.process, "exchange lost", () => neighbour.fail(error));
  }

  private fail(error: CodedError): void {
    if (this.failure !== null) return;
    this.failure = error;
    for (const gate of this.gates) gate.fail(error);
    for (const reject of this.blocked.splice(0)) reject(error);
  }
}
