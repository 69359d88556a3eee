import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BEGINNING, SourceWatermark, type Watermark, WatermarkMerge } from "../../../../src/dataflow/time/watermarks.js";

const at = (ms: number): Watermark => ({ ms, idle: false });
const idle = (ms: number): Watermark => ({ ms, idle: true });

describe("the watermark of an input", () => {
  test("is the least of its channels, and nothing before each has given one", () => {
    const merge = new WatermarkMerge(["a", "b"]);
    expect(merge.advance("a", at(10))).toBeNull();
    expect(merge.advance("b", at(5))).toEqual(at(5));
    expect(merge.advance("b", at(20))).toEqual(at(10));
    expect(merge.advance("b", at(30))).toBeNull();
  });

  test("a channel that has ended counts no more; when all have, nothing is said", () => {
    const merge = new WatermarkMerge(["a", "b"]);
    merge.advance("a", at(10));
    expect(merge.ended("b")).toEqual(at(10));
    expect(merge.ended("a")).toBeNull();
  });

  test("an idle channel holds nobody up, and one that comes back doesn't turn time back", () => {
    const merge = new WatermarkMerge(["a", "b"]);
    merge.advance("a", at(10));
    expect(merge.advance("b", idle(3))).toEqual(at(10));
    expect(merge.advance("b", at(4))).toBeNull();
    expect(merge.current).toEqual(at(10));
    expect(merge.advance("a", at(20))).toBeNull();
    expect(merge.advance("b", at(15))).toEqual(at(15));
  });

  test("is idle when all channels are, and stays where it was", () => {
    const merge = new WatermarkMerge(["a", "b"]);
    merge.advance("a", at(10));
    merge.advance("b", at(12));
    expect(merge.advance("a", idle(10))).toEqual(at(12));
    expect(merge.advance("b", idle(12))).toEqual(idle(12));
    expect(merge.advance("a", at(11))).toEqual(at(12));
  });

  test("goes on from where the checkpoint was taken", () => {
    const merge = new WatermarkMerge(["a"], 100);
    expect(merge.advance("a", at(90))).toBeNull();
    expect(merge.advance("a", at(101))).toEqual(at(101));
  });

  test("whatever comes, it never goes back, and never passes a channel that is open and not idle", () => {
    const step = fc.record({
      channel: fc.integer({ min: 0, max: 3 }),
      kind: fc.constantFrom("at" as const, "idle" as const, "end" as const),
      by: fc.nat(50),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const merge = new WatermarkMerge([0, 1, 2, 3]);
        const open = new Map([0, 1, 2, 3].map((channel) => [channel, at(BEGINNING)]));
        const wasIdle = new Set<number>();
        let last = BEGINNING;
        for (const { channel, kind, by } of steps) {
          const known = open.get(channel);
          if (known === undefined) continue;
          if (kind === "end") {
            open.delete(channel);
            merge.ended(channel);
          } else {
            const next = { ms: Math.max(known.ms, 0) + by, idle: kind === "idle" };
            if (next.idle) wasIdle.add(channel);
            open.set(channel, next);
            merge.advance(channel, next);
          }
          const { ms } = merge.current;
          expect(ms).toBeGreaterThanOrEqual(last);
          if (wasIdle.size === 0) for (const each of open.values()) expect(ms).toBeLessThanOrEqual(each.ms);
          last = ms;
        }
      }),
    );
  });
});

test("a source's watermark is before everything that may still come", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1_000), { minLength: 1, maxLength: 40 }), fc.nat(100), (times, outOfOrdernessMs) => {
      const watermark = new SourceWatermark(outOfOrdernessMs);
      let latest = BEGINNING;
      for (const timeMs of times) {
        latest = Math.max(latest, timeMs);
        watermark.saw(timeMs);
        expect(watermark.current).toBe(latest - outOfOrdernessMs - 1);
      }
    }),
  );
});
