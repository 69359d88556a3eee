/**
 * Cuts a byte range of a file into chunks of whole lines, reading the next chunk while the last one is used.
 *
 * Invariants:
 *   1. Hadoop's rule: a line belongs to the range in which it starts, so ranges that meet give each line exactly once.
 *   2. Every chunk ends with a line feed; one is added after a last line without. So no multi-byte character is ever cut.
 *   3. A chunk is valid until the next call of `next`. Memory: two buffers of at most `maxLineBytes` + 1, usually CHUNK_BYTES each.
 *   4. A longer line is not held: it comes as an `oversized` piece with its first bytes.
 */
import { CodedError } from "../base/errors.js";
import type { CancelSignal } from "../dataflow/connector.js";
import type { ByteSource } from "./byte-source.js";

export const CHUNK_BYTES = 1024 * 1024;
export const MAX_LINE_BYTES_DEFAULT = 16 * 1024 * 1024;
/** Read past the end of a range at a time, where the last line ends. */
const READ_PAST_BYTES = 64 * 1024;
const OVERSIZED_HEAD_BYTES = 200;
const LF = 10;

export type Piece =
  /** `buffer[start .. end - 1]` is whole lines; `buffer[start]` stands at `offset` of the file. */
  | { readonly kind: "lines"; readonly buffer: Buffer; readonly start: number; readonly end: number; readonly offset: number }
  | { readonly kind: "oversized"; readonly offset: number; readonly head: string };

export interface LineRange {
  readonly path: string;
  /** Lines that start at or after `start` and before `end` are given. `end` Infinity: to the end of the file. */
  readonly start: number;
  readonly end: number;
  /** `start` is known to be the start of a line (a position to resume at, or 0). */
  readonly startsLine: boolean;
  readonly maxLineBytes: number;
}

/** The offset at which the bytes given to LineChunks have to start: one before the range, to see whether a line starts with it. */
export function firstByteOf(range: LineRange): number {
  return range.startsLine ? range.start : range.start - 1;
}

export class LineChunks {
  private readonly bytes: ByteSource;
  private readonly range: LineRange;
  private readonly signal: CancelSignal;
  private fill: Buffer;
  private spare: Buffer;
  /** Bytes in `fill`, and where in the file its first one stands. */
  private have = 0;
  private offset: number;
  private skipping: boolean;
  /** Set while the rest of an oversized line is passed over. */
  private oversized: { readonly offset: number; readonly head: string } | null = null;
  private reading: Promise<number> | null = null;
  private ended = false;

  constructor(bytes: ByteSource, range: LineRange, signal: CancelSignal) {
    this.bytes = bytes;
    this.range = range;
    this.signal = signal;
    this.skipping = !range.startsLine;
    this.offset = firstByteOf(range);
    this.ended = range.start >= range.end;
    const capacity = Math.min(CHUNK_BYTES, range.maxLineBytes + 1);
    this.fill = Buffer.allocUnsafeSlow(capacity);
    this.spare = Buffer.allocUnsafeSlow(capacity);
  }

  async next(): Promise<Piece | null> {
    while (!this.ended) {
      this.signal.throwIfAborted();
      const count = await (this.reading ?? this.startRead());
      this.reading = null;
      if (count === 0) return this.atEnd();
      this.have += count;
      const piece = this.take();
      if (piece !== null) return piece;
    }
    return null;
  }

  /** Compressed or plain bytes consumed, for progress. */
  consumedBytes(): number {
    return this.bytes.consumedBytes();
  }

  async close(): Promise<void> {
    this.ended = true;
    await this.reading?.catch(() => undefined);
    await this.bytes.close();
  }

  private startRead(): Promise<number> {
    const untilEnd = this.range.end - (this.offset + this.have) + READ_PAST_BYTES;
    const length = Math.min(this.fill.length - this.have, Math.max(READ_PAST_BYTES, untilEnd));
    this.reading = this.bytes.read(this.fill, this.have, length);
    // A failure is told by the `await` in `next`; when the reader is closed before that, nobody is left to tell.
    this.reading.catch(() => undefined);
    return this.reading;
  }

  /** What the bytes now in `fill` give; null when more have to be read first. */
  private take(): Piece | null {
    if (this.skipping && !this.passLine()) return null;
    if (this.skipping) {
      this.skipping = false;
      const passed = this.oversized;
      this.oversized = null;
      if (this.offset >= this.range.end) this.ended = true;
      if (passed !== null) {
        // The lines behind it are looked at by the next call: the read of nothing new is made up for here.
        if (!this.ended && this.have > 0) this.reading = Promise.resolve(this.giveBack());
        return { kind: "oversized", ...passed };
      }
      if (this.ended) return null;
    }
    return this.lastLineOfRange() ?? this.wholeLines() ?? this.makeRoom();
  }

  /** Drops bytes up to and including the first line feed. False: there was none, all are dropped. */
  private passLine(): boolean {
    const feed = this.fill.subarray(0, this.have).indexOf(LF);
    const dropped = feed < 0 ? this.have : feed + 1;
    this.fill.copyWithin(0, dropped, this.have);
    this.have -= dropped;
    this.offset += dropped;
    if (feed < 0 && this.oversized === null && this.offset >= this.range.end) this.ended = true;
    return feed >= 0;
  }

  private giveBack(): number {
    const count = this.have;
    this.have = 0;
    return count;
  }

  /** When the range ends within `fill`: everything up to the end of the line that starts last before it. */
  private lastLineOfRange(): Piece | null {
    if (this.offset + this.have < this.range.end) return null;
    const from = Math.max(0, this.range.end - 1 - this.offset);
    const feed = this.fill.subarray(0, this.have).indexOf(LF, from);
    if (feed < 0) return null;
    this.ended = true;
    return this.lines(this.fill, feed + 1, this.offset);
  }

  private wholeLines(): Piece | null {
    const feed = this.have === 0 ? -1 : this.fill.lastIndexOf(LF, this.have - 1);
    if (feed < 0) return null;
    const full = this.fill;
    const offset = this.offset;
    const tail = this.have - feed - 1;
    if (this.spare.length < full.length) this.spare = Buffer.allocUnsafeSlow(full.length);
    full.copy(this.spare, 0, feed + 1, this.have);
    this.fill = this.spare;
    this.spare = full;
    this.have = tail;
    this.offset = offset + feed + 1;
    this.startRead();
    return this.lines(full, feed + 1, offset);
  }

  /** `fill` holds the start of one line only. When full it grows, up to the longest line allowed. */
  private makeRoom(): null {
    if (this.have < this.fill.length) return null;
    const longest = this.range.maxLineBytes + 1;
    if (this.fill.length < longest) {
      const larger = Buffer.allocUnsafeSlow(Math.min(longest, this.fill.length * 2));
      this.fill.copy(larger, 0, 0, this.have);
      this.fill = larger;
      return null;
    }
    this.oversized = { offset: this.offset, head: this.fill.toString("utf8", 0, Math.min(this.have, OVERSIZED_HEAD_BYTES)) };
    this.skipping = true;
    this.offset += this.have;
    this.have = 0;
    return null;
  }

  private atEnd(): Piece | null {
    this.ended = true;
    if (this.oversized !== null) return { kind: "oversized", ...this.oversized };
    if (this.skipping || this.have === 0) return null;
    // A full buffer would have grown or become an oversized line, so there is room for the missing line feed.
    this.fill[this.have] = LF;
    return this.lines(this.fill, this.have + 1, this.offset);
  }

  private lines(buffer: Buffer, end: number, offset: number): Piece | null {
    const marks = offset === 0 ? byteOrderMarkBytes(buffer, end, this.range.path) : 0;
    return { kind: "lines", buffer, start: marks, end, offset: offset + marks };
  }
}

function byteOrderMarkBytes(buffer: Buffer, end: number, path: string): number {
  if (end >= 3 && buffer[0] === 0xef && buffer[1] === 0xbb && buffer[2] === 0xbf) return 3;
  if (end >= 2 && ((buffer[0] === 0xff && buffer[1] === 0xfe) || (buffer[0] === 0xfe && buffer[1] === 0xff))) {
    throw new CodedError("SOURCE_FAILED", `cannot read ${path}: it is UTF-16`, {
      details: { path },
      hint: "Convert the file to UTF-8.",
    });
  }
  return 0;
}
