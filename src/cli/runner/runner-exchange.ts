/**
 * The exchanges of an executor over TCP: one authenticated listener for its whole life, the network of each try behind it.
 *
 * Boundary: binds the exchange hub to the handshake of links. An executor proves the key of its application, and is told apart by its process id.
 */
import { hexToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import { sleep } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import type { SliceOrder } from "../../executor/core/executor-events.js";
import { MAX_PAYLOAD_BYTES } from "../../executor/run/codec/index.js";
import {
  type DataConnection,
  type Dialler,
  ExchangeHub,
  type ExchangePeer,
  FRAME_HEADER_BYTES,
  type PeerNetwork,
  type PeerTransport,
  type TryName,
} from "../../executor/run/exchange/index.js";
import { type AuthenticatedPeer, dialPeer } from "../../host/link/link-handshake.js";
import { keyOfScope } from "../../host/link/link-keys.js";
import { listenPeers } from "../../host/link/link-listener.js";
import { createNodeTextCodec } from "../../node/text-codec.js";
import { applicationScope } from "../../wire/handshake.js";
import type { RunnerStart } from "../../wire/runner-start.js";

/** What the transport of an executor has to let through. */
export const MAX_EXCHANGE_FRAME_BYTES = MAX_PAYLOAD_BYTES + FRAME_HEADER_BYTES;
const CONNECT_TIMEOUT_MS = 5_000;
const REDIAL_MS = 250;
const MAX_DIALLING_MS = 600_000;

export interface Exchanges {
  /** Where the other executors of the application connect to. */
  readonly address: string;
  /** Ends the network of the try before. */
  open(attempt: string, order: SliceOrder): PeerNetwork;
  close(): Promise<void>;
}

/** Rejects as `Transport.listen`. */
export async function openExchanges(start: RunnerStart, env: Env): Promise<Exchanges> {
  const { processId, application } = start;
  const scope = applicationScope(application.id);
  const key = hexToBytes(start.applicationKey);
  const text = createNodeTextCodec();
  const hub = new ExchangeHub({
    clock: env.clock,
    onRefused: (dialler, reason) =>
      env.log.info(`a connection of ${dialler.processId} was refused: ${reason}`, { attempt: dialler.attempt }),
  });
  const listener = await listenPeers({
    env,
    address: `${start.listenHost}:0`,
    role: "executor",
    id: processId,
    roles: ["executor"],
    clusterId: () => null,
    keyFor: keyOfScope(scope, key),
    facts: () => ({}),
    epoch: () => 0,
    onPeer: (peer) => {
      const dialler = diallerOf(peer);
      if (dialler === null) peer.channel.connection.destroy();
      else hub.accept(dataConnection(peer), dialler);
    },
  });
  const transport: PeerTransport = {
    dial: (peer, name, signal) => dial(peer, name, { env, processId, scope, key, signal }),
  };
  return {
    address: listener.address,
    open: (attempt, { try: number, subtask, peers }) => hub.open({ attempt, try: number, subtask, peers, transport, text }),
    close: async () => {
      await hub.close();
      await listener.close();
    },
  };
}

interface DialParts {
  readonly env: Env;
  readonly processId: string;
  readonly scope: string;
  readonly key: Uint8Array;
  readonly signal: AbortSignal;
}

/**
 * A process whose event loop is kept busy by user code takes a connection, but does not answer. Whether it lives is for the driver to judge,
 * who then ends the try; only a refused connection says that it is gone.
 */
async function dial(peer: ExchangePeer, name: TryName, parts: DialParts): Promise<DataConnection> {
  const { clock } = parts.env;
  const until = clock.now() + MAX_DIALLING_MS;
  for (;;) {
    try {
      return await dialOnce(peer, name, parts);
    } catch (thrown) {
      const { code } = CodedError.from(thrown);
      if (parts.signal.aborted || clock.now() > until || (code !== "TIMEOUT" && code !== "CONNECTION_LOST")) throw thrown;
      await sleep(clock, REDIAL_MS, parts.signal);
    }
  }
}

async function dialOnce(
  peer: ExchangePeer,
  name: TryName,
  { env, processId, scope, key, signal }: DialParts,
): Promise<DataConnection> {
  const connected = await dialPeer(peer.dataAddress, {
    env,
    role: "executor",
    id: processId,
    scope,
    key,
    clusterId: null,
    epoch: () => 0,
    facts: { attempt: name.attempt, try: name.try },
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    signal,
  });
  if (connected.peer.id !== peer.processId) {
    connected.channel.connection.destroy();
    throw new CodedError("EXECUTOR_LOST", `at ${peer.dataAddress} listens ${connected.peer.id}, no longer ${peer.processId}`);
  }
  return dataConnection(connected);
}

function diallerOf({ peer }: AuthenticatedPeer): Dialler | null {
  const { attempt, try: number } = peer.facts;
  return typeof attempt === "string" && typeof number === "number" ? { processId: peer.id, attempt, try: number } : null;
}

/** The handshake's channel has the listener of the connection; everything else is the connection's own. */
function dataConnection({ channel }: AuthenticatedPeer): DataConnection {
  const { connection } = channel;
  channel.limit(MAX_EXCHANGE_FRAME_BYTES);
  return {
    remote: connection.remote,
    ended: connection.ended,
    send: (frame) => connection.send(frame),
    onFrame: (listener) => channel.listen(listener),
    drained: () => connection.drained(),
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    close: () => connection.close(),
    destroy: () => connection.destroy(),
  };
}
