/**
 * A transport within one process, for tests of hosts. It keeps the contract of env/transport.ts with queues instead of sockets; the simulator
 * has a richer one of its own. Delivery takes one microtask per burst, never a timer, so a test with a manual clock controls time completely.
 */
import { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { Connection, Listener, Transport } from "../../env/transport.js";

export interface MemoryTransportOptions {
  readonly maxFrameBytes?: number;
  readonly highWaterBytes?: number;
  readonly maxQueuedBytes?: number;
}

export interface MemoryTransport extends Transport {
  /** All connections that were made to this address break, as when its process is killed. With `close` of the listener: a dead process. */
  breakConnections(address: string): void;
  /** Frames to and from this address, and new connections to it, wait until `thaw`: a stopped process. */
  freeze(address: string): void;
  thaw(address: string): void;
}

interface Limits {
  readonly maxFrameBytes: number;
  readonly highWaterBytes: number;
  readonly maxQueuedBytes: number;
}

interface Network {
  readonly limits: Limits;
  readonly listeners: Map<string, (connection: Connection) => void>;
  readonly pairs: Map<string, Set<Side>>;
  readonly frozen: Set<string>;
  readonly waiting: Map<string, Set<() => void>>;
}

export function createMemoryTransport(clock: Clock, options: MemoryTransportOptions = {}): MemoryTransport {
  const limits = { maxFrameBytes: 4 * 1024 * 1024, highWaterBytes: 256 * 1024, maxQueuedBytes: 64 * 1024 * 1024, ...options };
  const network: Network = { limits, listeners: new Map(), pairs: new Map(), frozen: new Set(), waiting: new Map() };
  let nextPort = 40_000;

  return {
    async listen(address, onConnection) {
      const { host, port } = splitAddress(address);
      const actual = `${host}:${port === 0 ? nextPort++ : port}`;
      if (network.listeners.has(actual)) throw new CodedError("ADDRESS_IN_USE", `${actual} is listened on already`);
      network.listeners.set(actual, onConnection);
      const listener: Listener = {
        address: actual,
        close: async () => {
          network.listeners.delete(actual);
        },
      };
      return listener;
    },
    connect: (address, connectOptions) => connect(network, clock, address, `memory:${nextPort++}`, connectOptions),
    breakConnections(address) {
      for (const side of [...(network.pairs.get(address) ?? [])]) side.lose("the connection was broken");
    },
    freeze(address) {
      network.frozen.add(address);
    },
    thaw(address) {
      network.frozen.delete(address);
      for (const side of network.pairs.get(address) ?? []) side.pump();
      const waiting = network.waiting.get(address) ?? new Set();
      network.waiting.delete(address);
      for (const go of waiting) go();
    },
  };
}

function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const match = /^(.+):([0-9]{1,5})$/.exec(address);
  if (match?.[1] === undefined || match[2] === undefined)
    throw new CodedError("INVALID_ARGUMENT", `${address} is not an address host:port`);
  return { host: match[1], port: Number(match[2]) };
}

function connect(
  network: Network,
  clock: Clock,
  address: string,
  from: string,
  options: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    if (options.signal.aborted) {
      reject(options.signal.reason);
      return;
    }
    const settle = (act: () => void) => {
      timer.cancel();
      options.signal.removeEventListener("abort", onAbort);
      network.waiting.get(address)?.delete(attempt);
      act();
    };
    const onAbort = () => settle(() => reject(options.signal.reason));
    const timer = clock.at(clock.now() + options.timeoutMs, () =>
      settle(() => reject(new CodedError("TIMEOUT", `${address} did not answer within ${options.timeoutMs} ms`))),
    );
    const attempt = () => {
      if (network.frozen.has(address)) {
        const waiting = network.waiting.get(address) ?? new Set();
        waiting.add(attempt);
        network.waiting.set(address, waiting);
        return;
      }
      const accept = network.listeners.get(address);
      settle(() => {
        if (accept === undefined) reject(new CodedError("CONNECTION_REFUSED", `nobody listens at ${address}`));
        else resolve(openPair(network, address, from, accept));
      });
    };
    options.signal.addEventListener("abort", onAbort, { once: true });
    queueMicrotask(() => {
      if (!options.signal.aborted) attempt();
    });
  });
}

function openPair(network: Network, address: string, from: string, accept: (connection: Connection) => void): Connection {
  const here = new Side(network, address, address);
  const there = new Side(network, address, from);
  here.other = there;
  there.other = here;
  const pairs = network.pairs.get(address) ?? new Set();
  network.pairs.set(address, pairs);
  pairs.add(here).add(there);
  accept(there);
  return here;
}

/** One end; frames that it has sent wait in its own queue until the other end takes them. */
class Side implements Connection {
  readonly remote: string;
  readonly ended: Promise<CodedError>;
  other: Side | null = null;
  readonly #network: Network;
  readonly #address: string;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #listener: ((frame: Uint8Array) => void) | null = null;
  #paused = false;
  #closing = false;
  #over = false;
  #pumping = false;
  #maxFrameBytes: number;
  /** The other end has gone, and this one is not told before `thaw`. */
  #lost: string | null = null;
  #waiters: (() => void)[] = [];
  #settle: (reason: CodedError) => void = () => {};

  constructor(network: Network, address: string, remote: string) {
    this.#network = network;
    this.#address = address;
    this.remote = remote;
    this.#maxFrameBytes = network.limits.maxFrameBytes;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  send(frame: Uint8Array): boolean {
    if (this.#over || this.#closing) return true;
    this.#queue.push(frame.slice());
    this.#queuedBytes += frame.length;
    if (this.#queuedBytes > this.#network.limits.maxQueuedBytes) {
      this.#finish(
        new CodedError("LIMIT_EXCEEDED", `${this.remote} takes frames too slowly`),
        "the other side ended the connection",
      );
      return false;
    }
    this.pump();
    return this.#queuedBytes <= this.#network.limits.highWaterBytes;
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    this.#listener = listener;
    this.other?.pump();
  }

  drained(): Promise<void> {
    if (this.#over || this.#queuedBytes < this.#network.limits.highWaterBytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.other?.pump();
  }

  close(): void {
    if (this.#over || this.#closing) return;
    this.#closing = true;
    this.#listener = () => {};
    this.#paused = false;
    this.pump();
  }

  destroy(): void {
    this.#finish(new CodedError("CLOSED", "closed by this side"), "the other side ended the connection");
  }

  limitFrames(maxFrameBytes: number): void {
    this.#maxFrameBytes = maxFrameBytes;
  }

  lose(why: string): void {
    this.#finish(new CodedError("CONNECTION_LOST", `${this.remote}: ${why}`), why);
  }

  /** Gives queued frames to the other end, in a microtask of its own. */
  pump(): void {
    if (this.#pumping || this.#over) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      if (this.#lost !== null && !this.#network.frozen.has(this.#address)) this.lose(this.#lost);
      while (this.#queue.length > 0 && this.#otherTakes()) {
        const frame = this.#queue.shift() as Uint8Array;
        this.#queuedBytes -= frame.length;
        this.#wake();
        this.other?.take(frame);
      }
      if (this.#closing && this.#queue.length === 0 && !this.#over && !this.#network.frozen.has(this.#address)) this.destroy();
    });
  }

  take(frame: Uint8Array): void {
    if (frame.length <= this.#maxFrameBytes) this.#listener?.(frame);
    else
      this.#finish(
        new CodedError("LIMIT_EXCEEDED", `${this.remote} sent a frame of ${frame.length} bytes`),
        "the other side ended the connection",
      );
  }

  #otherTakes(): boolean {
    const other = this.other;
    return (
      !this.#over &&
      other !== null &&
      other.#listener !== null &&
      !other.#paused &&
      !other.#over &&
      !this.#network.frozen.has(this.#address)
    );
  }

  #wake(): void {
    if (!this.#over && this.#queuedBytes >= this.#network.limits.highWaterBytes) return;
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  #finish(reason: CodedError, toldOther: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#network.pairs.get(this.#address)?.delete(this);
    this.#wake();
    this.#settle(reason);
    if (this.other === null) return;
    if (this.#network.frozen.has(this.#address)) this.other.#lost = toldOther;
    else this.other.lose(toldOther);
  }
}
