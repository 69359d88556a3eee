/**
 * The handshake's and the link's common floor: one connection, JSON texts in both directions, a size bound, one listener at a time.
 *
 * Boundary: hides that a `Connection` has one listener for its whole life: the handshake listens first, then whoever it hands over to, and frames that
 * arrive in between are kept. Decodes nothing but UTF-8.
 */
import type { Connection } from "../../env/transport.js";

export interface Channel {
  readonly connection: Connection;
  /** Replaces the listener; frames that were kept come first. Pass null to keep frames again. */
  listen(listener: ((frame: Uint8Array) => void) | null): void;
  /** Frames that are larger are given to `onTooLarge` instead of the listener. */
  limit(maxFrameBytes: number): void;
}

/** Frames kept while nobody listens; a peer that sends more before its handshake is over breaks the protocol. */
const MAX_KEPT_FRAMES = 64;

export function createChannel(
  connection: Connection,
  maxFrameBytes: number,
  onBroken: (reason: "too-large" | "too-many") => void,
): Channel {
  let listener: ((frame: Uint8Array) => void) | null = null;
  let limitBytes = maxFrameBytes;
  const kept: Uint8Array[] = [];
  let delivering = false;

  const deliver = () => {
    if (delivering) return;
    delivering = true;
    while (listener !== null && kept.length > 0) listener(kept.shift() as Uint8Array);
    delivering = false;
  };

  connection.limitFrames?.(maxFrameBytes);
  connection.onFrame((frame) => {
    if (frame.length > limitBytes) {
      onBroken("too-large");
      return;
    }
    if (listener !== null && kept.length === 0 && !delivering) {
      listener(frame);
      return;
    }
    if (kept.length >= MAX_KEPT_FRAMES && listener === null) {
      onBroken("too-many");
      return;
    }
    kept.push(frame);
    deliver();
  });

  return {
    connection,
    listen(next) {
      listener = next;
      deliver();
    },
    limit(bytes) {
      limitBytes = bytes;
      connection.limitFrames?.(bytes);
    },
  };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export const encodeText = (text: string): Uint8Array => encoder.encode(text);
/** Throws on bytes that are not UTF-8. */
export const decodeText = (bytes: Uint8Array): string => decoder.decode(bytes);

/** Bounds what a stranger's text may add to a message of ours. */
export function shorten(text: string, maxLength = 200): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}…`;
}
