import { describe, expect, test } from "vitest";
import { barrierFrame, FRAME_HEADER_BYTES, readBarrier } from "../../../src/executor/run/exchange/frames.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import type { BatchInput, BatchOutput, ChannelId } from "../../../src/executor/run/network.js";
import { settle } from "../../support/manual-clock.js";
import { channel, isPending, openStage } from "./support.js";

interface Pair {
  readonly outputs: readonly [BatchOutput, BatchOutput];
  readonly input: BatchInput;
}

/** Two channels that lead to one subtask, each with two credits. */
const networks: [string, () => Promise<Pair>][] = [
  [
    "within a process",
    async () => {
      const network = createLocalNetwork({ creditsPerChannel: 2 });
      const outputs = [network.output(channel(0, 1)), network.output(channel(1, 1))] as const;
      return { outputs, input: network.input([channel(0, 1), channel(1, 1)]) };
    },
  ],
  [
    "from another process and from the own one",
    async () => {
      const stage = await openStage(2, { creditsPerChannel: 2 });
      const [sender, receiver] = [stage.at(0).open(), stage.at(1).open()];
      const outputs = [sender.output(channel(0, 1)), receiver.output(channel(1, 1))] as const;
      const input = receiver.input([channel(0, 1), channel(1, 1)]);
      await settle();
      return { outputs, input };
    },
  ],
];

type Seen = unknown[] | number | null;

/** What can be polled now, by sender; a barrier as its number. */
async function drainBySender(input: BatchInput): Promise<{ readonly seen: [Seen[], Seen[]]; readonly stopped: ChannelId[] }> {
  const seen: [Seen[], Seen[]] = [[], []];
  const stopped: ChannelId[] = [];
  for (let quiet = 0; quiet < 2; quiet++) {
    for (let next = input.poll(); next !== undefined; next = input.poll()) {
      seen[next.channel.fromSubtask as 0 | 1].push(next.barrier ?? next.records);
      if (next.barrier !== undefined) stopped.push(next.channel);
      quiet = 0;
    }
    await settle();
  }
  return { seen, stopped };
}

describe.each(networks)("barriers %s", (_name, open) => {
  test("a barrier overtakes no batch and no batch overtakes it, and the end comes behind it", async () => {
    const { outputs, input } = await open();
    for (const output of outputs) {
      output.send(["before"], 0, 1);
      output.barrier(7);
    }
    const first = await drainBySender(input);
    expect(first.seen).toEqual([
      [["before"], 7],
      [["before"], 7],
    ]);
    for (const output of outputs) {
      output.send(["after"], 0, 1);
      output.end();
    }
    expect((await drainBySender(input)).seen).toEqual([[], []]);
    input.release(first.stopped);
    expect((await drainBySender(input)).seen).toEqual([
      [["after"], null],
      [["after"], null],
    ]);
  });

  test("a channel that gave its barrier is stopped, and the others are not", async () => {
    const { outputs, input } = await open();
    outputs[0].barrier(1);
    outputs[0].send(["behind"], 0, 1);
    outputs[1].send(["one"], 0, 1);
    const first = await drainBySender(input);
    expect(first.seen).toEqual([[1], [["one"]]]);
    outputs[1].send(["two"], 0, 1);
    expect((await drainBySender(input)).seen).toEqual([[], [["two"]]]);
    input.release(first.stopped);
    expect((await drainBySender(input)).seen).toEqual([[["behind"]], []]);
  });

  test("what waits behind a barrier is bounded by the credits, and goes on after the release", async () => {
    const { outputs, input } = await open();
    outputs[0].barrier(1);
    const { stopped } = await drainBySender(input);
    let blocked: Promise<void> | null = null;
    let sent = 0;
    while (blocked === null && sent < 100) {
      const answer = outputs[0].send([sent++], 0, 1);
      if (answer !== true) blocked = answer;
    }
    expect(sent).toBeLessThanOrEqual(4);
    expect(blocked !== null && (await isPending(blocked))).toBe(true);
    input.release(stopped);
    expect((await drainBySender(input)).seen[0]).toEqual(Array.from({ length: sent }, (_, number) => [number]));
    await blocked;
  });

  test("a barrier waits for credit behind the batches that wait", async () => {
    const { outputs, input } = await open();
    const sent: (true | Promise<void>)[] = [];
    for (let number = 0; sent.at(-1) === true || number === 0; number++) sent.push(outputs[0].send([number], 0, 1));
    let passed = false;
    const barrier = (async () => {
      await sent.at(-1);
      await outputs[0].barrier(3);
      passed = true;
    })();
    await settle();
    expect(passed).toBe(false);
    expect((await drainBySender(input)).seen[0]).toEqual([...sent.map((_, number) => [number]), 3]);
    await barrier;
  });
});

describe("the frame of a barrier", () => {
  test.each([1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER])("carries the id %i", (id) => {
    expect(readBarrier(barrierFrame(3, 9, id))).toBe(id);
  });

  test("with no id, too many bytes or too few is refused", () => {
    for (const bytes of [0, 7, 9]) expect(() => readBarrier(new Uint8Array(FRAME_HEADER_BYTES + bytes))).toThrow(/barrier/);
    expect(() => readBarrier(new Uint8Array(FRAME_HEADER_BYTES + 8))).toThrow(/names no checkpoint/);
    expect(() => readBarrier(new Uint8Array(FRAME_HEADER_BYTES + 8).fill(255))).toThrow(/names no checkpoint/);
  });
});
