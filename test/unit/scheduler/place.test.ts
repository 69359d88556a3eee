import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Amount, amountOf, Capacity, type Placement } from "../../../src/scheduler/capacity.js";
import { fitsWhenEmpty, type Part, type PlacementRequest, placeInOrder } from "../../../src/scheduler/place.js";

const amount = (cores: number, memory = 1): Amount => amountOf({ cores, memoryBytes: memory });
const part = (count: number, cores: number, memory = 1): Part => ({ count, amount: amount(cores, memory) });
const nothing = amount(0, 0);

function cluster(...workers: readonly (readonly [id: string, total: number, free?: number])[]): Capacity {
  const capacity = new Capacity();
  for (const [id, total, free = total] of workers) capacity.put(id, amount(total, 100), amount(total - free, 0));
  return capacity;
}

function request(owner: string, parts: readonly Part[], change: Partial<PlacementRequest<string>> = {}): PlacementRequest<string> {
  return { owner, parts, all: true, avoid: null, possible: () => true, ...change };
}

function place(
  capacity: Capacity,
  requests: readonly PlacementRequest<string>[],
  placement: Placement = "spread",
  maxPlaced = 1000,
) {
  const result = placeInOrder(capacity, requests, { placement, maxPlaced, maxBlocked: 32 });
  return {
    placed: Object.fromEntries(result.placed.map((one) => [one.request.owner, one.workers])),
    blocked: result.blocked.map(({ owner }) => owner),
    impossible: result.impossible.map(({ owner }) => owner),
    more: result.more,
  };
}

describe("placement", () => {
  test("spread takes the worker with the most free cores, and of equals the one with the smallest id", () => {
    const four = [part(1, 1)].flatMap((one) => ["a", "b", "c", "d"].map((owner) => request(owner, [one])));
    expect(place(cluster(["w2", 2], ["w1", 2]), four).placed).toEqual({ a: [["w1"]], b: [["w2"]], c: [["w1"]], d: [["w2"]] });
  });

  test("pack fills one worker after the other", () => {
    const three = ["a", "b", "c"].map((owner) => request(owner, [part(1, 1)]));
    expect(place(cluster(["w2", 2], ["w1", 2]), three, "pack").placed).toEqual({ a: [["w1"]], b: [["w1"]], c: [["w2"]] });
  });

  test("places a job whole or not at all", () => {
    const capacity = cluster(["w1", 2], ["w2", 2]);
    expect(place(capacity, [request("job", [part(1, 1), part(4, 1)])])).toMatchObject({ placed: {}, blocked: ["job"] });
    expect(capacity.free("w1")).toEqual(amount(2, 100));
    expect(place(capacity, [request("job", [part(1, 1), part(3, 1)])]).placed.job?.flat()).toHaveLength(4);
  });

  test("finds the one arrangement in which the driver leaves room for its executor", () => {
    const capacity = cluster(["w1", 4], ["w2", 1]);
    expect(place(capacity, [request("job", [part(1, 1), part(1, 4)])]).placed).toEqual({ job: [["w2"], ["w1"]] });
  });

  test("places executors for lost ones as far as there is room", () => {
    expect(place(cluster(["w1", 2]), [request("job", [part(3, 1)], { all: false })])).toMatchObject({
      placed: { job: [["w1", "w1"]] },
      blocked: ["job"],
    });
  });

  test("avoids a worker unless no other has room", () => {
    expect(place(cluster(["w1", 8], ["w2", 1]), [request("a", [part(1, 1)], { avoid: "w1" })]).placed).toEqual({ a: [["w2"]] });
    expect(place(cluster(["w1", 8]), [request("a", [part(1, 1)], { avoid: "w1" })]).placed).toEqual({ a: [["w1"]] });
  });

  test("stops at its limit and says that there is more", () => {
    const many = Array.from({ length: 10 }, (_, n) => request(`a${n}`, [part(1, 1)]));
    expect(place(cluster(["w1", 100]), many, "spread", 4)).toMatchObject({ more: true });
  });
});

describe("back-fill", () => {
  test("leaves untouched what a blocked application could ever use", () => {
    const capacity = cluster(["w1", 4, 2], ["w2", 4, 3], ["w3", 2, 2]);
    const result = place(capacity, [request("big", [part(1, 4)]), request("small", [part(1, 1)])]);
    // w3 can never hold the big one; w1 and w2 can, as soon as what runs there ends.
    expect(result).toMatchObject({ placed: { small: [["w3"]] }, blocked: ["big"] });
  });

  test("uses what is left on a worker beside all that the blocked one could put there", () => {
    const capacity = new Capacity();
    capacity.put("w1", amount(16, 100), amount(0, 95));
    const memoryBound = request("big", [part(1, 1, 10)]);
    expect(place(capacity, [memoryBound, request("small", [part(1, 1, 1)])])).toMatchObject({
      placed: {},
      blocked: ["big", "small"],
    });
    capacity.put("w2", amount(16, 5), nothing);
    expect(place(capacity, [memoryBound, request("small", [part(1, 1, 1)])])).toMatchObject({
      placed: { small: [["w2"]] },
      blocked: ["big"],
    });
  });

  test("protects every blocked application before it, not only the first", () => {
    const capacity = cluster(["w1", 4, 3], ["w2", 2, 1]);
    const result = place(capacity, [request("one", [part(1, 4)]), request("two", [part(1, 2)]), request("three", [part(1, 1)])]);
    expect(result).toMatchObject({ placed: {}, blocked: ["one", "two", "three"] });
  });

  test("is not held up by what the workers could never hold", () => {
    const capacity = cluster(["w1", 4]);
    const result = place(capacity, [request("giant", [part(1, 64)], { possible: () => false }), request("small", [part(1, 1)])]);
    expect(result).toMatchObject({ placed: { small: [["w1"]] }, impossible: ["giant"], blocked: [] });
  });
});

// ---------------------------------------------------------------------------------------------------------------- properties

const workers = fc.array(
  fc.record({
    cores: fc.integer({ min: 1, max: 8 }),
    memory: fc.integer({ min: 1, max: 8 }),
    running: fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })), { maxLength: 4 }),
  }),
  { minLength: 1, maxLength: 5 },
);
const processes = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }));
const applications = fc.array(fc.record({ driver: processes, executor: processes, executors: fc.integer({ min: 0, max: 4 }) }), {
  minLength: 1,
  maxLength: 6,
});
const placements = fc.constantFrom<Placement>("spread", "pack");

interface Scene {
  readonly totals: ReadonlyMap<string, Amount>;
  /** Worker and size of what runs. */
  readonly running: readonly { readonly worker: string; readonly amount: Amount }[];
}

function sceneOf(made: readonly { cores: number; memory: number; running: readonly (readonly [number, number])[] }[]): Scene {
  const totals = new Map<string, Amount>();
  const running: { worker: string; amount: Amount }[] = [];
  made.forEach((worker, index) => {
    const id = `w${index}`;
    totals.set(id, amount(worker.cores, worker.memory));
    let [cores, memory] = [worker.cores, worker.memory];
    for (const [c, m] of worker.running) {
      if (c > cores || m > memory) continue;
      cores -= c;
      memory -= m;
      running.push({ worker: id, amount: amount(c, m) });
    }
  });
  return { totals, running };
}

function capacityOf(
  scene: Scene,
  running: Scene["running"],
  more: readonly { readonly worker: string; readonly amount: Amount }[] = [],
): Capacity {
  const capacity = new Capacity();
  for (const [id, total] of scene.totals) capacity.put(id, total, nothing);
  for (const one of [...running, ...more]) capacity.take(one.worker, one.amount);
  return capacity;
}

const requestsOf = (
  scene: Scene,
  apps: readonly { driver: readonly [number, number]; executor: readonly [number, number]; executors: number }[],
) =>
  apps.map((app, index) => {
    const parts = [part(1, ...app.driver), ...(app.executors === 0 ? [] : [part(app.executors, ...app.executor)])];
    return request(`app${index}`, parts, { possible: () => fitsWhenEmpty(scene.totals, parts) });
  });

test("nothing is ever placed on more than is free, jobs are whole, and a pass repeats itself exactly", () => {
  fc.assert(
    fc.property(workers, applications, placements, (made, apps, placement) => {
      const scene = sceneOf(made);
      const capacity = capacityOf(scene, scene.running);
      const requests = requestsOf(scene, apps);
      const result = placeInOrder(capacity, requests, { placement, maxPlaced: 100, maxBlocked: 32 });
      for (const id of scene.totals.keys()) {
        const free = capacity.free(id) as Amount;
        expect(free.milliCores).toBeGreaterThanOrEqual(0);
        expect(free.memoryBytes).toBeGreaterThanOrEqual(0);
      }
      for (const one of result.placed)
        expect(one.workers.map((list) => list.length)).toEqual(one.request.parts.map(({ count }) => count));
      const again = placeInOrder(capacityOf(scene, scene.running), requests, { placement, maxPlaced: 100, maxBlocked: 32 });
      expect(again.placed.map(({ workers: list }) => list)).toEqual(result.placed.map(({ workers: list }) => list));
    }),
    { numRuns: 500 },
  );
});

/** Whatever ends: a blocked application that could then start without the later ones can start beside them. */
function delaysNobody(placer: typeof placeInOrder): void {
  fc.assert(
    fc.property(
      workers,
      applications,
      placements,
      fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }),
      (made, apps, placement, ends) => {
        const scene = sceneOf(made);
        const requests = requestsOf(scene, apps);
        const result = placer(capacityOf(scene, scene.running), requests, { placement, maxPlaced: 100, maxBlocked: 32 });
        const [blocked] = result.blocked;
        if (blocked === undefined) return;
        const position = requests.indexOf(blocked);
        const taken = (later: boolean) =>
          result.placed
            .filter((one) => requests.indexOf(one.request) > position === later)
            .flatMap((one) =>
              one.workers.flatMap((list, index) =>
                list.map((worker) => ({ worker, amount: one.request.parts[index]?.amount ?? nothing })),
              ),
            );
        const left = scene.running.filter((_, index) => !ends[index % ends.length]);
        const startsIn = (capacity: Capacity) =>
          placeInOrder(capacity, [blocked], { placement, maxPlaced: 1, maxBlocked: 1 }).placed.length === 1;
        const without = startsIn(capacityOf(scene, left, taken(false)));
        const beside = startsIn(capacityOf(scene, left, [...taken(false), ...taken(true)]));
        if (without) expect(beside).toBe(true);
      },
    ),
    { numRuns: 2000, seed: 7 },
  );
}

test("back-fill delays no earlier application, whatever ends next", () => delaysNobody(placeInOrder));

test("the test of back-fill notices a placer that fills whatever is free", () => {
  const greedy: typeof placeInOrder = (capacity, requests, options) => {
    const parts = [...requests].map((one) => placeInOrder(capacity, [one], options));
    return {
      placed: parts.flatMap(({ placed }) => placed),
      blocked: parts.flatMap(({ blocked }) => blocked),
      impossible: [],
      more: false,
    };
  };
  expect(() => delaysNobody(greedy)).toThrow();
});

test("what fits when empty is what can be placed on empty workers", () => {
  fc.assert(
    fc.property(workers, applications, placements, (made, apps, placement) => {
      const scene = sceneOf(made.map((worker) => ({ ...worker, running: [] })));
      for (const one of requestsOf(scene, apps)) {
        const placed = placeInOrder(capacityOf(scene, []), [one], { placement, maxPlaced: 1, maxBlocked: 1 }).placed.length === 1;
        expect(placed).toBe(fitsWhenEmpty(scene.totals, one.parts));
      }
    }),
    { numRuns: 1000 },
  );
});
