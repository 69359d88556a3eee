/**
 * A cursor over received bytes, which may be hostile.
 *
 * Invariants: nothing outside the payload is ever read; every read that does not fit throws PROTOCOL_VIOLATION. Typed views point into
 * the payload and are valid only during the decoding of that batch.
 */
import { CodedError } from "../../../base/errors.js";

export function violation(what: string): CodedError {
  return new CodedError("PROTOCOL_VIOLATION", `a batch of records can't be decoded: ${what}`, {
    hint: "the bytes were damaged on the way or come from another version of Holdfast; the connection ends and the subtask is restarted",
  });
}

export class ByteReader {
  bytes: Uint8Array = new Uint8Array(0);
  view: DataView = new DataView(this.bytes.buffer);
  position = 0;
  end = 0;
  private aligned: Uint8Array = new Uint8Array(0);

  /** Typed arrays need aligned bytes, so a payload that is not aligned is copied (one copy of some kilobytes). */
  restart(payload: Uint8Array): void {
    if ((payload.byteOffset & 7) === 0) {
      this.bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
    } else {
      if (this.aligned.length < payload.length) this.aligned = new Uint8Array(Math.max(4096, payload.length));
      this.aligned.set(payload);
      this.bytes = this.aligned.subarray(0, payload.length);
    }
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.position = 0;
    this.end = payload.length;
  }

  /** Lets go of the payload, and of a copy that was unusually large. */
  release(): void {
    this.bytes = new Uint8Array(0);
    this.view = new DataView(this.bytes.buffer);
    if (this.aligned.length > 4 * 1024 * 1024) this.aligned = new Uint8Array(0);
  }

  get remaining(): number {
    return this.end - this.position;
  }

  /** The start of the next `count` bytes, which are thereby consumed. */
  take(count: number): number {
    if (count > this.end - this.position) throw violation("it ends too early");
    const start = this.position;
    this.position += count;
    return start;
  }

  align(): void {
    this.position = (this.position + 7) & ~7;
    if (this.position > this.end) throw violation("it ends too early");
  }

  u8(): number {
    return this.view.getUint8(this.take(1));
  }

  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  double(): number {
    return this.view.getFloat64(this.take(8), true);
  }

  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.u8();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw violation("a count is malformed");
  }

  i8s(count: number): Int8Array {
    return new Int8Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count), count);
  }

  u8s(count: number): Uint8Array {
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count), count);
  }

  i16s(count: number): Int16Array {
    return new Int16Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count * 2), count);
  }

  u16s(count: number): Uint16Array {
    return new Uint16Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count * 2), count);
  }

  i32s(count: number): Int32Array {
    return new Int32Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count * 4), count);
  }

  u32s(count: number): Uint32Array {
    return new Uint32Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count * 4), count);
  }

  f64s(count: number): Float64Array {
    return new Float64Array(this.bytes.buffer, this.bytes.byteOffset + this.take(count * 8), count);
  }
}
