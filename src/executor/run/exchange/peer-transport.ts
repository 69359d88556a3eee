/**
 * What the exchanges need of the world: authenticated connections to other executors of the same application.
 *
 * Boundary: who proves what to whom, and how bytes become frames, is behind `PeerTransport`; `cli/runner-exchange.ts` binds it to the
 * handshake of the links and to TCP. Whoever accepts a connection hands it to the hub together with what the dialler said and proved.
 */
import type { CodedError } from "../../../base/errors.js";

/** The part of env/transport.ts that the exchanges use; the same contract. */
export interface DataConnection {
  /** `host:port` of the other side, for messages only. */
  readonly remote: string;
  /** The frame belongs to the connection once it is sent. False: more than its high water is queued. */
  send(frame: Uint8Array): boolean;
  /** One listener; the frames are the listener's own. */
  onFrame(listener: (frame: Uint8Array) => void): void;
  readonly ended: Promise<CodedError>;
  drained(): Promise<void>;
  pause(): void;
  resume(): void;
  close(): void;
  destroy(): void;
}

/** An executor that takes part in a try. */
export interface ExchangePeer {
  readonly processId: string;
  readonly dataAddress: string;
}

/** A try of a job, as its executors name it to each other. */
export interface TryName {
  /** Unique for each driver attempt and try, for example "1.2". */
  readonly attempt: string;
  /** Counts within the life of an executor, from 1; never used twice. */
  readonly try: number;
}

/** What the dialler of a connection has told, and proved by the key of the application. */
export interface Dialler extends TryName {
  readonly processId: string;
}

export interface PeerTransport {
  /**
   * Resolves with a connection to exactly this process, which has been told the name of the try. Rejects with what
   * `Transport.connect` and the handshake reject with, or with the signal's reason.
   */
  dial(peer: ExchangePeer, name: TryName, signal: AbortSignal): Promise<DataConnection>;
}
