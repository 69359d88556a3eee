/**
 * Byte frames between processes. TCP in `node/`, a simulated network in `sim/`.
 *
 * Contract of a connection:
 *   1. Frames arrive whole, in order, each once, or the connection ends: there is never a hole (TCP: loss is delay).
 *   2. `send` never throws; frames sent after the end are dropped. It returns false when more than `highWaterBytes` are queued;
 *      a sender that goes on past `maxQueuedBytes` has its connection ended with LIMIT_EXCEEDED.
 *      A frame belongs to the transport once it is sent: its bytes may not be changed afterwards.
 *   3. `ended` resolves exactly once. After it no frame is delivered.
 *   4. A frame larger than `maxFrameBytes` ends the connection with LIMIT_EXCEEDED and is never allocated.
 */
import type { CodedError } from "../base/errors.js";

export interface Connection {
  /** `host:port` of the other side, for messages only. */
  readonly remote: string;
  send(frame: Uint8Array): boolean;
  /** One listener. Frames that arrive before it is set are kept (bounded by the transport's own flow control). */
  onFrame(listener: (frame: Uint8Array) => void): void;
  /** Why it ended: CLOSED (by this side), CONNECTION_LOST, LIMIT_EXCEEDED, PROTOCOL_VIOLATION. */
  readonly ended: Promise<CodedError>;
  /** Resolves when fewer than `highWaterBytes` are queued, or the connection has ended. */
  drained(): Promise<void>;
  /** Stops and resumes delivery: the other side's `send` then fills up. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then ends. */
  close(): void;
  /** Ends at once; queued frames are dropped. */
  destroy(): void;
  /**
   * Another bound than the transport's `maxFrameBytes` for frames not yet begun to arrive: small before the other side is authenticated.
   * A simulated transport may leave it out; whoever receives then checks the size of whole frames.
   */
  limitFrames?(maxFrameBytes: number): void;
}

export interface Listener {
  /** `host:port` really listened on (the port is known even when 0 was asked for). */
  readonly address: string;
  close(): Promise<void>;
}

export interface Transport {
  /** Rejects with ADDRESS_IN_USE, INVALID_ARGUMENT. */
  listen(address: string, onConnection: (connection: Connection) => void): Promise<Listener>;
  /** Rejects with CONNECTION_REFUSED (nobody listens there: the process is gone), CONNECTION_LOST, TIMEOUT or the signal's reason. */
  connect(address: string, options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<Connection>;
}
