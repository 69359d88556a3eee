import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MinHeap } from "../../../../src/dataflow/time/min-heap.js";
import { TimerQueue } from "../../../../src/dataflow/time/timers.js";

test("a heap gives the least first, and equal ones in the order in which they came", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 100 }), (ranks) => {
      const heap = new MinHeap<{ readonly rank: number; readonly index: number }>(({ rank }) => rank);
      for (const [index, rank] of ranks.entries()) heap.put({ rank, index });
      const taken = ranks.map(() => heap.take());
      expect(taken).toEqual(ranks.map((rank, index) => ({ rank, index })).sort((a, b) => a.rank - b.rank || a.index - b.index));
      expect(heap.take()).toBeUndefined();
    }),
  );
});

describe("timers", () => {
  test("come in the order of their instants, once each, and not before", () => {
    const timers = new TimerQueue<string>();
    timers.set("a", 20);
    timers.set("b", 10);
    timers.set("a", 20);
    expect(timers.take(9)).toBeNull();
    expect(timers.take(20)).toEqual({ key: "b", at: 10 });
    expect(timers.take(20)).toEqual({ key: "a", at: 20 });
    expect(timers.take(20)).toBeNull();
  });

  test("one that is moved again and again takes the room of one", () => {
    const timers = new TimerQueue<string>();
    for (let i = 0; i < 10_000; i++) {
      timers.delete("a", 1_000_000 + i - 1);
      timers.set("a", 1_000_000 + i);
    }
    const { heap } = timers as unknown as { readonly heap: MinHeap<unknown> };
    expect(timers.size).toBe(1);
    expect(heap.size).toBeLessThan(200);
  });

  test("whatever is set and deleted, what comes is what a plain set would give", () => {
    const step = fc.record({
      kind: fc.constantFrom("set" as const, "set" as const, "delete" as const, "take" as const),
      key: fc.constantFrom("a", "b", "c"),
      at: fc.nat(12),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
        const timers = new TimerQueue<string>();
        const model = new Set<string>();
        for (const { kind, key, at } of steps) {
          if (kind === "set") {
            timers.set(key, at);
            model.add(`${key} ${at}`);
          } else if (kind === "delete") {
            timers.delete(key, at);
            model.delete(`${key} ${at}`);
          } else {
            const least = Math.min(...[...model].map((each) => Number(each.split(" ")[1])));
            const taken = timers.take(at);
            if (least > at) expect(taken).toBeNull();
            else {
              expect(taken?.at).toBe(least);
              expect(model.delete(`${taken?.key} ${taken?.at}`)).toBe(true);
            }
          }
          expect(timers.size).toBe(model.size);
          const all = ["a", "b", "c"].flatMap((each) => timers.of(each).map((instant) => `${each} ${instant}`));
          expect(all.sort()).toEqual([...model].sort());
        }
      }),
    );
  });
});
