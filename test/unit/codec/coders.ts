/** Pairs of encoder and decoder for the tests of the batch codec, with the platform's text codec and with the portable one. */
import { expect } from "vitest";
import { BatchDecoder, BatchEncoder, createPortableTextCodec, type TextCodec } from "../../../src/executor/run/codec/index.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";

export const TEXT_CODECS: readonly (readonly [string, TextCodec])[] = [
  ["Buffer's text codec", createNodeTextCodec()],
  ["the portable text codec", createPortableTextCodec()],
];

export interface Channel {
  readonly encoder: BatchEncoder;
  readonly decoder: BatchDecoder;
  /** Sends all records, in as many payloads as it takes, and returns what arrived. */
  send(records: readonly unknown[]): unknown[];
}

export function channel(text: TextCodec = createNodeTextCodec(), maxPayloadBytes?: number): Channel {
  const encoder = new BatchEncoder({ text, ...(maxPayloadBytes === undefined ? {} : { maxPayloadBytes }) });
  const decoder = new BatchDecoder({ text });
  return {
    encoder,
    decoder,
    send(records) {
      const arrived: unknown[] = [];
      for (let at = 0; at < records.length; ) {
        const { bytes, consumed } = encoder.encode(records, at, records.length - at);
        expect(consumed).toBeGreaterThan(0);
        const part = decoder.decode(bytes);
        expect(part).toHaveLength(consumed);
        for (const record of part) arrived.push(record);
        at += consumed;
      }
      return arrived;
    },
  };
}

/** Deep equality that tells apart everything that the codec promises to keep: -0, undefined and missing, order of keys, "__proto__". */
export function exactly(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return `${value}n`;
    case "object":
      return value === null ? "null" : exactlyObject(value);
    default:
      return String(value);
  }
}

function exactlyObject(value: object): string {
  const list = (items: Iterable<unknown>): string => [...items].map(exactly).join(",");
  if (Array.isArray(value)) return `[${list(value)}]`;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (value instanceof Map) return `Map(${list([...value].flat(1))})`;
  if (value instanceof Set) return `Set(${list(value)})`;
  if (value instanceof RegExp) return `RegExp(${value})`;
  if (value instanceof DataView) return `DataView(${list(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))})`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${list(new Uint8Array(value))})`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${list(value as unknown as Iterable<number>)})`;
  const fields = Object.keys(value).map((key) => `${JSON.stringify(key)}:${exactly((value as Record<string, unknown>)[key])}`);
  if (value instanceof Error)
    return `${value.constructor.name}(${value.name},${value.message},${value.stack},${exactly(value.cause)},${fields})`;
  const prototype = Object.getPrototypeOf(value);
  return `${prototype === Object.prototype ? "" : "other prototype "}{${fields.join(",")}}`;
}
