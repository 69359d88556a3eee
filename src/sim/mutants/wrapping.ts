/** Wrappers that mutants are made of. */
import { utf8Decode, utf8Encode } from "../../base/utf8.js";
import type { CoordinationStore, Write } from "../../env/coordination-store.js";
import type { Connection, Transport } from "../../env/transport.js";
import { withCommit } from "../store-wrapping.js";

type Change = (body: Record<string, unknown>) => void;

/** Changes what is written into application records. */
export const withApplicationRecords = (store: CoordinationStore, change: Change): CoordinationStore =>
  withRecords(store, "records/applications/", change);

export const withWorkerRecords = (store: CoordinationStore, change: Change): CoordinationStore =>
  withRecords(store, "records/workers/", change);

function withRecords(store: CoordinationStore, prefix: string, change: Change): CoordinationStore {
  const changed = (write: Write): Write => {
    if (!("put" in write) || !write.put.startsWith(prefix)) return write;
    const record = JSON.parse(utf8Decode(write.value) ?? "{}") as { body: Record<string, unknown> };
    change(record.body);
    return { ...write, value: utf8Encode(JSON.stringify(record)) };
  };
  return withCommit(store, (_session, real, transaction) => real({ ...transaction, writes: transaction.writes.map(changed) }));
}

/** Everything that a control frame holds; handshakes go through unchanged. */
export interface Frame {
  readonly kind: string;
  epoch: number;
  body?: unknown;
  readonly re?: number;
  error?: unknown;
}

/** Null: the frame is dropped. */
export type Rewrite = (frame: Frame, connection: Connection) => Frame | null;

export interface Rewrites {
  readonly incoming?: Rewrite;
  readonly outgoing?: Rewrite;
}

export function withFrames(transport: Transport, rewrites: Rewrites): Transport {
  return {
    listen: (address, onConnection) => transport.listen(address, (connection) => onConnection(rewritten(connection, rewrites))),
    connect: async (address, options) => rewritten(await transport.connect(address, options), rewrites),
  };
}

function rewritten(connection: Connection, { incoming, outgoing }: Rewrites): Connection {
  const through = (bytes: Uint8Array, rewrite: Rewrite | undefined): Uint8Array | null => {
    if (rewrite === undefined) return bytes;
    const frame = JSON.parse(utf8Decode(bytes) ?? "{}") as Frame;
    if (typeof frame.epoch !== "number" || "proof" in frame) return bytes;
    const changed = rewrite(frame, connection);
    return changed === null ? null : utf8Encode(JSON.stringify({ ...changed, epoch: changed.epoch }));
  };
  return {
    remote: connection.remote,
    ended: connection.ended,
    send: (frame) => {
      const changed = through(frame, outgoing);
      return changed === null || connection.send(changed);
    },
    onFrame: (listener) =>
      connection.onFrame((frame) => {
        const changed = through(frame, incoming);
        if (changed !== null) listener(changed);
      }),
    drained: () => connection.drained(),
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    close: () => connection.close(),
    destroy: () => connection.destroy(),
  };
}
