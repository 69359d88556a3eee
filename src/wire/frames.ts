/**
 * Frames on a byte stream: an unsigned 32 bit big-endian length, then that many bytes.
 *
 * Boundary: pure; bytes in, whole frames out, pulled one at a time so that a paused reader stops between two frames.
 * Invariants:
 *   1. A length above the bound fails as soon as its four bytes are there; nothing is allocated for it.
 *   2. Memory held is at most twice the bytes received and not yet handed out: a length below the bound allocates nothing either.
 *   3. Every byte is copied at most a constant number of times, however the stream is cut; frames that lie whole in one chunk are not copied.
 *   4. After a failure no further frame comes out.
 */
export const FRAME_HEADER_BYTES = 4;
/** What the length field can express at most; bounds are given by the reader. */
export const MAX_FRAME_LENGTH = 0xffffffff;

export function writeFrameHeader(target: Uint8Array, offset: number, lengthBytes: number): void {
  target[offset] = lengthBytes >>> 24;
  target[offset + 1] = (lengthBytes >>> 16) & 255;
  target[offset + 2] = (lengthBytes >>> 8) & 255;
  target[offset + 3] = lengthBytes & 255;
}

/** Header and payload in one piece. */
export function encodeFrame(payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(bytes, 0, payload.length);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

export type FrameResult =
  | { readonly kind: "frame"; readonly frame: Uint8Array }
  /** Not enough bytes yet. */
  | { readonly kind: "more" }
  | { readonly kind: "too-large"; readonly lengthBytes: number; readonly maxFrameBytes: number };

const MORE: FrameResult = { kind: "more" };
/** The first allocation for a frame that spans chunks. */
const FIRST_PARTIAL_BYTES = 1024;

export class FrameReader {
  #maxFrameBytes: number;
  /** Chunks not looked at yet; `#offset` is the position in the first. */
  readonly #chunks: Uint8Array[] = [];
  #offset = 0;
  /** The beginning of a frame that spans chunks, with its header. */
  #partial = new Uint8Array(0);
  #partialBytes = 0;
  #heldBytes = 0;
  #failed: FrameResult | null = null;

  constructor(maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Bytes received and not handed out. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Bytes allocated by the reader itself, for tests of invariant 2. */
  get allocatedBytes(): number {
    return this.#partial.length;
  }

  /** Holds for every frame whose header was not complete yet. */
  limit(maxFrameBytes: number): void {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** The chunk belongs to the reader from now on: frames are views of it. */
  push(chunk: Uint8Array): void {
    if (this.#failed !== null || chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#heldBytes += chunk.length;
  }

  next(): FrameResult {
    if (this.#failed !== null) return this.#failed;
    for (;;) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) return MORE;
      const result = this.#partialBytes === 0 ? this.#fromChunk(chunk) : this.#fromPartial(chunk);
      if (result !== null) return result;
    }
  }

  /** Null: the chunk is used up, look at the next one. */
  #fromChunk(chunk: Uint8Array): FrameResult | null {
    const available = chunk.length - this.#offset;
    if (available < FRAME_HEADER_BYTES) {
      this.#keep(chunk, available, FRAME_HEADER_BYTES);
      return null;
    }
    const lengthBytes = readHeader(chunk, this.#offset);
    if (lengthBytes > this.#maxFrameBytes) return this.#fail(lengthBytes);
    const totalBytes = FRAME_HEADER_BYTES + lengthBytes;
    if (available < totalBytes) {
      this.#keep(chunk, available, totalBytes);
      return null;
    }
    const start = this.#offset + FRAME_HEADER_BYTES;
    const frame = chunk.subarray(start, start + lengthBytes);
    this.#heldBytes -= totalBytes;
    this.#advance(chunk, totalBytes);
    return { kind: "frame", frame };
  }

  #fromPartial(chunk: Uint8Array): FrameResult | null {
    if (this.#partialBytes < FRAME_HEADER_BYTES) {
      this.#keep(chunk, Math.min(FRAME_HEADER_BYTES - this.#partialBytes, chunk.length - this.#offset), FRAME_HEADER_BYTES);
      if (this.#partialBytes < FRAME_HEADER_BYTES) return null;
      const lengthBytes = readHeader(this.#partial, 0);
      if (lengthBytes > this.#maxFrameBytes) return this.#fail(lengthBytes);
    }
    const totalBytes = FRAME_HEADER_BYTES + readHeader(this.#partial, 0);
    const rest = this.#chunks[0];
    if (rest !== undefined) this.#keep(rest, Math.min(totalBytes - this.#partialBytes, rest.length - this.#offset), totalBytes);
    if (this.#partialBytes < totalBytes) return null;
    const frame = this.#partial.subarray(FRAME_HEADER_BYTES, totalBytes);
    this.#partial = new Uint8Array(0);
    this.#partialBytes = 0;
    this.#heldBytes -= totalBytes;
    return { kind: "frame", frame };
  }

  /** Moves bytes of the chunk to the partial frame, which grows by doubling and never beyond what the frame needs. */
  #keep(chunk: Uint8Array, count: number, neededBytes: number): void {
    const filled = this.#partialBytes + count;
    if (filled > this.#partial.length) {
      const grown = new Uint8Array(Math.max(filled, Math.min(neededBytes, Math.max(FIRST_PARTIAL_BYTES, filled * 2))));
      grown.set(this.#partial.subarray(0, this.#partialBytes));
      this.#partial = grown;
    }
    this.#partial.set(chunk.subarray(this.#offset, this.#offset + count), this.#partialBytes);
    this.#partialBytes = filled;
    this.#advance(chunk, count);
  }

  #advance(chunk: Uint8Array, count: number): void {
    this.#offset += count;
    if (this.#offset < chunk.length) return;
    this.#chunks.shift();
    this.#offset = 0;
  }

  #fail(lengthBytes: number): FrameResult {
    this.#chunks.length = 0;
    this.#partial = new Uint8Array(0);
    this.#partialBytes = 0;
    this.#heldBytes = 0;
    this.#failed = { kind: "too-large", lengthBytes, maxFrameBytes: this.#maxFrameBytes };
    return this.#failed;
  }
}

function readHeader(bytes: Uint8Array, offset: number): number {
  const first = bytes[offset] ?? 0;
  return first * 0x1000000 + (((bytes[offset + 1] ?? 0) << 16) | ((bytes[offset + 2] ?? 0) << 8) | (bytes[offset + 3] ?? 0));
}
