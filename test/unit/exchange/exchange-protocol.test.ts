/** Frames that no executor would send: whatever comes, the network fails with the name of who sent it, and its connection ends. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BatchEncoder } from "../../../src/executor/run/codec/index.js";
import {
  controlFrame,
  FRAME_HEADER_BYTES,
  FrameKind,
  failureFrame,
  openFrame,
  writeHeader,
} from "../../../src/executor/run/exchange/frames.js";
import { settle } from "../../support/manual-clock.js";
import { channel, dialAs, drain, isPending, openStage, text } from "./support.js";

const dialler = { processId: "executor-0", attempt: "1.1", try: 1 };
const OPEN = openFrame(0, channel(0, 1));

function batch(sequence: number, records: unknown[] = [1], number = 0): Uint8Array {
  const { bytes } = new BatchEncoder({ text, headerBytes: FRAME_HEADER_BYTES }).encode(records, 0, records.length);
  writeHeader(bytes, FrameKind.BATCH, number, sequence);
  return bytes;
}

/** An executor 1 with an input from executor 0, which is played by the test. */
async function openTarget() {
  const { at, env } = await openStage(2, { creditsPerChannel: 2 });
  const network = at(1).open();
  const input = network.input([channel(0, 1)]);
  const connection = await dialAs(env.transport, at(1).dataAddress, dialler);
  const answers: number[] = [];
  connection.onFrame((frame) => answers.push(frame[0] ?? 0));
  return { network, input, connection, answers };
}

const garbage = (): Uint8Array => {
  const frame = batch(0);
  frame.fill(0xee, FRAME_HEADER_BYTES);
  return frame;
};

const broken: Record<string, readonly Uint8Array[]> = {
  "a frame shorter than its header": [new Uint8Array(3)],
  "an unknown kind": [controlFrame(99)],
  "a credit, which is the receiver's to give": [OPEN, controlFrame(FrameKind.CREDIT, 0, 1)],
  "a batch on a channel that was not announced": [batch(0)],
  "a channel announced twice": [OPEN, openFrame(1, channel(0, 1))],
  "numbers that leave one out": [openFrame(1, channel(0, 1))],
  "a channel that is not the sender's own": [openFrame(0, channel(2, 1))],
  "a channel to another executor": [openFrame(0, channel(0, 2))],
  "an announcement that is no JSON": [Uint8Array.of(...controlFrame(FrameKind.OPEN), 1, 2, 255)],
  "a batch that is missing": [OPEN, batch(0), batch(2)],
  "a batch that comes twice": [OPEN, batch(0), batch(0)],
  "a batch after the end": [OPEN, controlFrame(FrameKind.END, 0, 0), batch(0)],
  "an end that counts wrongly": [OPEN, batch(0), controlFrame(FrameKind.END, 0, 7)],
  "two ends": [OPEN, controlFrame(FrameKind.END, 0, 0), controlFrame(FrameKind.END, 0, 0)],
  "more batches than credits": [OPEN, batch(0), batch(1), batch(2)],
  "a farewell before the end": [OPEN, controlFrame(FrameKind.GOODBYE)],
};

describe("a receiver", () => {
  for (const [what, frames] of Object.entries(broken)) {
    test(`refuses ${what}`, async () => {
      const { input, connection } = await openTarget();
      for (const frame of frames) connection.send(frame);
      await settle();
      const error = {
        code: "EXECUTOR_LOST",
        message: expect.stringContaining("executor-0"),
        details: expect.objectContaining({ cause: "PROTOCOL_VIOLATION" }),
      };
      expect(() => input.poll()).toThrow(expect.objectContaining(error));
      expect(await isPending(connection.ended)).toBe(false);
    });
  }

  test("fails when a batch can't be decoded, at the poll that finds it", async () => {
    const { input, connection } = await openTarget();
    for (const frame of [OPEN, batch(0), garbage().map((byte, at) => (at === 8 ? 1 : byte))]) connection.send(frame);
    await settle();
    expect(input.poll()?.records).toEqual([1]);
    const error = expect.objectContaining({ code: "EXECUTOR_LOST", message: expect.stringContaining("executor-0") });
    expect(() => input.poll()).toThrow(error);
    expect(() => input.poll()).toThrow(error);
    expect(await isPending(connection.ended)).toBe(false);
  });

  test("gives credits back in halves, and says goodbye", async () => {
    const { input, connection, answers } = await openTarget();
    for (const frame of [OPEN, batch(0)]) connection.send(frame);
    await settle();
    expect(input.poll()?.records).toEqual([1]);
    await settle();
    expect(answers).toEqual([FrameKind.CREDIT]);
    for (const frame of [controlFrame(FrameKind.END, 0, 1), controlFrame(FrameKind.GOODBYE)]) connection.send(frame);
    await settle();
    expect(answers).toEqual([FrameKind.CREDIT, FrameKind.GOODBYE]);
    expect(await drain(input)).toEqual([null]);
  });

  test("tells the failure of the other side", async () => {
    const { input, connection } = await openTarget();
    connection.send(failureFrame({ code: "SINK_FAILED", message: `disk full ${"!".repeat(100_000)}`, hint: null }));
    await settle();
    expect(() => input.poll()).toThrow(expect.objectContaining({ message: expect.stringContaining("disk full") }));
  });

  test("survives any bytes behind the handshake", async () => {
    const frames = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 64 }),
        fc
          .tuple(fc.integer({ min: 0, max: 7 }), fc.nat(2), fc.nat(3), fc.uint8Array({ maxLength: 32 }))
          .map(([kind, number, argument, body]) => Uint8Array.of(...controlFrame(kind, number, argument), ...body)),
        fc.constantFrom(OPEN, batch(0), batch(1), controlFrame(FrameKind.END, 0, 1)),
      ),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(frames, async (sent) => {
        const { input, connection, network } = await openTarget();
        for (const frame of sent) connection.send(frame);
        await settle();
        try {
          await drain(input);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: "EXECUTOR_LOST" });
        }
        await network.close();
        expect(await isPending(connection.ended)).toBe(false);
        expect(network.waiting().waitingBytes).toBe(0);
      }),
      { numRuns: 200, seed: 11 },
    );
  });
});

describe("a sender", () => {
  const answered: Record<string, Uint8Array> = {
    "credit that was never taken": controlFrame(FrameKind.CREDIT, 0, 1),
    "credit for a channel that does not exist": controlFrame(FrameKind.CREDIT, 5, 1),
    "a farewell before its channels have ended": controlFrame(FrameKind.GOODBYE),
    "a batch, which is the sender's to send": batch(0),
  };
  for (const [what, answer] of Object.entries(answered)) {
    test(`refuses ${what}`, async () => {
      const { at, env } = await openStage(2);
      const [target] = [at(1)];
      await target.die();
      const listener = await env.transport.listen(target.dataAddress, (connection) => {
        connection.onFrame(() => undefined);
        connection.send(answer);
      });
      const output = at(0).open().output(channel(0, 1));
      await settle();
      await expect(output.send([1], 0, 1)).rejects.toMatchObject({
        code: "EXECUTOR_LOST",
        details: { cause: "PROTOCOL_VIOLATION" },
      });
      await listener.close();
    });
  }
});
