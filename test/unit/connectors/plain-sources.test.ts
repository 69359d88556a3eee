import { describe, expect, test } from "vitest";
import { fromAsyncIterable } from "../../../src/api/iterable-source.js";
import { createSource } from "../../../src/connectors/index.js";
import { readAll, readDescriptor, signal } from "./reading.js";

describe("numbers", () => {
  test("are split without gaps or overlaps, and go on where a reader stopped", async () => {
    for (const [from, to] of [
      [0, 0],
      [0, 1],
      [5, 12],
      [-3, 1000],
      [10, 3],
    ] as const) {
      const expected = Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
      for (const parallelism of [1, 2, 7]) {
        expect((await readDescriptor({ kind: "numbers", from, to }, { parallelism })).records).toEqual(expected);
        expect((await readDescriptor({ kind: "numbers", from, to }, { parallelism, resumeAfter: 3 })).records).toEqual(expected);
      }
    }
  });

  test("without an end are unbounded and shared out in turn", async () => {
    const source = createSource({ kind: "numbers", from: 10 });
    expect(source.bounded).toBe(false);
    const { splits, totalRecords } = await source.enumerate({ parallelism: 3, signal });
    expect(totalRecords).toBeNull();
    const firsts = await Promise.all(
      splits.map(async (split) => {
        const reader = await source.open(split, null, { signal, onBadRecord: () => undefined });
        const out: unknown[] = [];
        expect(reader.next(out, 3)).toBe(3);
        return out;
      }),
    );
    expect(firsts).toEqual([
      [10, 13, 16],
      [11, 14, 17],
      [12, 15, 18],
    ]);
  });

  test("must be integers", () => {
    expect(() => createSource({ kind: "numbers", from: 0.5, to: 2 })).toThrow("integers");
  });
});

test("a collection gives its items once each", async () => {
  const items = [1, "two", null, { three: [3] }, true];
  for (const parallelism of [1, 2, 10]) {
    expect((await readDescriptor({ kind: "collection", items }, { parallelism })).records).toEqual(items);
    expect((await readDescriptor({ kind: "collection", items }, { parallelism, resumeAfter: 1 })).records).toEqual(items);
  }
});

test("a descriptor that is not known is refused by name", () => {
  expect(() => createSource(JSON.parse('{"kind":"kafka"}'))).toThrow(/no built-in source like \{"kind":"kafka"\}/);
});

describe("an iterable", () => {
  test("gives its records, also from a position", async () => {
    const source = fromAsyncIterable(async function* () {
      for (let i = 0; i < 10; i++) yield i;
    });
    expect((await readAll(source, { limit: 4 })).records).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect((await readAll(source, { limit: 4, resumeAfter: 3 })).records).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect((await readAll(fromAsyncIterable(() => [1, 2, 3]))).records).toEqual([1, 2, 3]);
  });

  test("that waits does not hold back the records before", async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const source = fromAsyncIterable<string>(async function* () {
      yield "early";
      await gate;
      yield "late";
    });
    const { splits } = await source.enumerate({ parallelism: 1, signal });
    const split = splits[0];
    if (split === undefined) throw new Error("no split");
    const reader = await source.open(split, null, { signal, onBadRecord: () => undefined });
    const out: string[] = [];
    expect(await reader.next(out, 10)).toBe(1);
    expect(out[0]).toBe("early");
    release();
    expect(await reader.next(out, 10)).toBe(1);
    expect(out[0]).toBe("late");
    expect(await reader.next(out, 10)).toBe(0);
  });

  test("that never gives anything ends when the reader is cancelled", async () => {
    const cancel = new AbortController();
    const source = fromAsyncIterable(
      () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise<IteratorResult<number>>(() => undefined) }) }),
      { bounded: false },
    );
    expect(source.bounded).toBe(false);
    const reader = await source.open({ id: "iterable", sizeHint: 1 }, null, {
      signal: cancel.signal,
      onBadRecord: () => undefined,
    });
    const waiting = reader.next([], 1);
    cancel.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    await reader.close();
  });

  test("that throws fails the source", async () => {
    const source = fromAsyncIterable(async function* () {
      yield 1;
      throw new Error("broker is gone");
    });
    await expect(readAll(source, { limit: 1 })).rejects.toMatchObject({ code: "SOURCE_FAILED", message: "broker is gone" });
  });
});
