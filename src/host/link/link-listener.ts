/**
 * A listening address that gives authenticated links: what masters, workers and drivers listen with.
 *
 * Boundary: `acceptLink` for every connection, plus the bounds on how many strangers may be connected at once.
 * Invariants:
 *   1. At most MAX_UNAUTHENTICATED_PER_ADDRESS connections per remote address, and MAX_UNAUTHENTICATED in all, are open without proof.
 *   2. At most `maxConnections` are open in all; the next ones are refused, and those that are there do not notice.
 *   3. After `close` no link is handed out; links handed out before belong to their owner.
 */
import { CodedError } from "../../base/errors.js";
import type { Connection } from "../../env/transport.js";
import { MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_ADDRESS } from "../../wire/handshake.js";
import type { Link } from "./link.js";
import type { AcceptorSettings, AcceptSettings, AuthenticatedPeer } from "./link-handshake.js";
import { acceptLink, acceptPeer } from "./link-handshake.js";

/** Of one listening address: room for a cluster of 10,000 workers with their drivers and clients. */
export const MAX_CONNECTIONS = 50_000;

export interface LinkListener {
  /** `host:port` really listened on. */
  readonly address: string;
  close(): Promise<void>;
}

export type ListenSettings = AcceptSettings & {
  readonly address: string;
  /** Default: MAX_CONNECTIONS. */
  readonly maxConnections?: number;
  onLink(link: Link): void;
  /** A connection that did not become a link, and why; for logs. */
  onRefused?(remote: string, reason: CodedError): void;
};

export type PeerListenSettings = AcceptorSettings & {
  readonly address: string;
  onPeer(peer: AuthenticatedPeer): void;
  onRefused?(remote: string, reason: CodedError): void;
};

/** Rejects as `Transport.listen`. */
export function listenLinks(settings: ListenSettings): Promise<LinkListener> {
  return listenWith(
    settings,
    (connection) => acceptLink(connection, settings),
    settings.onLink,
    (link) => link.destroy(),
  );
}

/** For the data plane: authenticated connections that carry frames of their own. */
export function listenPeers(settings: PeerListenSettings): Promise<LinkListener> {
  return listenWith(
    settings,
    (connection) => acceptPeer(connection, settings),
    settings.onPeer,
    (peer) => peer.channel.connection.destroy(),
  );
}

async function listenWith<T>(
  settings: AcceptorSettings & {
    readonly address: string;
    readonly maxConnections?: number;
    onRefused?(remote: string, reason: CodedError): void;
  },
  accept: (connection: Connection) => Promise<T>,
  onAccepted: (accepted: T) => void,
  discard: (accepted: T) => void,
): Promise<LinkListener> {
  const strangers = new Set<Connection>();
  const perAddress = new Map<string, number>();
  const maxConnections = settings.maxConnections ?? MAX_CONNECTIONS;
  let connections = 0;
  let closed = false;

  const leave = (connection: Connection, address: string) => {
    strangers.delete(connection);
    const count = (perAddress.get(address) ?? 1) - 1;
    if (count === 0) perAddress.delete(address);
    else perAddress.set(address, count);
  };

  const onConnection = (connection: Connection) => {
    const address = connection.remote.slice(0, Math.max(0, connection.remote.lastIndexOf(":")));
    const count = perAddress.get(address) ?? 0;
    if (connections >= maxConnections) {
      settings.onRefused?.(connection.remote, new CodedError("LIMIT_EXCEEDED", `${maxConnections} connections are open`));
      connection.destroy();
      return;
    }
    if (closed || count >= MAX_UNAUTHENTICATED_PER_ADDRESS || strangers.size >= MAX_UNAUTHENTICATED) {
      settings.onRefused?.(
        connection.remote,
        new CodedError("LIMIT_EXCEEDED", "too many connections have not proved who they are"),
      );
      connection.destroy();
      return;
    }
    connections += 1;
    void connection.ended.then(() => {
      connections -= 1;
    });
    perAddress.set(address, count + 1);
    strangers.add(connection);
    accept(connection).then(
      (accepted) => {
        leave(connection, address);
        if (closed) discard(accepted);
        else onAccepted(accepted);
      },
      (reason) => {
        leave(connection, address);
        if (!closed) settings.onRefused?.(connection.remote, CodedError.from(reason));
      },
    );
  };

  const listener = await settings.env.transport.listen(settings.address, onConnection);
  return {
    address: listener.address,
    close: async () => {
      closed = true;
      await listener.close();
      for (const connection of strangers) connection.destroy();
    },
  };
}
