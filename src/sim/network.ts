/**
 * The simulated network: frames between processes, with latency, slow links, cuts between machines in one or both directions, and between a machine
 * and one listener of another.
 *
 * It keeps the contract of env/transport.ts as TCP does: each direction of a connection is a FIFO stream, loss is delay and never a hole.
 *   - A process that dies closes its sockets: the other side learns of it one latency later, unless the link is cut; then it never does,
 *     and only its own silence tells (heartbeats). Connecting to a dead process on a living machine is refused.
 *   - Across a cut nothing travels; frames wait and arrive after the heal when both ends still live. A new connection times out.
 *   - A paused process accepts connections (its kernel does) and answers nothing.
 */
import { CodedError } from "../base/errors.js";
import type { Connection, Transport } from "../env/transport.js";
import type { SeededRandom } from "./seed.js";
import type { SimProcess, World } from "./world.js";

/** Sees every frame when it is delivered to a running process. */
export type FrameTap = (from: SimProcess, to: SimProcess, frame: Uint8Array) => void;

export interface NetworkOptions {
  readonly minLatencyMs: number;
  readonly maxLatencyMs: number;
  /** Share of frames that take TAIL_LATENCY_MS: a retransmission. */
  readonly tailShare: number;
}

const TAIL_LATENCY_MS = 300;
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
const HIGH_WATER_BYTES = 256 * 1024;

export interface Network {
  transportFor(process: SimProcess): Transport;
  /** Nothing travels from one machine to the other any more, until the result is called. */
  cut(from: string, to: string): () => void;
  /** A firewall drops what goes between a machine and one listener, both ways; other listeners of that machine are reached as before. */
  cutListener(machine: string, address: string): () => void;
  /** Ends all faults of wires. */
  heal(): void;
  /** Frames are answered by RST and new connections refused, as by a firewall that rejects; what is open breaks now. Both directions. */
  reject(from: string, to: string): () => void;
  /** All connections between the two break, as when a router forgets them; new ones are possible at once. */
  reset(one: string, another: string): void;
  /** Multiplies latencies of this machine's links. */
  slow(machine: string, factor: number): () => void;
  /** The machine lost its power: its processes' deaths are told to nobody, and nobody answers there. */
  machineDown(machine: string): void;
  /** Whoever still has a connection to a process of before learns that it is gone. */
  machineUp(machine: string): void;
  /** For checkers: who listens. */
  listeners(): ReadonlyMap<string, SimProcess>;
}

interface Wire {
  readonly world: World;
  readonly random: SeededRandom;
  readonly options: NetworkOptions;
  /** How many cuts hold each direction, or flow. */
  readonly cuts: Map<string, number>;
  readonly slowed: Map<string, number>;
  readonly listening: Map<string, { readonly owner: SimProcess; readonly accept: (connection: Connection) => void }>;
  /** What waits for a heal, by what holds it. */
  readonly stuck: Map<string, { readonly go: () => void; readonly owner: SimProcess | null }[]>;
  readonly rejected: Map<string, number>;
  readonly down: Set<string>;
  /** Ends of connections whose other end died with its machine. */
  readonly halfOpen: Map<string, Set<Side>>;
  readonly open: Set<Side>;
  readonly tap: FrameTap | null;
}

const direction = (from: string, to: string): string => `${from}>${to}`;
/** All connections of a machine to a listener, both ways. */
const flow = (machine: string, address: string): string => `${machine}|${address}`;

export function createNetwork(world: World, options: NetworkOptions, tap: FrameTap | null = null): Network {
  const wire: Wire = {
    world,
    random: world.random.fork("network"),
    options,
    cuts: new Map(),
    slowed: new Map(),
    listening: new Map(),
    stuck: new Map(),
    rejected: new Map(),
    down: new Set(),
    halfOpen: new Map(),
    open: new Set(),
    tap,
  };
  let nextPort = 30_000;
  return {
    transportFor: (process) => ({
      listen: async (address, onConnection) => {
        const [host = "", port = "0"] = address.split(":");
        const actual = `${host}:${port === "0" ? nextPort++ : port}`;
        const present = wire.listening.get(actual);
        if (present !== undefined && present.owner.state !== "dead")
          throw new CodedError("ADDRESS_IN_USE", `${actual} is listened on already`);
        const entry = { owner: process, accept: onConnection };
        wire.listening.set(actual, entry);
        const close = () => {
          if (wire.listening.get(actual) === entry) wire.listening.delete(actual);
        };
        process.onDeath(close);
        return { address: actual, close: async () => close() };
      },
      connect: (address, connectOptions) => connect(wire, process, address, connectOptions),
    }),
    cut: (from, to) => counted(wire.cuts, direction(from, to), () => release(wire, direction(from, to))),
    cutListener: (machine, address) => counted(wire.cuts, flow(machine, address), () => release(wire, flow(machine, address))),
    heal: () => {
      wire.cuts.clear();
      wire.rejected.clear();
      wire.slowed.clear();
      for (const way of [...wire.stuck.keys()]) release(wire, way);
    },
    reject: (from, to) => {
      const back = counted(wire.rejected, direction(from, to));
      const forth = counted(wire.rejected, direction(to, from));
      for (const side of [...wire.open]) side.breakBetween(from, to);
      return () => {
        back();
        forth();
      };
    },
    reset: (one, another) => {
      for (const side of [...wire.open]) side.breakBetween(one, another);
    },
    machineDown: (machine) => void wire.down.add(machine),
    machineUp: (machine) => {
      wire.down.delete(machine);
      const ends = wire.halfOpen.get(machine) ?? new Set();
      wire.halfOpen.delete(machine);
      for (const side of ends) side.lose();
    },
    slow: (machine, factor) => {
      wire.slowed.set(machine, factor);
      return () => void wire.slowed.delete(machine);
    },
    listeners: () => new Map([...wire.listening].map(([address, entry]) => [address, entry.owner])),
  };
}

/** From one machine to another, on a connection of `flow`. */
interface Way {
  readonly from: string;
  readonly to: string;
  readonly flow: string;
}

/** Two that hold the same hold it until both have let go. */
function counted(holds: Map<string, number>, key: string, onFree: () => void = () => {}): () => void {
  holds.set(key, (holds.get(key) ?? 0) + 1);
  let isHeld = true;
  return () => {
    const count = holds.get(key) ?? 0;
    if (!isHeld || count === 0) return;
    isHeld = false;
    if (count > 1) holds.set(key, count - 1);
    else {
      holds.delete(key);
      onFree();
    }
  };
}

/** At once and in order, so that nothing sent after the heal overtakes what waited for it. */
function release(wire: Wire, way: string): void {
  const waiting = wire.stuck.get(way) ?? [];
  wire.stuck.delete(way);
  for (const { go, owner } of waiting) wire.world.schedule(wire.world.now(), "healed", go, owner);
}

function latencyMs(wire: Wire, from: string, to: string): number {
  const { minLatencyMs, maxLatencyMs, tailShare } = wire.options;
  const base = wire.random.chance(tailShare) ? TAIL_LATENCY_MS : wire.random.between(minLatencyMs, maxLatencyMs);
  return base * Math.max(wire.slowed.get(from) ?? 1, wire.slowed.get(to) ?? 1);
}

/** Runs `go` in the name of `owner` (null: of the kernels) after one latency, or after the heal when the way is cut by then. */
function travel(wire: Wire, way: Way, notBefore: number, label: string, go: () => void, owner: SimProcess | null = null): number {
  const at = Math.max(notBefore, wire.world.now() + latencyMs(wire, way.from, way.to));
  wire.world.schedule(at, label, () => arrive(wire, way, go, owner), owner);
  return at;
}

function arrive(wire: Wire, way: Way, go: () => void, owner: SimProcess | null): void {
  const hold = wire.cuts.size === 0 ? undefined : holdOf(wire, way);
  if (hold === undefined) {
    go();
    return;
  }
  const waiting = wire.stuck.get(hold) ?? [];
  waiting.push({ go: () => arrive(wire, way, go, owner), owner });
  wire.stuck.set(hold, waiting);
}

function holdOf({ cuts }: Wire, { from, to, flow: own }: Way): string | undefined {
  return [direction(from, to), own].find((key) => cuts.has(key));
}

function connect(
  wire: Wire,
  from: SimProcess,
  address: string,
  options: { readonly signal: AbortSignal; readonly timeoutMs: number },
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    if (options.signal.aborted) {
      reject(options.signal.reason);
      return;
    }
    let settled = false;
    const settle = (act: () => void) => {
      if (settled) return;
      settled = true;
      timer.cancel();
      options.signal.removeEventListener("abort", onAbort);
      act();
    };
    const onAbort = () => settle(() => reject(options.signal.reason));
    const timer = from.clock.at(from.clock.now() + options.timeoutMs, () =>
      settle(() => reject(new CodedError("TIMEOUT", `${address} did not answer within ${options.timeoutMs} ms`))),
    );
    options.signal.addEventListener("abort", onAbort, { once: true });
    const host = address.split(":")[0] ?? "";
    const there: Way = { from: from.machine, to: host, flow: flow(from.machine, address) };
    const back: Way = { ...there, from: host, to: from.machine };
    // SYN there, SYN-ACK or RST back; the answer is given to the caller in its own name, so a paused caller gets it later.
    travel(wire, there, 0, "syn", () => {
      if (wire.down.has(host)) return;
      const entry = wire.listening.get(address);
      const target = entry?.owner;
      const isRejected = wire.rejected.has(direction(from.machine, host));
      if (entry === undefined || target === undefined || target.state === "dead" || isRejected) {
        const refuse = () => settle(() => reject(new CodedError("CONNECTION_REFUSED", `nobody listens at ${address}`)));
        travel(wire, back, 0, "rst", refuse, from);
        return;
      }
      const connected = () => {
        if (settled) return;
        const pair = openPair(wire, from, target, address);
        wire.world.schedule(wire.world.now(), "accepted", () => entry.accept(pair.there), target);
        settle(() => resolve(pair.here));
      };
      travel(wire, back, 0, "syn-ack", connected, from);
    });
  });
}

function openPair(
  wire: Wire,
  from: SimProcess,
  to: SimProcess,
  address: string,
): { readonly here: Connection; readonly there: Connection } {
  const own = flow(from.machine, address);
  const here = new Side(wire, from, { from: from.machine, to: to.machine, flow: own }, address);
  const there = new Side(wire, to, { from: to.machine, to: from.machine, flow: own }, `${from.machine}:client`);
  here.other = there;
  there.other = here;
  return { here, there };
}

class Side implements Connection {
  readonly remote: string;
  readonly ended: Promise<CodedError>;
  other: Side | null = null;
  readonly #wire: Wire;
  readonly #owner: SimProcess;
  readonly #way: Way;
  readonly #received: Uint8Array[] = [];
  #listener: ((frame: Uint8Array) => void) | null = null;
  #paused = false;
  #over = false;
  #maxFrameBytes = Number.POSITIVE_INFINITY;
  #lastArrival = 0;
  /** Bytes sent that the other side has not taken yet. */
  #inFlightBytes = 0;
  #waiters: (() => void)[] = [];
  #settle: (reason: CodedError) => void = () => {};
  readonly #forgetDeath: () => void;

  constructor(wire: Wire, owner: SimProcess, way: Way, remote: string) {
    this.#wire = wire;
    this.#owner = owner;
    this.#way = way;
    this.remote = remote;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#forgetDeath = owner.onDeath(() => this.#die());
    wire.open.add(this);
    if (owner.state === "dead") this.#die();
  }

  send(frame: Uint8Array): boolean {
    if (this.#over) return true;
    // It belongs to the transport now, as the contract says.
    this.#inFlightBytes += frame.length;
    if (this.#inFlightBytes > MAX_QUEUED_BYTES) {
      this.#finish(new CodedError("LIMIT_EXCEEDED", `${this.remote} takes frames too slowly`));
      return false;
    }
    this.#wire.world.mix(frame.length);
    this.#toOther("frame", (other) => other.#receive(frame));
    return this.#inFlightBytes <= HIGH_WATER_BYTES;
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    this.#listener = listener;
    this.#deliver();
  }

  limitFrames(maxFrameBytes: number): void {
    this.#maxFrameBytes = maxFrameBytes;
  }

  drained(): Promise<void> {
    if (this.#over || this.#inFlightBytes < HIGH_WATER_BYTES) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#deliver();
  }

  close(): void {
    this.#finish(new CodedError("CLOSED", "closed by this side"));
  }

  destroy(): void {
    this.#finish(new CodedError("CLOSED", "closed by this side"));
  }

  /** In order behind what was sent before: a FIN never overtakes a frame. */
  #toOther(label: string, act: (other: Side) => void): void {
    const other = this.other;
    if (other === null) return;
    this.#lastArrival = travel(this.#wire, this.#way, this.#lastArrival, label, () => act(other), other.#owner);
  }

  #receive(frame: Uint8Array): void {
    if (this.#over) return;
    this.#received.push(frame);
    this.#deliver();
  }

  #deliver(): void {
    while (!this.#paused && !this.#over && this.#listener !== null) {
      const frame = this.#received.shift();
      if (frame === undefined) return;
      if (frame.length > this.#maxFrameBytes) {
        this.#finish(new CodedError("LIMIT_EXCEEDED", `${this.remote} sent a frame of ${frame.length} bytes`));
        return;
      }
      const { other } = this;
      if (other !== null) {
        other.#taken(frame.length);
        this.#wire.tap?.(other.#owner, this.#owner, frame);
      }
      this.#listener(frame);
    }
  }

  #taken(bytes: number): void {
    this.#inFlightBytes -= bytes;
    if (this.#inFlightBytes < HIGH_WATER_BYTES) for (const resolve of this.#waiters.splice(0)) resolve();
  }

  /** A firewall's answer, at both ends, each in its own time. */
  breakBetween(one: string, another: string): void {
    const machines = [this.#way.from, this.#way.to];
    if (this.#over || !machines.includes(one) || !machines.includes(another) || one === another) return;
    this.lose();
  }

  lose(): void {
    const broken = () => this.#finish(new CodedError("CONNECTION_LOST", `${this.remote} reset the connection`));
    this.#wire.world.schedule(this.#wire.world.now() + 1, "reset", broken, this.#owner);
  }

  #leave(): void {
    this.#over = true;
    this.#wire.open.delete(this);
    this.#forgetDeath();
  }

  #finish(reason: CodedError): void {
    if (this.#over) return;
    this.#leave();
    this.#received.length = 0;
    for (const resolve of this.#waiters.splice(0)) resolve();
    this.#settle(reason);
    this.#toOther("fin", (other) => other.#finish(new CodedError("CONNECTION_LOST", `${other.remote} ended the connection`)));
  }

  /** The owner is dead: nothing of it runs, but its kernel tells the other side. */
  #die(): void {
    if (this.#over) return;
    this.#leave();
    if (this.#wire.down.has(this.#owner.machine)) {
      const ends = this.#wire.halfOpen.get(this.#owner.machine) ?? new Set();
      if (this.other !== null) ends.add(this.other);
      this.#wire.halfOpen.set(this.#owner.machine, ends);
      return;
    }
    this.#toOther("rst", (other) => other.#finish(new CodedError("CONNECTION_LOST", `${other.remote} is gone`)));
  }
}
