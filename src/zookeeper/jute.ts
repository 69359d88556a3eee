/**
 * Jute, ZooKeeper's record format: big-endian numbers, and length-prefixed strings, buffers and vectors (length -1: null).
 *
 * Boundary: bytes to values and back; knows no message. A reader throws JuteError on bytes that cannot be what was asked for, and never
 * reads or allocates past its end, whatever a length says.
 */

export class JuteError extends Error {}

const FIRST_CAPACITY = 256;
const STRICT = new TextDecoder("utf-8", { fatal: true });

export class JuteWriter {
  #bytes: Buffer;
  #length = 0;

  constructor(capacity = FIRST_CAPACITY) {
    this.#bytes = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written. The writer is not used after it. */
  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  int(value: number): this {
    const at = this.#grow(4);
    this.#bytes.writeInt32BE(value, at);
    return this;
  }

  /** Overwrites the number at that place. */
  intAt(at: number, value: number): this {
    this.#bytes.writeInt32BE(value, at);
    return this;
  }

  long(value: bigint): this {
    const at = this.#grow(8);
    this.#bytes.writeBigInt64BE(value, at);
    return this;
  }

  boolean(value: boolean): this {
    const at = this.#grow(1);
    this.#bytes[at] = value ? 1 : 0;
    return this;
  }

  string(value: string): this {
    const sizeBytes = Buffer.byteLength(value, "utf8");
    const at = this.#grow(4 + sizeBytes);
    this.#bytes.writeInt32BE(sizeBytes, at);
    this.#bytes.write(value, at + 4, "utf8");
    return this;
  }

  /** Refuses other lists of numbers, and texts, which would be sent as something else than they are. */
  buffer(value: Uint8Array): this {
    if (!(value instanceof Uint8Array)) throw new TypeError("data has to be a Uint8Array");
    const at = this.#grow(4 + value.length);
    this.#bytes.writeInt32BE(value.length, at);
    this.#bytes.set(value, at + 4);
    return this;
  }

  vector<T>(items: readonly T[], write: (item: T) => void): this {
    this.int(items.length);
    for (const item of items) write(item);
    return this;
  }

  #grow(sizeBytes: number): number {
    const at = this.#length;
    this.#length += sizeBytes;
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    return at;
  }
}

export class JuteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  int(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  long(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  boolean(): boolean {
    return this.#bytes[this.#take(1)] !== 0;
  }

  /** Names and paths: well-formed UTF-8, or the bytes are not what they seem. */
  string(): string {
    const part = this.#part("a string");
    try {
      return STRICT.decode(part);
    } catch {
      throw new JuteError("a string is not UTF-8");
    }
  }

  /** Texts that people wrote, which ZooKeeper passes on as they are: what is not UTF-8 is replaced. */
  text(): string {
    return this.#part("a text").toString("utf8");
  }

  /** A copy, so that it does not keep the received chunk alive. A null buffer is empty. */
  buffer(): Uint8Array {
    return new Uint8Array(this.#part("a buffer"));
  }

  vector<T>(read: () => T): T[] {
    const count = this.int();
    // Each item takes at least a byte, so a count beyond what is left is a lie.
    if (count < -1 || count > this.left) throw new JuteError(`a vector of ${count} items in ${this.left} bytes`);
    const items: T[] = [];
    for (let index = 0; index < count; index++) items.push(read());
    return items;
  }

  #part(what: string): Buffer {
    const sizeBytes = this.int();
    if (sizeBytes === -1) return this.#bytes.subarray(this.#at, this.#at);
    if (sizeBytes < 0 || sizeBytes > this.left) throw new JuteError(`${what} of ${sizeBytes} bytes in ${this.left} bytes`);
    const at = this.#take(sizeBytes);
    return this.#bytes.subarray(at, at + sizeBytes);
  }

  #take(sizeBytes: number): number {
    const at = this.#at;
    if (sizeBytes > this.left) throw new JuteError(`the record ends ${sizeBytes - this.left} bytes too early`);
    this.#at += sizeBytes;
    return at;
  }
}
