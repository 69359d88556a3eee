/**
 * Bytes of a BatchEncoder to records. One decoder for each channel of a connection; it sees every payload of its encoder, in order.
 *
 * Bytes are not trusted: whatever they are, `decode` returns records or throws PROTOCOL_VIOLATION, reads nothing outside of them, and
 * takes no more memory than limits.ts allows. After a violation the two ends no longer agree, so the decoder refuses all further bytes:
 * the connection has to end.
 * Records never hold the payload. Text may hold the text of its batch: `detachText` what is kept for longer.
 */
import { CodedError } from "../../../base/errors.js";
import { ByteReader, violation } from "./byte-reader.js";
import { DecoderColumn, type DecoderContext } from "./decoder-state.js";
import { MAGIC, VERSION } from "./kinds.js";
import { MAX_BATCH_RECORDS } from "./limits.js";
import { readRecords } from "./read-column.js";
import type { TextCodec } from "./text-codec.js";
import { ValueReader } from "./value-reader.js";

export class BatchDecoder {
  private readonly context: DecoderContext;
  private readonly root = new DecoderColumn();
  private failed = false;

  constructor(options: { readonly text: TextCodec }) {
    const reader = new ByteReader();
    this.context = {
      reader,
      text: options.text,
      values: new ValueReader(reader),
      slots: 0,
      columns: 0,
      dictionaryUnits: 0,
      programs: 0,
    };
  }

  /** The records of a payload (without the caller's header), in a new array. */
  decode(payload: Uint8Array): unknown[] {
    const out: unknown[] = [];
    this.decodeInto(payload, out);
    return out;
  }

  /** The same into `out[0..]`, which may be used again and again; what stands behind the last record is left. Returns their number. */
  decodeInto(payload: Uint8Array, out: unknown[]): number {
    if (this.failed) throw violation("an earlier batch on this connection could not be decoded");
    const { reader } = this.context;
    try {
      reader.restart(payload);
      const count = this.read(out);
      reader.release();
      return count;
    } catch (thrown) {
      this.failed = true;
      reader.release();
      if (thrown instanceof CodedError) throw thrown;
      // What the language itself refuses: an invalid pattern, a date or a length out of range, a stack that is used up.
      throw violation(thrown instanceof Error ? thrown.message : String(thrown));
    }
  }

  private read(out: unknown[]): number {
    const { context } = this;
    const { reader } = context;
    context.slots = 0;
    if (reader.u8() !== MAGIC) throw violation("it does not begin as one");
    const version = reader.u8();
    if (version !== VERSION) throw violation(`it has version ${version}, and this side reads ${VERSION}`);
    reader.take(2);
    const count = reader.u32();
    if (count > MAX_BATCH_RECORDS) throw violation(`it has ${count} records, and ${MAX_BATCH_RECORDS} are allowed`);
    if (count > 0) readRecords(context, this.root, count, out);
    if (reader.remaining > 0) throw violation("bytes are left behind its last column");
    return count;
  }
}
