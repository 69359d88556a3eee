import { describe, expect, test } from "vitest";
import { BEGINNING, type Watermark } from "../../../src/dataflow/time/watermarks.js";
import { barrierFrame, FRAME_HEADER_BYTES, readWatermark, watermarkFrame } from "../../../src/executor/run/exchange/frames.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import type { BatchInput, BatchOutput } from "../../../src/executor/run/network.js";
import { settle } from "../../support/manual-clock.js";
import { channel, isPending, openStage } from "./support.js";

const at = (ms: number): Watermark => ({ ms, idle: false });

/** One channel with two credits. */
const networks: [string, () => Promise<{ readonly output: BatchOutput; readonly input: BatchInput }>][] = [
  [
    "within a process",
    async () => {
      const network = createLocalNetwork({ creditsPerChannel: 2 });
      return { output: network.output(channel(0, 1)), input: network.input([channel(0, 1)]) };
    },
  ],
  [
    "from another process",
    async () => {
      const stage = await openStage(2, { creditsPerChannel: 2 });
      const output = stage.at(0).open().output(channel(0, 1));
      const input = stage
        .at(1)
        .open()
        .input([channel(0, 1)]);
      await settle();
      return { output, input };
    },
  ],
];

async function drain(input: BatchInput): Promise<unknown[]> {
  const seen: unknown[] = [];
  for (let quiet = 0; quiet < 2; quiet++) {
    for (let next = input.poll(); next !== undefined; next = input.poll()) {
      seen.push(next.watermark ?? next.barrier ?? next.records);
      if (next.barrier !== undefined) input.release([next.channel]);
      quiet = 0;
    }
    await settle();
  }
  return seen;
}

describe.each(networks)("watermarks %s", (_name, open) => {
  test("overtake nothing, nothing overtakes them, and they stop nothing", async () => {
    const { output, input } = await open();
    const sending = (async () => {
      await output.send(["a"], 0, 1);
      await output.watermark(at(-5));
      await output.barrier(3);
      await output.watermark({ ms: BEGINNING, idle: true });
      await output.send(["b"], 0, 1);
      output.end();
    })();
    const seen = [...(await drain(input)), ...(await drain(input))];
    await sending;
    expect([...seen, ...(await drain(input))]).toEqual([["a"], at(-5), 3, { ms: BEGINNING, idle: true }, ["b"], null]);
  });

  test("wait for credit as batches do, so that they can't pile up before a subtask that stands still", async () => {
    const { output, input } = await open();
    output.send(["a"], 0, 1);
    output.watermark(at(1));
    const third = Promise.resolve(output.watermark(at(2)));
    await settle();
    expect(await isPending(third)).toBe(true);
    expect(await drain(input)).toEqual([["a"], at(1), at(2)]);
    await third;
  });
});

describe("the frame of a watermark", () => {
  test.each([at(0), at(-1.5), at(1_764_522_000_000), { ms: BEGINNING, idle: true }])("carries %o", (watermark) => {
    expect(readWatermark(watermarkFrame(3, 9, watermark))).toEqual(watermark);
  });

  test("that is too long or short, or names no instant, is refused", () => {
    expect(() => readWatermark(barrierFrame(1, 1, 1))).toThrow(/length/);
    expect(() => readWatermark(new Uint8Array(FRAME_HEADER_BYTES + 10))).toThrow(/length/);
    for (const ms of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => readWatermark(watermarkFrame(1, 1, at(ms)))).toThrow(/none/);
    const frame = watermarkFrame(1, 1, at(1));
    frame[frame.length - 1] = 2;
    expect(() => readWatermark(frame)).toThrow(/none/);
  });
});
