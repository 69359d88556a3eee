/**
 * The transport over TCP. Framing is wire/frames.ts, one connection is tcp-connection.ts.
 *
 * Boundary: addresses, listening, dialling and the codes of their errors. Who the other side is, is the link's question.
 */
import net from "node:net";
import { CodedError } from "../../base/errors.js";
import type { Connection, Listener, Transport } from "../../env/transport.js";
import type { TcpLimits } from "./tcp-connection.js";
import { createTcpConnection } from "./tcp-connection.js";

export type TcpTransportOptions = Partial<TcpLimits>;

/** Larger than a control frame, so that the link, which knows the conversation, is the first to refuse one. */
const DEFAULT_MAX_FRAME_BYTES = 16 * 1024 * 1024;
const LISTEN_BACKLOG = 1024;

export function createTcpTransport(options: TcpTransportOptions = {}): Transport {
  const limits: TcpLimits = {
    maxFrameBytes: options.maxFrameBytes ?? DEFAULT_MAX_FRAME_BYTES,
    highWaterBytes: options.highWaterBytes ?? 256 * 1024,
    maxQueuedBytes: options.maxQueuedBytes ?? 64 * 1024 * 1024,
  };
  return {
    listen: (address, onConnection) => listen(address, onConnection, limits),
    connect: (address, connectOptions) => connect(address, connectOptions, limits),
  };
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `host:port` or `[ipv6]:port`. Throws INVALID_ARGUMENT. */
export function parseHostPort(address: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]/\s]+)):([0-9]{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    throw new CodedError("INVALID_ARGUMENT", `${JSON.stringify(address)} is not an address`, {
      hint: "Write it as host:port, for instance 127.0.0.1:7077 or [::1]:7077.",
    });
  }
  return { host, port };
}

export const formatHostPort = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

function listen(address: string, onConnection: (connection: Connection) => void, limits: TcpLimits): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const { host, port } = parseHostPort(address);
    const server = net.createServer({ noDelay: true, pauseOnConnect: true, allowHalfOpen: false }, (socket) => {
      onConnection(createTcpConnection(socket, remoteOf(socket), limits));
    });
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(address, error)));
    server.listen({ host, port, backlog: LISTEN_BACKLOG }, () => {
      server.removeAllListeners("error");
      // Accepting may fail for a moment when file descriptors run out; the listener goes on.
      server.on("error", () => {});
      const actual = server.address();
      const actualPort = typeof actual === "object" && actual !== null ? actual.port : port;
      resolve({ address: formatHostPort(host, actualPort), close: () => closeServer(server) });
    });
  });
}

/** Connections that were accepted belong to their owners: `server.close` alone would wait for them. */
function closeServer(server: net.Server): Promise<void> {
  if (!server.listening) return Promise.resolve();
  server.close();
  // The port is free once the handle is closed, which happens before the next turn of the event loop ends.
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}

function listenError(address: string, error: NodeJS.ErrnoException): CodedError {
  if (error.code === "EADDRINUSE") {
    return new CodedError("ADDRESS_IN_USE", `${address} is in use by another process`, {
      hint: "Choose another port, or stop that process.",
      cause: error,
    });
  }
  const why =
    error.code === "EACCES"
      ? "this user may not use that port"
      : error.code === "EADDRNOTAVAIL"
        ? "this machine has no such address"
        : error.message;
  return new CodedError("INVALID_ARGUMENT", `cannot listen on ${address}: ${why}`, { cause: error });
}

function connect(
  address: string,
  options: { readonly signal: AbortSignal; readonly timeoutMs: number },
  limits: TcpLimits,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const { host, port } = parseHostPort(address);
    if (options.signal.aborted) {
      reject(options.signal.reason);
      return;
    }
    const socket = net.connect({ host, port, noDelay: true, allowHalfOpen: false });
    const settle = (act: () => void) => {
      clearTimeout(timer);
      options.signal.removeEventListener("abort", onAbort);
      socket.removeListener("error", onError);
      socket.removeListener("connect", onConnect);
      act();
    };
    const fail = (reason: unknown) =>
      settle(() => {
        socket.on("error", () => {});
        socket.destroy();
        reject(reason);
      });
    const onAbort = () => fail(options.signal.reason);
    const onError = (error: Error) => fail(connectError(address, error));
    const onConnect = () => {
      // Dialling a dead port of the ephemeral range can, rarely, connect a socket to itself.
      if (socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress) {
        fail(new CodedError("CONNECTION_REFUSED", `nobody listens at ${address}`));
        return;
      }
      settle(() => {
        socket.pause();
        resolve(createTcpConnection(socket, address, limits));
      });
    };
    const timer = setTimeout(
      () => fail(new CodedError("TIMEOUT", `${address} did not answer within ${options.timeoutMs} ms`)),
      options.timeoutMs,
    );
    options.signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", onError);
    socket.once("connect", onConnect);
  });
}

/** A name with several addresses fails with one error for each of them. */
function connectError(address: string, error: Error): CodedError {
  const causes = error instanceof AggregateError ? error.errors : [error];
  const codes = causes.map((cause: NodeJS.ErrnoException) => cause.code ?? cause.message);
  if (codes.length > 0 && codes.every((code) => code === "ECONNREFUSED")) {
    return new CodedError("CONNECTION_REFUSED", `nobody listens at ${address}`, { cause: error });
  }
  if (codes.includes("ETIMEDOUT")) return new CodedError("TIMEOUT", `${address} did not answer`, { cause: error });
  if (codes.includes("ENOTFOUND") || codes.includes("EAI_AGAIN")) {
    return new CodedError("CONNECTION_LOST", `the host name of ${address} cannot be resolved`, {
      hint: "Check the spelling, or the name server.",
      cause: error,
    });
  }
  return new CodedError("CONNECTION_LOST", `cannot connect to ${address}: ${codes.join(", ")}`, { cause: error });
}

function remoteOf(socket: net.Socket): string {
  return formatHostPort(socket.remoteAddress ?? "unknown", socket.remotePort ?? 0);
}
