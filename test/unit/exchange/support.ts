/** Executors on a memory transport: each has a hub, and says who it is in its first frame instead of a handshake. */
import {
  type DataConnection,
  type Dialler,
  ExchangeHub,
  type ExchangeNetworkOptions,
  type ExchangePeer,
  type PeerNetwork,
  type PeerTransport,
} from "../../../src/executor/run/exchange/index.js";
import type { BatchInput, BatchOutput, ChannelId } from "../../../src/executor/run/network.js";
import type { MemoryTransport } from "../../../src/host/link/memory-transport.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { createTestEnv, settle, type TestEnv } from "../../support/manual-clock.js";

export interface Executor extends ExchangePeer {
  readonly hub: ExchangeHub;
  /** Why connections were turned away. */
  readonly refused: string[];
  /** Bytes that this executor has sent so far. */
  readonly sentBytes: () => number;
  open(number?: number, more?: Partial<ExchangeNetworkOptions>): PeerNetwork;
  /** As when its process is killed. */
  die(): Promise<void>;
}

export interface Stage {
  readonly env: TestEnv;
  readonly executors: readonly Executor[];
  readonly at: (subtask: number) => Executor;
}

export const text = createNodeTextCodec();

export async function openStage(count: number, options: Partial<ExchangeNetworkOptions> = {}): Promise<Stage> {
  const env = createTestEnv();
  const executors: Executor[] = [];
  for (let subtask = 0; subtask < count; subtask++) executors.push(await startExecutor(env, subtask, executors, options));
  const at = (subtask: number): Executor => {
    const executor = executors[subtask];
    if (executor === undefined) throw new Error(`no executor ${subtask}`);
    return executor;
  };
  return { env, executors, at };
}

async function startExecutor(
  env: TestEnv,
  subtask: number,
  peers: readonly Executor[],
  options: Partial<ExchangeNetworkOptions>,
): Promise<Executor> {
  const processId = `executor-${subtask}`;
  const refused: string[] = [];
  const hub = new ExchangeHub({ clock: env.clock, onRefused: (_dialler, reason) => refused.push(reason) });
  const listener = await env.transport.listen("memory:0", (connection) => {
    connection.onFrame((hello) => hub.accept(connection, JSON.parse(new TextDecoder().decode(hello)) as Dialler));
  });
  let sentBytes = 0;
  const transport = transportOf(env.transport, processId, (bytes) => {
    sentBytes += bytes;
  });
  return {
    processId,
    dataAddress: listener.address,
    hub,
    refused,
    sentBytes: () => sentBytes,
    open: (number = 1, more = {}) =>
      hub.open({ attempt: `1.${number}`, try: number, subtask, peers, transport, text, ...options, ...more }),
    die: async () => {
      await listener.close();
      env.transport.breakConnections(listener.address);
    },
  };
}

function transportOf(transport: MemoryTransport, processId: string, onSent: (bytes: number) => void): PeerTransport {
  return {
    dial: async (peer, name, signal) => {
      const connection = await dialAs(transport, peer.dataAddress, { processId, ...name }, signal);
      const { send } = connection;
      return Object.assign(connection, {
        send: (frame: Uint8Array) => {
          onSent(frame.length);
          return send.call(connection, frame);
        },
      });
    },
  };
}

/** A connection that says who it is; a test may go on with frames of its own. */
export async function dialAs(
  transport: MemoryTransport,
  address: string,
  dialler: Dialler,
  signal: AbortSignal = new AbortController().signal,
): Promise<DataConnection> {
  const connection = await transport.connect(address, { signal, timeoutMs: 1_000 });
  connection.send(new TextEncoder().encode(JSON.stringify(dialler)));
  return connection;
}

export const channel = (fromSubtask: number, toSubtask: number, edge = "edge"): ChannelId => ({ edge, fromSubtask, toSubtask });

/** Everything that can be polled now, with what arrives meanwhile: batches, and null for an end. */
export async function drain(input: BatchInput): Promise<(unknown[] | null)[]> {
  const taken: (unknown[] | null)[] = [];
  for (let quiet = 0; quiet < 2; quiet++) {
    for (let next = input.poll(); next !== undefined; next = input.poll()) {
      taken.push(next.records);
      quiet = 0;
    }
    await settle();
  }
  return taken;
}

/** Sends until the channel is out of credit; returns the batches sent, and the promise of the last. */
export function fill(
  output: BatchOutput,
  batch: (number: number) => unknown[],
  most = 1_000,
): { sent: number; blocked: Promise<void> } {
  for (let number = 0; number < most; number++) {
    const records = batch(number);
    const answer = output.send(records, 0, records.length);
    if (answer !== true) return { sent: number + 1, blocked: answer };
  }
  throw new Error("the channel never ran out of credit");
}

/** Whether the promise has settled, after everything that can happen has happened. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  const settled = () => {
    pending = false;
  };
  promise.then(settled, settled);
  await settle();
  return pending;
}

/** Opens one channel from executor 0 to executor 1, connected. */
export async function openPair(
  options: Partial<ExchangeNetworkOptions> = {},
): Promise<
  Stage & { readonly output: BatchOutput; readonly input: BatchInput; readonly networks: readonly [PeerNetwork, PeerNetwork] }
> {
  const stage = await openStage(2, options);
  const networks = [stage.at(0).open(), stage.at(1).open()] as const;
  const output = networks[0].output(channel(0, 1));
  const input = networks[1].input([channel(0, 1)]);
  await settle();
  return { ...stage, output, input, networks };
}
