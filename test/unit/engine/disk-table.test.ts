/** Keyed state of which little is in memory: it is what it would be in a Map, and checkpoints show the moment of their barrier. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { present } from "../../../src/base/assert.js";
import { CodedError } from "../../../src/base/errors.js";
import type { ScratchStore } from "../../../src/env/scratch-store.js";
import type { StateEntry } from "../../../src/executor/run/keyed-state.js";
import { DiskTable, type DiskTableOptions } from "../../../src/executor/run/state/disk-table.js";
import type { OpenSnapshot } from "../../../src/executor/run/state/open-snapshot.js";
import { createScratchStores } from "../../../src/node/level-store/scratch-store.js";

const HOT_SLOTS = 4;
const entryOf = (id: unknown, value: unknown): StateEntry => ({ keyGroup: 0, key: id, value });
const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

function scratch() {
  const parent = mkdtempSync(path.join(tmpdir(), "holdfast-scratch-"));
  const directory = path.join(parent, "stores");
  const stores = createScratchStores(directory);
  cleanUps.push(async () => {
    await stores.close();
    rmSync(parent, { recursive: true });
  });
  return { directory, stores };
}

/** A table, and what its chain does for it after each record. */
function tableOf(open: () => Promise<ScratchStore>, more: Partial<DiskTableOptions> = {}) {
  const waits: (() => Promise<void>)[] = [];
  const same = (value: unknown) => value;
  const onCrowded = (relieved: () => Promise<void>) => void waits.push(relieved);
  const table = new DiskTable({ open, onCrowded, pack: same, unpack: same, hotSlots: HOT_SLOTS, ...more });
  return {
    table,
    settle: async () => {
      for (const relieved of waits.splice(0)) await relieved();
    },
  };
}

/** A record: as generated code handles it, with a value that is changed in place. */
function add(table: DiskTable, id: unknown, amount: number): void {
  const slot = table.slots.get(id);
  if (slot === undefined) {
    table.insert(id, { seen: [amount] });
    return;
  }
  if (slot.stamp !== table.epoch) table.touch(slot);
  (slot.value as { seen: number[] }).seen.push(amount);
}

async function taken(snapshot: OpenSnapshot, limit = 100): Promise<readonly StateEntry[]> {
  await snapshot.ready?.();
  return snapshot.take(limit);
}

async function contents(table: DiskTable): Promise<Map<unknown, unknown>> {
  const all = new Map<unknown, unknown>();
  for await (const some of table.all()) {
    for (const { id, value } of some) {
      expect(all.has(id)).toBe(false);
      all.set(id, value);
    }
  }
  return all;
}

const ids = fc.oneof(
  fc.integer({ min: 0, max: 9 }),
  fc.constantFrom("0", "1", "k", "", "\ud800", "\ud801", null, undefined, true, 3n),
);
const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("add" as const), id: ids, by: fc.nat(9) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("encode" as const), limit: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("barrier" as const), full: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("give up" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const) }) },
);

test("whatever is spilled, given up and restored: a table holds what a Map would, and each complete checkpoint is the moment of its barrier", async () => {
  const { stores } = scratch();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120, size: "max" }), async (steps) => {
      let { table, settle } = tableOf(() => stores.open("op"));
      table.track();
      let model = new Map<unknown, { seen: number[] }>();
      let complete: readonly StateEntry[] | null = null;
      let completeModel = structuredClone(model);
      let open: { readonly snapshot: OpenSnapshot; readonly model: typeof model; readonly entries: StateEntry[] } | null = null;
      for (const one of steps) {
        if (one.kind === "add") {
          add(table, one.id, one.by);
          const known = model.get(one.id);
          if (known === undefined) model.set(one.id, { seen: [one.by] });
          else known.seen.push(one.by);
          await settle();
          expect(table.size).toBeLessThanOrEqual(HOT_SLOTS + 1);
          expect(table.slots.get(one.id)?.value).toEqual(model.get(one.id));
        } else if (one.kind === "give up") {
          table.settle(false);
          open = null;
        } else if (one.kind === "crash") {
          ({ table, settle } = tableOf(() => stores.open("op")));
          open = null;
          model = structuredClone(completeModel);
          for (const { key, value } of complete ?? []) {
            table.restore(key, structuredClone(value));
            await table.makeRoom();
            expect(table.size).toBeLessThanOrEqual(HOT_SLOTS + 1);
          }
          table.track();
        } else if (one.kind === "barrier") {
          await table.flush();
          const snapshot = table.snapshot(one.full || complete === null, entryOf);
          open = { snapshot, model: structuredClone(model), entries: [] };
        } else if (open !== null) {
          const entries = await taken(open.snapshot, one.limit);
          open.entries.push(...entries);
          if (entries.length > 0) continue;
          expect(new Set(open.entries.map(({ key }) => key)).size).toBe(open.entries.length);
          complete = open.snapshot.isFull ? open.entries : [...(complete ?? []), ...open.entries];
          completeModel = open.model;
          expect(new Map(complete.map(({ key, value }) => [key, value]))).toEqual(completeModel);
          table.settle(true);
          open = null;
        }
      }
      expect(await contents(table)).toEqual(model);
    }),
    { numRuns: 60 },
  );
});

describe("a snapshot of changes", () => {
  test("holds only what has changed since the last complete checkpoint, also of what is on disk", async () => {
    const { stores } = scratch();
    const { table, settle } = tableOf(() => stores.open("op"));
    table.track();
    const fill = async (keys: readonly number[]) => {
      for (const id of keys) {
        add(table, id, 1);
        await settle();
      }
    };
    const changed = async () => {
      await table.flush();
      const snapshot = table.snapshot(false, entryOf);
      return (await taken(snapshot)).map(({ key }) => key as number).sort((a, b) => a - b);
    };
    await fill(Array.from({ length: 50 }, (_, id) => id));
    expect(await changed()).toHaveLength(50);
    table.settle(true);
    // A look is no change.
    for (let id = 0; id < 20; id++) {
      expect(table.slots.get(id)?.value).toEqual({ seen: [1] });
      await settle();
    }
    expect(await changed()).toEqual([]);
    table.settle(true);
    await fill([7, 30, 31, 32, 33, 34, 35]);
    expect(await changed()).toEqual([7, 30, 31, 32, 33, 34, 35]);
    table.settle(false);
    await fill([40, 7]);
    expect(await changed()).toEqual([7, 30, 31, 32, 33, 34, 35, 40]);
  });

  test("that comes after a restore does not hold what was restored", async () => {
    const { stores } = scratch();
    const { table } = tableOf(() => stores.open("op"));
    for (let id = 0; id < 20; id++) table.restore(id, { seen: [id] });
    await table.flush();
    table.restoreRemoved(3);
    table.restore(19, { seen: [100] });
    await table.makeRoom();
    table.track();
    add(table, 5, 1);
    await table.flush();
    expect((await taken(table.snapshot(false, entryOf))).map(({ key }) => key)).toEqual([5]);
    const all = await contents(table);
    expect(all.size).toBe(19);
    expect(all.has(3)).toBe(false);
    expect(all.get(19)).toEqual({ seen: [100] });
  });
});

test.each([true, false])(
  "a snapshot shows the moment of its barrier, whatever is written before it is read (full: %s)",
  async (isFull) => {
    const { stores } = scratch();
    const { table, settle } = tableOf(() => stores.open("op"));
    table.track();
    const fill = async (amount: number, to: number) => {
      for (let id = 0; id < to; id++) {
        add(table, id, amount);
        await settle();
      }
    };
    await fill(1, 30);
    await table.flush();
    const snapshot = table.snapshot(isFull, entryOf);
    await fill(2, 40);
    await table.flush();
    const entries = await taken(snapshot);
    expect(new Map(entries.map(({ key, value }) => [key, value]))).toEqual(
      new Map(Array.from({ length: 30 }, (_, id) => [id, { seen: [1] }])),
    );
  },
);

test("the slot that was asked for last stays, so that user code may go on changing it while the chain makes room", async () => {
  const { stores } = scratch();
  const { table, settle } = tableOf(() => stores.open("op"));
  for (let id = 0; id < 30; id++) {
    add(table, id, 1);
    const slot = present(table.slots.get(id), "slot");
    await settle();
    (slot.value as { seen: number[] }).seen.push(2);
  }
  expect([...(await contents(table)).values()]).toEqual(Array.from({ length: 30 }, () => ({ seen: [1, 2] })));
});

test("a slot leaves memory only when its write is done; a write that fails fails whoever waits, and names the operator", async () => {
  const full = new CodedError("DISK_FAILED", "the scratch store of operator 'op' in /x failed because the disk is full");
  let fails = false;
  const { stores } = scratch();
  const { table, settle } = tableOf(async () => {
    const store = await stores.open("op");
    return {
      get: (key) => store.get(key),
      write: (changes) => (fails ? Promise.reject(full) : store.write(changes)),
      clear: (from, to) => store.clear(from, to),
      picture: () => store.picture(),
    };
  });
  for (let id = 0; id < HOT_SLOTS; id++) add(table, id, 1);
  await settle();
  fails = true;
  for (let id = 10; id < 10 + HOT_SLOTS; id++) add(table, id, 1);
  await expect(settle()).rejects.toBe(full);
  for (let id = 0; id < HOT_SLOTS; id++) expect(table.slots.get(id)?.value).toEqual({ seen: [1] });
});

describe("scratch stores", () => {
  test("keep every text and every kind of data as it is, and are gone when they are closed", async () => {
    const { directory, stores } = scratch();
    const store = await stores.open("op");
    const values = [new Map([["a", new Set([1n, undefined])]]), new Date(5), Uint8Array.of(1, 2), [Number.NaN, null], "\ud800"];
    await store.write({ removed: [], rows: values.map((value, index) => [`${index}\ud800\u0000`, value] as const) });
    for (const [index, value] of values.entries()) expect(store.get(`${index}\ud800\u0000`)).toEqual(value);
    expect(store.get("0\ud801\u0000")).toBe(undefined);
    expect(existsSync(directory)).toBe(true);
    store.picture();
    await stores.close();
    await stores.close();
    expect(existsSync(directory)).toBe(false);
  });

  test("that can't be written or opened say so with DISK_FAILED, the operator and the place; state that is no data is the operator's failure", async () => {
    const { directory, stores } = scratch();
    const store = await stores.open("totals");
    await expect(store.write({ removed: [], rows: [["a", () => 1]] })).rejects.toMatchObject({ code: "OPERATOR_FAILED" });
    await stores.close();
    await expect(store.write({ removed: [], rows: [["a", 1]] })).rejects.toMatchObject({
      code: "DISK_FAILED",
      message: expect.stringContaining(`operator 'totals' in ${directory}`),
    });
    await expect(stores.open("late")).rejects.toMatchObject({ code: "CLOSED" });
    // Under a file.
    writeFileSync(directory, "");
    const nowhere = createScratchStores(path.join(directory, "stores"));
    await expect(nowhere.open("totals")).rejects.toMatchObject({ code: "DISK_FAILED" });
    await nowhere.close();
  });
});
