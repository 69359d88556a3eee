/**
 * One connection to one server as a stream of bytes, plain or TLS.
 *
 * Boundary: the only file, with four-letter.ts, that touches sockets. Contract of a wire: the listener hears `opened` at most once, then `received`,
 * then `ended` (perhaps twice); nothing after `destroy`, and never from within a call.
 */
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ServerAddress } from "./connect-string.js";

export interface Wire {
  write(bytes: Uint8Array): void;
  /** At once; what was written and not sent is thrown away. */
  destroy(): void;
}

export interface WireListener {
  opened(): void;
  received(chunk: Buffer): void;
  /** A sentence part: why. */
  ended(reason: string): void;
}

export type Dial = (server: ServerAddress, listener: WireListener) => Wire;

/** PEM texts or their bytes. Without `ca` the system's authorities count. */
export interface ZooKeeperTlsOptions {
  readonly ca?: string | Uint8Array;
  /** Certificate and key of this client, which `ssl.clientAuth=need` asks for. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  readonly passphrase?: string;
  /** The name that the server's certificate has to have; default: the host in the list. */
  readonly servername?: string;
  /** Default true. False: whoever answers is believed. */
  readonly rejectUnauthorized?: boolean;
}

const pem = (value: string | Uint8Array): string | Buffer => (typeof value === "string" ? value : Buffer.from(value));

export function openSocket(server: ServerAddress, tls: ZooKeeperTlsOptions | undefined): Socket {
  const { host, port } = server;
  if (tls === undefined) return connectTcp({ host, port, noDelay: true });
  const { ca, cert, key, passphrase, servername, rejectUnauthorized } = tls;
  const name = servername ?? (isIP(host) === 0 ? host : undefined);
  const socket = connectTls({
    host,
    port,
    minVersion: "TLSv1.2",
    rejectUnauthorized: rejectUnauthorized ?? true,
    ...(name === undefined ? {} : { servername: name }),
    ...(ca === undefined ? {} : { ca: pem(ca) }),
    ...(cert === undefined ? {} : { cert: pem(cert) }),
    ...(key === undefined ? {} : { key: pem(key) }),
    ...(passphrase === undefined ? {} : { passphrase }),
  });
  socket.setNoDelay(true);
  return socket;
}

export const dialWith =
  (tls: ZooKeeperTlsOptions | undefined): Dial =>
  (server, listener) => {
    const socket = openSocket(server, tls);
    let error: Error | null = null;
    socket.on(tls === undefined ? "connect" : "secureConnect", () => listener.opened());
    socket.on("data", (chunk: Buffer) => listener.received(chunk));
    socket.on("error", (thrown) => {
      error = thrown;
    });
    // The server has said its last word, whatever of ours is still to be sent.
    socket.on("end", () => listener.ended("the server closed the connection"));
    socket.on("close", () => listener.ended(error === null ? "the server closed the connection" : reasonOf(error)));
    return {
      write: (bytes) => void socket.write(bytes),
      destroy: () => {
        socket.removeAllListeners();
        // What a socket still has to say after its end interests nobody.
        socket.on("error", () => {});
        socket.destroy();
      },
    };
  };

/** Several addresses of one name give one error that holds them all, and no text of its own. */
function reasonOf(error: Error): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.map((part) => (part instanceof Error ? part.message : String(part))).join("; ");
  return error.message;
}
