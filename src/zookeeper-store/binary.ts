/** Numbers, texts and bytes one after another. Numbers are LEB128, texts and bytes carry their length. */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The longest form of a safe integer. */
const MAX_NUMBER_BYTES = 8;

export class BinaryWriter {
  private bytes: Uint8Array;
  private at = 0;

  constructor(capacityBytes: number) {
    this.bytes = new Uint8Array(Math.max(16, capacityBytes));
  }

  get length(): number {
    return this.at;
  }

  number(value: number): this {
    this.reserve(MAX_NUMBER_BYTES);
    let rest = value;
    while (rest >= 0x80) {
      this.bytes[this.at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.bytes[this.at++] = rest;
    return this;
  }

  text(value: string): this {
    return this.blob(encoder.encode(value));
  }

  blob(value: Uint8Array): this {
    this.number(value.length).reserve(value.length);
    this.bytes.set(value, this.at);
    this.at += value.length;
    return this;
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.at);
  }

  private reserve(length: number): void {
    if (this.at + length <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.at + length));
    larger.set(this.bytes.subarray(0, this.at));
    this.bytes = larger;
  }
}

/** Throws RangeError where the bytes end too early: the caller says what it was reading. */
export class BinaryReader {
  private readonly bytes: Uint8Array;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get atEnd(): boolean {
    return this.at === this.bytes.length;
  }

  number(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.bytes[this.at++];
      if (byte === undefined || factor > 0x80 ** (MAX_NUMBER_BYTES - 1)) throw new RangeError("a number is cut off");
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  text(): string {
    return decoder.decode(this.take(this.number()));
  }

  /** A copy, so that one record does not keep alive what it came with. */
  blob(): Uint8Array {
    return new Uint8Array(this.take(this.number()));
  }

  private take(length: number): Uint8Array {
    const end = this.at + length;
    if (end > this.bytes.length) throw new RangeError("bytes are cut off");
    const taken = this.bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }
}
