/** The index of slots does what a Map does, for every kind of id, while it grows, and for ids that were made to meet. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hashKey } from "../../../src/dataflow/hash.js";
import { MAX_PROBES, SlotIndex } from "../../../src/executor/run/state/slot-index.js";

interface One {
  readonly id: unknown;
  readonly value: number;
}

/** So many numbers whose hashes are next to each other in a table of up to 65,536 buckets. */
function meeting(count: number): number[] {
  const found: number[] = [];
  for (let n = 0; found.length < count; n++) if ((hashKey(n) & 0xffff) < 8) found.push(n);
  return found;
}
const MEETING = meeting(MAX_PROBES * 2);

const anId = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 400 }) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 400 }).map((n) => `key ${n}`) },
  { weight: 3, arbitrary: fc.constantFrom(...MEETING) },
  { weight: 1, arbitrary: fc.constantFrom(null, undefined, true, false, Number.NaN, 0, -0, "", "0", 1n, 2n ** 70n, 0.5, -7) },
);
const aStep = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("put" as const), id: anId, value: fc.nat(9) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("delete" as const), id: anId }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("put many" as const), from: fc.nat(3_000), count: fc.nat(300) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("put meeting" as const), count: fc.nat(40) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete each" as const), nth: fc.integer({ min: 2, max: 5 }) }) },
);

function agree(index: SlotIndex<One>, model: ReadonlyMap<unknown, number>): void {
  expect(index.size).toBe(model.size);
  for (const [id, value] of model) expect(index.get(id)?.value).toBe(value);
  const all = [...index.values()];
  expect(all.length).toBe(model.size);
  expect(new Map(all.map(({ id, value }) => [id, value]))).toEqual(model);
}

test("whatever is put and deleted, in whatever order, it holds what a Map holds", () => {
  fc.assert(
    fc.property(fc.array(aStep, { maxLength: 60 }), fc.boolean(), fc.boolean(), (steps, expects, spills) => {
      const index = new SlotIndex<One>();
      const model = new Map<unknown, number>();
      const put = (id: unknown, value: number) => {
        index.put({ id, value });
        model.set(id, value);
      };
      const remove = (id: unknown) => expect(index.delete(id)).toBe(model.delete(id));
      if (expects) index.expect(100);
      if (spills) for (const id of MEETING) put(id, id);
      for (const step of steps) {
        if (step.kind === "put") put(step.id, step.value);
        else if (step.kind === "delete") remove(step.id);
        else if (step.kind === "put many") for (let i = 0; i < step.count; i++) put(step.from + i, i);
        else if (step.kind === "delete each")
          for (const id of [...model.keys()].filter((_id, at) => at % step.nth === 0)) remove(id);
        else for (const id of MEETING.slice(0, step.count)) put(id, id);
      }
      agree(index, model);
      index.clear();
      agree(index, new Map());
    }),
    { numRuns: 60 },
  );
});

describe("order", () => {
  test("is that in which ids came, however often it grew, and another value of an id keeps its place", () => {
    const index = new SlotIndex<One>();
    for (let i = 0; i < 20_000; i++) index.put({ id: `key ${i}`, value: i });
    index.put({ id: "key 7", value: -1 });
    let at = 0;
    for (const { id, value } of index.values()) {
      if (id !== `key ${at}` || value !== (at === 7 ? -1 : at)) expect.fail(`${String(id)} at ${at}`);
      at++;
    }
    expect(at).toBe(20_000);
  });
});

describe("bounds", () => {
  test("a table of which most has gone is as large as what is left needs", () => {
    const index = new SlotIndex<One>();
    for (let i = 0; i < 20_000; i++) {
      index.put({ id: i, value: i });
      if (i >= 100 && !index.delete(i - 100)) expect.fail(`${i - 100} is gone`);
    }
    expect(index.size).toBe(100);
    expect([...index.values()].length).toBe(100);
    // @ts-expect-error: how much memory it takes is not to be seen from outside
    expect(index.table.length).toBeLessThanOrEqual(2_048);
  });

  test("ids that were made to have neighbouring hashes are all found, and a lookup of another one looks at a bounded number of buckets", () => {
    const index = new SlotIndex<One>();
    const more = meeting(MAX_PROBES * 4);
    for (const id of more) index.put({ id, value: id });
    for (const id of more) expect(index.get(id)?.value).toBe(id);
    expect(index.get(-1)).toBeUndefined();
    // @ts-expect-error: where they are is not to be seen from outside
    expect(index.spilled.size).toBeGreaterThan(MAX_PROBES);
  });
});
