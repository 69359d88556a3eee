/**
 * Records to bytes, column by column. One encoder for each channel of a connection, for as long as that lives: it refers to dictionaries
 * and shapes that it has announced before, so every payload has to reach the decoder at the other end, in order, each once.
 *
 * Records may be anything but functions, symbols, promises and weak collections (BAD_RECORD). Objects come back with the same keys in
 * the same order and with the exact values: null, undefined, a missing field, -0, NaN, lone surrogates, "__proto__", Date, BigInt,
 * bytes, Map, Set, Error. Instances of classes come back as plain objects (more in value-writer.ts).
 *
 * Invariant: an `encode` that throws has changed nothing that the decoder would have to know; the encoder may be used further.
 */
import { CodedError } from "../../../base/errors.js";
import { ByteWriter } from "./byte-writer.js";
import { Column, type EncoderContext } from "./encoder-state.js";
import { MAGIC, VERSION } from "./kinds.js";
import { MAX_BATCH_RECORDS, MAX_PAYLOAD_BYTES } from "./limits.js";
import { PayloadOverflow } from "./overflow.js";
import type { TextCodec } from "./text-codec.js";
import { ValueWriter } from "./value-writer.js";
import { writeColumn } from "./write-column.js";

export interface BatchEncoderOptions {
  readonly text: TextCodec;
  /** Bytes left free before each payload for the caller's own header; a multiple of 8 keeps decoding free of a copy. Default 0. */
  readonly headerBytes?: number;
  /** Bound of a payload without the header. Default MAX_PAYLOAD_BYTES. */
  readonly maxPayloadBytes?: number;
}

export interface EncodedBatch {
  /** `headerBytes` zero bytes, then the payload. */
  readonly bytes: Uint8Array;
  /** Records in it, at least 1 when there were any; fewer than asked for when they would not fit in one payload. */
  readonly consumed: number;
}

export class BatchEncoder {
  private readonly headerBytes: number;
  private readonly maxPayloadBytes: number;
  /** Where the payload starts in the writer: the header, padded in front so that columns are aligned. */
  private readonly payloadStart: number;
  private readonly context: EncoderContext;
  private readonly root = new Column();
  /** Records of a batch that fitted last, once one did not. */
  private expectedToFit = MAX_BATCH_RECORDS;

  constructor(options: BatchEncoderOptions) {
    this.headerBytes = options.headerBytes ?? 0;
    this.maxPayloadBytes = options.maxPayloadBytes ?? MAX_PAYLOAD_BYTES;
    this.payloadStart = (this.headerBytes + 7) & ~7;
    const writer = new ByteWriter();
    this.context = {
      writer,
      text: options.text,
      values: new ValueWriter(writer),
      limitBytes: this.payloadStart + this.maxPayloadBytes,
      journal: [],
      slots: 0,
      columns: 0,
      dictionaryUnits: 0,
    };
  }

  /** The next records from `start` on, in bytes of their own. Rejected with BAD_RECORD and LIMIT_EXCEEDED (one record too large). */
  encode(records: readonly unknown[], start: number, count: number): EncodedBatch {
    const { bytes, consumed } = this.encodeView(records, start, count);
    return { bytes: bytes.slice(), consumed };
  }

  /** The same without the copy: `bytes` is valid until the next call only, and may be written to in its header. */
  encodeView(records: readonly unknown[], start: number, count: number): EncodedBatch {
    let consumed = Math.min(count, this.expectedToFit);
    while (!this.tryEncode(records, start, consumed)) {
      if (consumed <= 1) throw this.tooLarge();
      consumed = consumed >> 1;
      this.expectedToFit = consumed;
    }
    // After a batch that had to be split, larger ones are tried again step by step.
    if (this.expectedToFit < MAX_BATCH_RECORDS)
      this.expectedToFit = Math.min(MAX_BATCH_RECORDS, Math.max(this.expectedToFit, consumed * 2));
    const { bytes, position } = this.context.writer;
    return { bytes: bytes.subarray(this.payloadStart - this.headerBytes, position), consumed };
  }

  /** What follows is for another decoder. Shapes with their code, and what was learned of the values, stay: so the second channel costs less than the first. */
  restart(): void {
    this.root.restart();
  }

  /** False when the payload would be too large. */
  private tryEncode(records: readonly unknown[], start: number, count: number): boolean {
    const { context } = this;
    const { writer, journal } = context;
    let done = false;
    try {
      writer.restart(this.payloadStart);
      writer.u8(MAGIC);
      writer.u8(VERSION);
      writer.u8(0);
      writer.u8(0);
      writer.u32(count);
      context.slots = 0;
      const values = start === 0 ? records : records.slice(start, start + count);
      if (count > 0) writeColumn(context, this.root, values, count, 0);
      done = true;
      return true;
    } catch (thrown) {
      if (thrown instanceof PayloadOverflow) return false;
      throw thrown;
    } finally {
      for (const entry of journal) done ? entry.commit() : entry.rollback();
      journal.length = 0;
    }
  }

  private tooLarge(): CodedError {
    return new CodedError("LIMIT_EXCEEDED", `one record takes more than the ${this.maxPayloadBytes} bytes that a batch may have`, {
      hint: "split the record, or keep large content in files and send their names",
    });
  }
}
