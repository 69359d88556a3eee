/**
 * A growing buffer with typed views of all of it, for columns that are written in place.
 *
 * Invariants: what is written at an aligned position may be read through a typed array at the same offset; bytes skipped by alignment are
 * zero, so equal batches give equal bytes. Numbers are in the order of the machine (little-endian wherever Node runs in practice).
 */
const FIRST_BYTES = 64 * 1024;
/** A buffer that one large batch has blown up is given back. */
const KEPT_BYTES = 4 * 1024 * 1024;

export class ByteWriter {
  bytes!: Uint8Array;
  i8!: Int8Array;
  i16!: Int16Array;
  u16!: Uint16Array;
  i32!: Int32Array;
  f64!: Float64Array;
  view!: DataView;
  position = 0;

  constructor() {
    this.adopt(new ArrayBuffer(FIRST_BYTES));
  }

  private adopt(buffer: ArrayBuffer): void {
    this.bytes = new Uint8Array(buffer);
    this.i8 = new Int8Array(buffer);
    this.i16 = new Int16Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.view = new DataView(buffer);
  }

  /** Starts a payload at `position`; what was written before is gone. */
  restart(position: number): void {
    if (this.bytes.length > KEPT_BYTES) this.adopt(new ArrayBuffer(FIRST_BYTES));
    this.bytes.fill(0, 0, position);
    this.position = position;
  }

  /** Makes room for `count` more bytes and an alignment. */
  reserve(count: number): void {
    const needed = this.position + count + 8;
    if (needed > this.bytes.length) this.grow(needed);
  }

  private grow(needed: number): void {
    const old = this.bytes;
    let size = old.length;
    while (size < needed) size *= 2;
    this.adopt(new ArrayBuffer(size));
    this.bytes.set(old.subarray(0, this.position));
  }

  /** Goes on at the next multiple of 8. The room for it is part of every `reserve`. */
  align(): void {
    while ((this.position & 7) !== 0) this.bytes[this.position++] = 0;
  }

  /** The 8 bytes that every column starts with. */
  head(kind: number, flags: number, size: number): void {
    this.align();
    this.reserve(16);
    this.i32[this.position >> 2] = kind | (flags << 8);
    this.i32[(this.position >> 2) + 1] = size;
    this.position += 8;
  }

  u8(value: number): void {
    this.bytes[this.position++] = value;
  }

  u32(value: number): void {
    this.view.setUint32(this.position, value, true);
    this.position += 4;
  }

  double(value: number): void {
    this.view.setFloat64(this.position, value, true);
    this.position += 8;
  }

  /** Seven bits a byte, lowest first. */
  varint(value: number): void {
    let rest = value >>> 0;
    while (rest > 127) {
      this.bytes[this.position++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.bytes[this.position++] = rest;
  }
}
