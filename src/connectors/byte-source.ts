/**
 * Bytes of a file in order, from a given offset: plain, or unpacked from gzip. Boundary: offsets are those of the unpacked bytes.
 * Invariant: never asked for a second read while one runs; after `close` settles no descriptor is open and no stream runs.
 */
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { sourceFailed } from "./io-errors.js";

export interface ByteSource {
  /** Fills `target[at ..]` with at most `length` bytes and returns how many; 0 only at the end. Rejects with SOURCE_FAILED. */
  read(target: Buffer, at: number, length: number): Promise<number>;
  /** Compressed bytes consumed so far where that differs, else those given out. */
  consumedBytes(): number;
  close(): Promise<void>;
}

/** Bytes at a time that gzip unpacks; a few of them wait in its stream. */
const UNPACK_BYTES = 256 * 1024;

export async function openBytes(path: string, offset: number): Promise<ByteSource> {
  if (!path.endsWith(".gz")) {
    try {
      return new PlainBytes(path, await open(path, "r"), offset);
    } catch (thrown) {
      throw sourceFailed(path, thrown);
    }
  }
  const unpacked = new GzipBytes(path);
  await unpacked.pass(offset);
  return unpacked;
}

class PlainBytes implements ByteSource {
  private readonly path: string;
  private readonly handle: FileHandle;
  private readonly from: number;
  private at: number;
  private closed = false;

  constructor(path: string, handle: FileHandle, offset: number) {
    this.path = path;
    this.handle = handle;
    this.from = offset;
    this.at = offset;
  }

  async read(target: Buffer, at: number, length: number): Promise<number> {
    try {
      const { bytesRead } = await this.handle.read(target, at, length, this.at);
      this.at += bytesRead;
      return bytesRead;
    } catch (thrown) {
      throw sourceFailed(this.path, thrown);
    }
  }

  consumedBytes(): number {
    return this.at - this.from;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.handle.close().catch(() => undefined);
  }
}

class GzipBytes implements ByteSource {
  private readonly path: string;
  private readonly abort = new AbortController();
  private readonly chunks: AsyncIterator<Buffer>;
  private readonly packed;
  private readonly done: Promise<void>;
  private current: Buffer = Buffer.alloc(0);
  private used = 0;

  constructor(path: string) {
    this.path = path;
    const packed = createReadStream(path, { highWaterMark: UNPACK_BYTES });
    const unpacked = createGunzip({ chunkSize: UNPACK_BYTES });
    this.packed = packed;
    this.chunks = unpacked[Symbol.asyncIterator]();
    // Errors reach the reader through the iterator; this promise is only waited for in `close`.
    this.done = pipeline(packed, unpacked, { signal: this.abort.signal }).catch(() => undefined);
  }

  async pass(count: number): Promise<void> {
    let left = count;
    while (left > 0) {
      if (!(await this.more())) return;
      const taken = Math.min(left, this.current.length - this.used);
      this.used += taken;
      left -= taken;
    }
  }

  async read(target: Buffer, at: number, length: number): Promise<number> {
    if (!(await this.more())) return 0;
    const copied = this.current.copy(target, at, this.used, Math.min(this.current.length, this.used + length));
    this.used += copied;
    return copied;
  }

  consumedBytes(): number {
    return this.packed.bytesRead;
  }

  async close(): Promise<void> {
    this.abort.abort();
    await this.done;
  }

  /** Makes sure that `current` has an unused byte; false at the end. */
  private async more(): Promise<boolean> {
    while (this.used >= this.current.length) {
      try {
        const next = await this.chunks.next();
        if (next.done === true) return false;
        this.current = next.value;
        this.used = 0;
      } catch (thrown) {
        throw sourceFailed(this.path, thrown, "unpack");
      }
    }
    return true;
  }
}
