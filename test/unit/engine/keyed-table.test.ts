/** Keyed state that is written down while it changes: snapshots show the moment of their barrier, and changes since the last complete one are enough. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StateEntry } from "../../../src/executor/run/keyed-state.js";
import { copyValue } from "../../../src/executor/run/state/copy-value.js";
import { KeyedTable, MAX_NOTED_REMOVALS } from "../../../src/executor/run/state/keyed-table.js";
import type { OpenSnapshot } from "../../../src/executor/run/state/open-snapshot.js";
import { MAX_EARLY_COPIES } from "../../../src/executor/run/state/table-snapshot.js";

interface Total {
  readonly seen: number[];
}

const entryOf = (id: unknown, value: unknown): StateEntry => ({ keyGroup: 0, key: id, value });

/** A record: changes the value of its key in place, as an aggregation may. */
function add(table: KeyedTable, id: number, amount: number): void {
  const slot = table.slots.get(id);
  if (slot === undefined) {
    table.insert(id, { seen: [amount] });
    return;
  }
  if (slot.stamp !== table.epoch) table.touch(slot);
  (slot.value as Total).seen.push(amount);
}

const pictureOf = (table: KeyedTable): string =>
  JSON.stringify([...table.slots.values()].map(({ id, value }) => [id, value]).sort(([a], [b]) => Number(a) - Number(b)));

/** What blobs hold is text: what changes later does not reach it. */
function restored(blobs: readonly string[]): KeyedTable {
  const table = new KeyedTable(() => undefined);
  for (const { key, value, removed } of blobs.flatMap((blob) => JSON.parse(blob) as StateEntry[])) {
    if (removed === true) table.restoreRemoved(key);
    else table.restore(key, value);
  }
  return table;
}

const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("add" as const), id: fc.integer({ min: 0, max: 12 }), by: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove" as const), id: fc.integer({ min: 0, max: 12 }) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("encode" as const), limit: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("barrier" as const), full: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("give up" as const) }) },
);

test("whatever comes between barriers, slices and checkpoints that are given up: each complete one restores to the moment of its barrier", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 200, size: "max" }), (steps) => {
      const table = new KeyedTable(() => undefined);
      table.track();
      let complete: readonly string[] | null = null;
      let open: { readonly snapshot: OpenSnapshot; readonly picture: string; readonly blobs: string[] } | null = null;
      for (const one of steps) {
        if (one.kind === "add") add(table, one.id, one.by);
        else if (one.kind === "remove") {
          const slot = table.slots.get(one.id);
          if (slot !== undefined) table.remove(slot);
        } else if (one.kind === "give up") {
          table.settle(false);
          open = null;
        } else if (one.kind === "barrier") {
          // The one under way, if any, was overtaken.
          if (open !== null) table.settle(false);
          open = { snapshot: table.snapshot(one.full || complete === null, entryOf), picture: pictureOf(table), blobs: [] };
        } else if (open !== null) {
          const entries = open.snapshot.take(one.limit);
          if (entries.length > 0) open.blobs.push(JSON.stringify(entries));
          else {
            const blobs: readonly string[] = open.snapshot.isFull ? open.blobs : [...(complete ?? []), ...open.blobs];
            expect(pictureOf(restored(blobs))).toBe(open.picture);
            complete = blobs;
            table.settle(true);
            open = null;
          }
        }
      }
    }),
    { numRuns: 1_500 },
  );
});

describe("a snapshot of changes", () => {
  test("holds nothing when nothing has changed, and each changed key once", () => {
    const table = new KeyedTable(() => undefined);
    table.track();
    for (let id = 0; id < 100; id++) add(table, id, 1);
    const first = table.snapshot(false, entryOf);
    expect(first.take(1_000)).toHaveLength(100);
    table.settle(true);
    expect(table.snapshot(false, entryOf).take(1_000)).toEqual([]);
    table.settle(true);
    for (let i = 0; i < 10; i++) add(table, 7, i);
    const last = table.snapshot(false, entryOf);
    expect(last.take(1_000).map(({ key }) => key)).toEqual([7]);
    expect(last.take(1_000)).toEqual([]);
  });

  test("makes the chain wait when more copies wait than may, until they are taken", async () => {
    const waits: (() => Promise<void>)[] = [];
    const table = new KeyedTable((drained) => waits.push(drained));
    table.track();
    for (let id = 0; id <= MAX_EARLY_COPIES; id++) add(table, id, 1);
    const snapshot = table.snapshot(true, entryOf);
    for (let id = 0; id < MAX_EARLY_COPIES - 1; id++) add(table, id, 2);
    expect(waits).toEqual([]);
    add(table, MAX_EARLY_COPIES, 2);
    expect(waits).toHaveLength(1);
    let waited = false;
    const wait = waits[0]?.().then(() => {
      waited = true;
    });
    await Promise.resolve();
    expect(waited).toBe(false);
    snapshot.take(1);
    await wait;
    expect(waited).toBe(true);
  });

  test("is refused when more removals than are noted came before it: the next one is full, until one of those is complete", () => {
    const table = new KeyedTable(() => undefined);
    table.track();
    for (let id = 0; id <= MAX_NOTED_REMOVALS; id++) {
      table.insert(id, 1);
      table.remove(table.slots.get(id) ?? expect.fail("it was inserted"));
    }
    expect(table.needsFull).toBe(true);
    table.snapshot(true, entryOf);
    table.settle(false);
    expect(table.needsFull).toBe(true);
    table.snapshot(true, entryOf);
    table.settle(true);
    expect(table.needsFull).toBe(false);
  });
});

describe("a copy of a value", () => {
  test("has nothing in common with it that can change", () => {
    class Point {
      x = 1;
    }
    const value = {
      list: [1, { deep: [new Date(5)] }],
      map: new Map<unknown, unknown>([["a", { b: 1 }]]),
      set: new Set([1, 2]),
      bytes: Uint8Array.of(1, 2, 3).subarray(1),
      point: new Point(),
      nothing: null,
      big: 5n,
    };
    const copy = copyValue(value) as typeof value;
    expect(copy).toEqual({ ...value, point: { x: 1 } });
    value.list.push(2);
    (value.map.get("a") as { b: number }).b = 2;
    value.set.add(3);
    value.bytes[0] = 9;
    value.point.x = 2;
    expect(copy).toMatchObject({ list: { length: 2 }, point: { x: 1 } });
    expect(copy.map.get("a")).toEqual({ b: 1 });
    expect([...copy.set]).toEqual([1, 2]);
    expect([...copy.bytes]).toEqual([2, 3]);
  });

  test("of a cycle ends; whoever encodes it refuses it", () => {
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    expect(copyValue(cycle)).toHaveProperty("self");
  });
});
