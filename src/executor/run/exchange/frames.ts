/**
 * Frames of a data connection. The dialler sends records, the acceptor gives credits back; failures go both ways.
 *
 *   OPEN     dialler -> acceptor   announces a channel under a number; body: JSON [edge, fromSubtask, toSubtask]
 *   BATCH    dialler -> acceptor   body: a payload of the batch codec; argument: 0, 1, 2 ... within the channel
 *   END      dialler -> acceptor   no batch of the channel follows; argument: the number of its batches
 *   BARRIER  dialler -> acceptor   of a checkpoint, in the order of the batches and counted as one; body: its id, 8 bytes
 *   WATERMARK  dialler -> acceptor  in the order of the batches and counted as one; body: its instant (a double), 1 byte: whether the channel is idle
 *   CREDIT   acceptor -> dialler   argument: so many more batches of the channel may be sent
 *   GOODBYE  dialler -> acceptor   all channels have ended; the answer, or the acceptor's own: everything has arrived
 *   FAILURE  both ways             the sender's part of the try has failed; body: JSON of an ErrorShape
 *
 * A header has 12 bytes, so that the payload behind it is aligned for the codec wherever the transport's 4 bytes of length are.
 */
import { z } from "zod";
import { CodedError, type ErrorShape } from "../../../base/errors.js";
import type { Watermark } from "../../../dataflow/time/watermarks.js";
import { errorShape } from "../../../wire/envelope.js";
import type { ChannelId } from "../network.js";

export const FrameKind = { OPEN: 1, BATCH: 2, END: 3, CREDIT: 4, GOODBYE: 5, FAILURE: 6, BARRIER: 7, WATERMARK: 8 } as const;

export const FRAME_HEADER_BYTES = 12;
/** Bodies of OPEN and FAILURE. */
export const MAX_TEXT_BYTES = 16 * 1024;
/** Channels of one connection: edges of the execution plan. */
export const MAX_CHANNELS = 4_096;
const MAX_MESSAGE_UNITS = 2_000;

export interface FrameHeader {
  readonly kind: number;
  readonly channel: number;
  readonly argument: number;
}

export function writeHeader(frame: Uint8Array, kind: number, channel: number, argument: number): void {
  frame[0] = kind;
  writeU32(frame, 4, channel);
  writeU32(frame, 8, argument);
}

export function controlFrame(kind: number, channel = 0, argument = 0): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES);
  writeHeader(frame, kind, channel, argument);
  return frame;
}

export function readHeader(frame: Uint8Array): FrameHeader {
  if (frame.length < FRAME_HEADER_BYTES) throw protocolViolation("a frame is shorter than its header");
  return { kind: frame[0] ?? 0, channel: readU32(frame, 4), argument: readU32(frame, 8) };
}

export const bodyOf = (frame: Uint8Array): Uint8Array => frame.subarray(FRAME_HEADER_BYTES);

/** The body of a BARRIER. */
export const BARRIER_BYTES = 8;
const TWO_32 = 2 ** 32;

export function barrierFrame(channel: number, sequence: number, id: number): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + BARRIER_BYTES);
  writeHeader(frame, FrameKind.BARRIER, channel, sequence);
  writeU32(frame, FRAME_HEADER_BYTES, id % TWO_32);
  writeU32(frame, FRAME_HEADER_BYTES + 4, Math.floor(id / TWO_32));
  return frame;
}

export function readBarrier(frame: Uint8Array): number {
  if (frame.length !== FRAME_HEADER_BYTES + BARRIER_BYTES) throw protocolViolation("a barrier has another length than it should");
  const id = readU32(frame, FRAME_HEADER_BYTES) + readU32(frame, FRAME_HEADER_BYTES + 4) * TWO_32;
  if (!Number.isSafeInteger(id) || id === 0) throw protocolViolation("a barrier names no checkpoint");
  return id;
}

/** The body of a WATERMARK. */
export const WATERMARK_BYTES = 9;

export function watermarkFrame(channel: number, sequence: number, { ms, idle }: Watermark): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + WATERMARK_BYTES);
  writeHeader(frame, FrameKind.WATERMARK, channel, sequence);
  new DataView(frame.buffer).setFloat64(FRAME_HEADER_BYTES, ms, true);
  frame[FRAME_HEADER_BYTES + 8] = idle ? 1 : 0;
  return frame;
}

export function readWatermark(frame: Uint8Array): Watermark {
  if (frame.length !== FRAME_HEADER_BYTES + WATERMARK_BYTES)
    throw protocolViolation("a watermark has another length than it should");
  const ms = new DataView(frame.buffer, frame.byteOffset).getFloat64(FRAME_HEADER_BYTES, true);
  const idle = frame[FRAME_HEADER_BYTES + 8] ?? 0;
  if (Number.isNaN(ms) || ms === Number.POSITIVE_INFINITY || idle > 1) throw protocolViolation("a watermark is none");
  return { ms, idle: idle === 1 };
}

const channelName = z.tuple([z.string().max(4_096), z.number().int().nonnegative(), z.number().int().nonnegative()]);

export function openFrame(number: number, { edge, fromSubtask, toSubtask }: ChannelId): Uint8Array {
  return textFrame(FrameKind.OPEN, number, JSON.stringify([edge, fromSubtask, toSubtask]));
}

export function readOpen(frame: Uint8Array): ChannelId {
  const [edge, fromSubtask, toSubtask] = readJson(frame, channelName);
  return { edge, fromSubtask, toSubtask };
}

/** Details and most of a long message stay at home: the driver gets them from the executor that failed. */
export function failureFrame({ code, message, hint }: ErrorShape): Uint8Array {
  const body = { code, message: message.slice(0, MAX_MESSAGE_UNITS), hint: hint?.slice(0, MAX_MESSAGE_UNITS) ?? null };
  return textFrame(FrameKind.FAILURE, 0, JSON.stringify(body));
}

export function readFailure(frame: Uint8Array): ErrorShape {
  return readJson(frame, errorShape) as ErrorShape;
}

export function protocolViolation(what: string): CodedError {
  return new CodedError("PROTOCOL_VIOLATION", what);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

function textFrame(kind: number, channel: number, text: string): Uint8Array {
  const body = encoder.encode(text);
  const frame = new Uint8Array(FRAME_HEADER_BYTES + body.length);
  writeHeader(frame, kind, channel, 0);
  frame.set(body, FRAME_HEADER_BYTES);
  return frame;
}

function readJson<S extends z.ZodType>(frame: Uint8Array, schema: S): z.infer<S> {
  const body = bodyOf(frame);
  if (body.length > MAX_TEXT_BYTES) throw protocolViolation("the text of a frame is too long");
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(body));
  } catch {
    throw protocolViolation("the text of a frame is malformed");
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw protocolViolation("the text of a frame is not what it should be");
  return parsed.data;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 255;
  bytes[at + 1] = (value >>> 8) & 255;
  bytes[at + 2] = (value >>> 16) & 255;
  bytes[at + 3] = value >>> 24;
}

function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}
