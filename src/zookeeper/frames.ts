/**
 * Frames: each message is preceded by its length in four bytes.
 *
 * Boundary: chunks of a stream in, whole messages out. A length outside the bound is refused before anything is kept for it, so a hostile
 * peer can make it keep at most `maxBytes`.
 */
import { JuteError } from "./jute.js";

const LENGTH_BYTES = 4;

export class FrameSplitter {
  readonly #maxBytes: number;
  /** Parts of the message that is not complete, and how many bytes they are. */
  #parts: Buffer[] = [];
  #keptBytes = 0;
  /** How many bytes complete it: the length, then length and message. */
  #wantedBytes = LENGTH_BYTES;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Calls `receive` with each message that this chunk completes; the message is only valid during the call. Throws JuteError. */
  push(chunk: Buffer, receive: (message: Buffer) => void): void {
    let rest = chunk;
    if (this.#keptBytes > 0) {
      this.#keep(chunk);
      if (this.#keptBytes < this.#wantedBytes) return;
      rest = Buffer.concat(this.#parts);
      this.#drop();
    }
    let at = 0;
    while (rest.length - at >= LENGTH_BYTES) {
      const end = at + LENGTH_BYTES + this.#lengthAt(rest, at);
      if (end > rest.length) break;
      receive(rest.subarray(at + LENGTH_BYTES, end));
      at = end;
    }
    if (at === rest.length) return;
    const left = rest.subarray(at);
    this.#keep(left);
    if (left.length >= LENGTH_BYTES) this.#wantedBytes = LENGTH_BYTES + this.#lengthAt(left, 0);
  }

  #lengthAt(bytes: Buffer, at: number): number {
    const sizeBytes = bytes.readInt32BE(at);
    if (sizeBytes < 0 || sizeBytes > this.#maxBytes)
      throw new JuteError(`a message of ${sizeBytes} bytes, where at most ${this.#maxBytes} are allowed`);
    return sizeBytes;
  }

  #keep(part: Buffer): void {
    this.#parts.push(part);
    this.#keptBytes += part.length;
  }

  #drop(): void {
    this.#parts = [];
    this.#keptBytes = 0;
    this.#wantedBytes = LENGTH_BYTES;
  }
}
