import { describe, expect, test } from "vitest";
import { type Buckets, createBuckets, createPartitioner, subtaskOfKey } from "../../../src/dataflow/partitioners.js";

const records = Array.from({ length: 1_000 }, (_, i) => ({ id: i, key: `k${i % 97}` }));
const contents = ({ records: held, counts }: Buckets): unknown[][] => held.map((bucket, t) => bucket.slice(0, counts[t]));
const keyOf = (record: unknown): unknown => (record as { key: unknown }).key;

describe("partitioners", () => {
  test("hash sends every record to the owner of its key's group, in order, and loses none", () => {
    const partition = createPartitioner({ exchange: "hash", targets: 3, subtask: 0, maxParallelism: 128, keyOf });
    const out = createBuckets(3);
    partition(records, 600, out);
    partition(records.slice(600), 400, out);
    const got = contents(out);
    expect(got.flat()).toHaveLength(1_000);
    got.forEach((bucket, target) => {
      const ids = bucket.map((record) => (record as { id: number }).id);
      expect(ids).toEqual(ids.toSorted((a, b) => a - b));
      for (const record of bucket) expect(subtaskOfKey(keyOf(record), 128, 3)).toBe(target);
    });
    expect(got.every((bucket) => bucket.length > 200)).toBe(true);
  });

  test("hash takes keys of every type, and equal keys from different senders meet", () => {
    const keys = ["a", 1, 1.5, -0, 5n, null, undefined, true, new Date(5), [1, "x"], { b: 1, a: 2 }];
    const equalKeys = ["a", 1, 1.5, 0, 5n, null, undefined, true, new Date(5), [1, "x"], { a: 2, b: 1 }];
    const targetsOf = (subtask: number, list: readonly unknown[]): number[] =>
      list.map((key) => {
        const out = createBuckets(4);
        createPartitioner({ exchange: "hash", targets: 4, subtask, maxParallelism: 128, keyOf: (record) => record })([key], 1, out);
        return out.counts.indexOf(1);
      });
    expect(targetsOf(0, keys)).toEqual(targetsOf(1, equalKeys));
    expect(new Set(targetsOf(0, keys)).size).toBeGreaterThan(1);
  });

  test("hash to one target asks for no key", () => {
    const out = createBuckets(1);
    const fail = (): never => {
      throw new Error("asked");
    };
    createPartitioner({ exchange: "hash", targets: 1, subtask: 0, maxParallelism: 128, keyOf: fail })(records, 1_000, out);
    expect(out.counts).toEqual([1_000]);
  });

  test("rebalance goes round from a start that depends on the subtask, and goes on where the last batch ended", () => {
    const partition = createPartitioner({ exchange: "rebalance", targets: 3, subtask: 4 });
    const out = createBuckets(3);
    partition([0, 1], 2, out);
    partition([2, 3, 4], 3, out);
    expect(contents(out)).toEqual([[2], [0, 3], [1, 4]]);
  });

  test("broadcast sends everything to all, forward to the subtask of the same number", () => {
    const all = createBuckets(3);
    createPartitioner({ exchange: "broadcast", targets: 3, subtask: 1 })([7, 8], 2, all);
    expect(contents(all)).toEqual([
      [7, 8],
      [7, 8],
      [7, 8],
    ]);
    const same = createBuckets(3);
    createPartitioner({ exchange: "forward", targets: 3, subtask: 1 })([7, 8], 2, same);
    expect(contents(same)).toEqual([[], [7, 8], []]);
  });

  test("a bucket whose count was set back is filled from the start", () => {
    const out = createBuckets(1);
    const partition = createPartitioner({ exchange: "forward", targets: 1, subtask: 0 });
    partition([1, 2, 3], 3, out);
    out.counts[0] = 0;
    partition([4], 1, out);
    expect(contents(out)).toEqual([[4]]);
  });

  test("a hash exchange without a key or with more targets than key groups is a broken invariant", () => {
    expect(() => createPartitioner({ exchange: "hash", targets: 2, subtask: 0 })).toThrow("has a key");
    expect(() => createPartitioner({ exchange: "hash", targets: 129, subtask: 0, maxParallelism: 128, keyOf })).toThrow(
      "129 targets",
    );
  });
});
