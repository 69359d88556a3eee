import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defaultMaxParallelism, keyGroupOf, keyGroupsOfSubtask, subtaskOfKeyGroup } from "../../../src/dataflow/key-groups.js";

const parallelisms = fc.integer({ min: 1, max: 2_000 }).chain((max) => fc.tuple(fc.constant(max), fc.integer({ min: 1, max })));

describe("key groups", () => {
  test("the number of groups leaves room to grow by half and is a power of two between 128 and 32,768", () => {
    expect([1, 2, 85, 86, 100, 128, 171, 1_000, 22_000, 32_768].map(defaultMaxParallelism)).toEqual([
      128, 128, 128, 256, 256, 256, 256, 2_048, 32_768, 32_768,
    ]);
  });

  test("a group is one of maxParallelism, also for negative hashes", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 32_768 }), (hash, maxParallelism) => {
        const group = keyGroupOf(hash, maxParallelism);
        expect(group).toBeGreaterThanOrEqual(0);
        expect(group).toBeLessThan(maxParallelism);
      }),
    );
  });

  test("the ranges of the subtasks cover every group once, in order, and differ by at most one", () => {
    fc.assert(
      fc.property(parallelisms, ([maxParallelism, parallelism]) => {
        let next = 0;
        const sizes: number[] = [];
        for (let subtask = 0; subtask < parallelism; subtask++) {
          const { first, last } = keyGroupsOfSubtask(subtask, maxParallelism, parallelism);
          expect(first).toBe(next);
          sizes.push(last - first + 1);
          next = last + 1;
        }
        expect(next).toBe(maxParallelism);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("the owner of a group is the subtask whose range holds it", () => {
    fc.assert(
      fc.property(parallelisms, fc.nat(), ([maxParallelism, parallelism], seed) => {
        const group = seed % maxParallelism;
        const { first, last } = keyGroupsOfSubtask(
          subtaskOfKeyGroup(group, maxParallelism, parallelism),
          maxParallelism,
          parallelism,
        );
        expect(first <= group && group <= last).toBe(true);
      }),
    );
  });

  test("a subtask that does not exist is a broken invariant", () => {
    expect(() => keyGroupsOfSubtask(2, 128, 2)).toThrow("subtask 2 of 2");
    expect(() => keyGroupsOfSubtask(0, 128, 129)).toThrow("parallelism 129");
  });
});
