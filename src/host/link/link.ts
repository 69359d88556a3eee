/**
 * A link: an authenticated connection that carries envelopes (wire/envelope.ts) between two Holdfast processes.
 *
 * Boundary: made by `acceptLink` and `dialLink` (link-handshake.ts) over any `Connection`; knows nothing of roles' conversations but the
 * table of messages that it may receive.
 * Invariants:
 *   1. Nothing but the handshake is decoded before both sides have proved the key.
 *   2. A body is validated by its schema before it is handed on. A request that fails is answered with INVALID_ARGUMENT, which names the
 *      field; any other message that fails ends the link with PROTOCOL_VIOLATION.
 *   3. Both sides send a heartbeat when they had nothing else to send for `heartbeatMs`; after `silenceMs` without any frame the link
 *      ends with CONNECTION_LOST.
 *   4. `ended` resolves once, all open requests then reject with its error (their outcome is unknown), and nothing is delivered after it.
 */
import type { z } from "zod";
import type { CodedError, ErrorShape } from "../../base/errors.js";
import type { Env } from "../../env/env.js";
import type { MessageTable, Role } from "../../wire/envelope.js";

/** Silence after which a peer counts as gone, where a conversation does not say otherwise. */
export const DEFAULT_HEARTBEAT_MS = 1_000;
export const DEFAULT_SILENCE_MS = 10_000;

/** A table, or the table for a peer (a master talks differently to workers, drivers and clients). */
export type TableFor = MessageTable | ((peer: LinkPeer) => MessageTable);

/** What both ends of a link have to say. */
export interface LinkSettings {
  readonly env: Env;
  /** This side's view of the leader's epoch, stamped on every envelope; 0: knows none. */
  epoch(): number;
  /** Kinds that this side accepts, as messages or as requests (`requestId` set). Everything else ends the link. */
  readonly incoming: TableFor;
  /** Kinds that this side accepts only as requests. */
  readonly requests?: TableFor;
  /** A heartbeat is sent when nothing else was for this long. */
  readonly heartbeatMs: number;
  /** The link ends with CONNECTION_LOST when nothing was heard for this long. At least three times the other side's `heartbeatMs`. */
  readonly silenceMs: number;
}

/** How often a side speaks, and how long it waits for the other one. */
export type LinkPace = Pick<LinkSettings, "heartbeatMs" | "silenceMs">;

/** Facts that many links are told: made once (`prepareAnnouncement` of link-session.ts), for facts and epoch of that moment. */
export class Announcement {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export interface LinkMessage {
  readonly kind: string;
  /** Validated by the schema of its kind. */
  readonly body: unknown;
  /** The sender's epoch. */
  readonly epoch: number;
  /** Set when the sender waits for a reply. */
  readonly requestId: number | null;
  /** Of its frame. */
  readonly sizeBytes: number;
}

export interface Link {
  /** Unique among the links of this process; for cores, which name links by it. */
  readonly id: number;
  /** Facts and epoch are those of the handshake until the other side announces others. */
  readonly peer: LinkPeer;
  readonly remote: string;
  /** Stamped with `options.epoch()` at the time of the call. Never throws; dropped after the end. */
  send(kind: string, body: unknown): void;
  /**
   * Rejects with the other side's error, the link's end (CONNECTION_LOST: whether it was done is unknown), TIMEOUT, LIMIT_EXCEEDED (too large,
   * or too many open) or the signal's reason. The reply is validated by `reply` when given.
   */
  request<T = unknown>(kind: string, body: unknown, options: RequestOptions<T>): Promise<T>;
  reply(requestId: number, body: unknown): void;
  replyError(requestId: number, error: ErrorShape): void;
  /** One listener; messages that came before it is set are kept (bounded) and delivered in order. */
  onMessage(listener: (message: LinkMessage) => void): void;
  /** Tells the other side facts that have changed since the handshake (a standby that leads now), with the present epoch. */
  announce(facts: LinkPeer["facts"] | Announcement): void;
  /** One listener, called after `peer` has taken what the other side announced. */
  onAnnounced(listener: () => void): void;
  /** From now on, instead of that of its settings; the other side is judged from now. Nothing is agreed: both sides follow from what the link is for. */
  pace(pace: LinkPace): void;
  readonly ended: Promise<CodedError>;
  /** Instant (env clock) of the last frame from the other side. */
  lastHeardAt(): number;
  /** Sends what is queued, then ends. */
  close(): void;
  /** As `close`, and the other side is told why. */
  fail(reason: CodedError): void;
  destroy(): void;
}

export interface RequestOptions<T> {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly reply?: z.ZodType<T>;
}

export interface LinkPeer {
  readonly role: Role;
  /** The other process's own id: worker id, master id, process id, or a client's random id. */
  readonly id: string;
  /** `cluster`, or `application/<id>` for processes that only hold their application's key. */
  readonly scope: string;
  /** Null: it did not know its cluster yet. */
  readonly clusterId: string | null;
  /** Its epoch at the time of the handshake, or of its last announcement. */
  readonly epoch: number;
  /** Free facts of the welcome or hello (address, pid, state), bounded. */
  readonly facts: Readonly<Record<string, string | number | null>>;
}
