/**
 * The batch codec's TextCodec with Buffer's native methods: several times faster than TextEncoder and TextDecoder for the sizes that
 * batches have.
 *
 * Boundary: the shape of the interface is `TextCodec` of executor/run/codec, which this folder may not import; that they fit is checked
 * where a program joins the two (and by test/unit/codec). Bounds are the caller's duty, as the interface says; Buffer checks them again.
 */
import { Buffer } from "node:buffer";

export interface NodeTextCodec {
  writeUtf8(text: string, bytes: Uint8Array, offset: number): number;
  readUtf8(bytes: Uint8Array, start: number, end: number): string;
  writeLatin1(text: string, bytes: Uint8Array, offset: number): number;
  readLatin1(bytes: Uint8Array, start: number, end: number): string;
}

/** Methods that Buffer has in every supported version of Node, and that @types/node leaves out. They take any Uint8Array as `this`. */
interface NativeMethods {
  utf8Write(this: Uint8Array, text: string, offset: number, length: number): number;
  latin1Write(this: Uint8Array, text: string, offset: number, length: number): number;
  utf8Slice(this: Uint8Array, start: number, end: number): string;
  latin1Slice(this: Uint8Array, start: number, end: number): string;
}

export function createNodeTextCodec(): NodeTextCodec {
  const { utf8Write, latin1Write, utf8Slice, latin1Slice } = Buffer.prototype as unknown as NativeMethods;
  return {
    writeUtf8: (text, bytes, offset) => utf8Write.call(bytes, text, offset, bytes.length - offset),
    readUtf8: (bytes, start, end) => utf8Slice.call(bytes, start, end),
    writeLatin1: (text, bytes, offset) => latin1Write.call(bytes, text, offset, bytes.length - offset),
    readLatin1: (bytes, start, end) => latin1Slice.call(bytes, start, end),
  };
}
