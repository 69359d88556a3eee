/**
 * A link: an authenticated connection that carries envelopes (wire/envelope.ts) between two Holdfast processes.
 *
 * Boundary: made by `acceptLink` and `dialLink` (link-handshake.ts) over any `Connection`; knows nothing of roles' conversations but the
 * table of messages that it may receive.
 * Invariants:
 *   1. Nothing but the handshake is decoded before both sides have proved the key.
 *   2. A body is validated by its schema before it is handed on; what fails ends the link with PROTOCOL_VIOLATION.
 *   3. Both sides send a heartbeat when they had nothing else to send for `heartbeatMs`; after `silenceMs` without any frame the link
 *      ends with CONNECTION_LOST.
 *   4. `ended` resolves once, all open requests then reject with its error (their outcome is unknown), and nothing is delivered after it.
 */
import type { CodedError, ErrorShape } from "../base/errors.js";
import type { Role } from "../wire/envelope.js";

export interface LinkMessage {
  readonly kind: string;
  /** Validated by the schema of its kind. */
  readonly body: unknown;
  /** The sender's epoch. */
  readonly epoch: number;
  /** Set when the sender waits for a reply. */
  readonly requestId: number | null;
}

export interface Link {
  /** Unique among the links of this process; for cores, which name links by it. */
  readonly id: number;
  readonly peer: LinkPeer;
  readonly remote: string;
  /** Stamped with `options.epoch()` at the time of the call. Never throws; dropped after the end. */
  send(kind: string, body: unknown): void;
  /** Rejects with the other side's error, the link's end, TIMEOUT or the signal's reason. The reply is validated by `reply` when given. */
  request(kind: string, body: unknown, options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<unknown>;
  reply(requestId: number, body: unknown): void;
  replyError(requestId: number, error: ErrorShape): void;
  /** One listener; messages that came before it is set are kept (bounded) and delivered in order. */
  onMessage(listener: (message: LinkMessage) => void): void;
  readonly ended: Promise<CodedError>;
  /** Instant (env clock) of the last frame from the other side. */
  lastHeardAt(): number;
  /** Sends what is queued, then ends. */
  close(): void;
  destroy(): void;
}

export interface LinkPeer {
  readonly role: Role;
  /** The other process's own id: worker id, master id, process id, or a client's random id. */
  readonly id: string;
  /** `cluster`, or `application/<id>` for processes that only hold their application's key. */
  readonly scope: string;
  /** Free facts of the welcome or hello (address, pid, state), bounded. */
  readonly facts: Readonly<Record<string, string | number | null>>;
}
