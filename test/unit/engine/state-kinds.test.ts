/** Declared state of `process`: a time to live by the clock, and codecs with versions. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { defineJob, type JobBuilder, planJob, type StateCodec, sinks, sources, state } from "../../../src/api/index.js";
import { present } from "../../../src/base/assert.js";
import { readState, writeSnapshot } from "../../../src/executor/run/checkpoint/state-blobs.js";
import { Pacer } from "../../../src/executor/run/pacer.js";
import { SWEEP_EVERY_MS, SWEEP_ROWS } from "../../../src/executor/run/process-unit.js";
import { KeyedTable } from "../../../src/executor/run/state/keyed-table.js";
import { RowFormat } from "../../../src/executor/run/state/row-format.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import { createManualClock } from "../../support/manual-clock.js";
import { MemoryBlobs } from "./checkpoint-run.js";
import { handFed } from "./time/hand-fed.js";

const TTL = 1_000;

/** Each record is `put` or a look at what its key has. */
const expiring = (job: JobBuilder) =>
  job
    .from("in", sources.collection<{ key: string; put: number | null }>([]))
    .keyBy((record) => record.key)
    .process("op", {
      state: {
        last: state.value<number>({ ttl: TTL }),
        all: state.list<number>({ ttl: TTL }),
        by: state.map<string, number>({ ttl: TTL }),
        stays: state.value<number>(),
      },
      onElement: ({ put }, { state: { last, all, by, stays } }) => {
        if (put === null)
          return [{ last: last.get(), all: all.get(), by: [...by.entries()], size: by.size, has: by.has("1"), stays: stays.get() }];
        last.set(put);
        all.add(put);
        by.set(String(put), put);
        if (put > 0) stays.set(put);
        return [];
      },
    })
    .to("out", sinks.collect());

async function expiringRun() {
  const clock = createManualClock();
  const run = await handFed(expiring, 1, clock);
  const put = (value: number, key = "a") => run.feed(0, key, { key, put: value });
  const seen = async (of = run) => {
    await of.feed(0, "a", { key: "a", put: null });
    return present(of.taken().out, "output")[0];
  };
  return { clock, run, put, seen };
}

describe("a state with a time to live", () => {
  test("is not seen any more when its time is over: values, elements and entries each by themselves", async () => {
    const { clock, put, seen } = await expiringRun();
    await put(1);
    await clock.jump(TTL - 1);
    await put(2);
    expect(await seen()).toEqual({
      last: 2,
      all: [1, 2],
      by: [
        ["1", 1],
        ["2", 2],
      ],
      size: 2,
      has: true,
      stays: 2,
    });
    await clock.jump(1);
    expect(await seen()).toEqual({ last: 2, all: [2], by: [["2", 2]], size: 1, has: false, stays: 2 });
    await clock.jump(TTL);
    expect(await seen()).toEqual({ last: undefined, all: [], by: [], size: 0, has: false, stays: 2 });
  });

  test("is in a checkpoint with what has not expired, and goes on expiring after a restore", async () => {
    const { clock, run, put, seen } = await expiringRun();
    await put(1);
    await clock.jump(TTL - 1);
    await put(2);
    await clock.jump(1);
    const restored = await run.restored(1);
    expect(await seen(restored)).toEqual({ last: 2, all: [2], by: [["2", 2]], size: 1, has: false, stays: 2 });
    await clock.jump(TTL);
    expect(await seen(restored)).toMatchObject({ last: undefined, all: [], stays: 2 });
  });

  test("is dropped in the background, some rows at a time, and so are keys of which nothing is left", async () => {
    const { clock, run, put } = await expiringRun();
    const keys = SWEEP_ROWS + 10;
    for (let i = 0; i < keys; i++) await put(-1, `key ${i}`);
    await put(1, "stays");
    await run.clock();
    await clock.jump(TTL + SWEEP_EVERY_MS);
    await run.clock();
    expect(run.held()).toBe(keys + 1 - SWEEP_ROWS);
    await run.clock();
    await clock.jump(SWEEP_EVERY_MS);
    await run.clock();
    expect(run.held()).toBe(1);
  });
});

class Point {
  readonly x: number;
  constructor(x: number) {
    this.x = x;
  }
}

const version1: StateCodec<Point> = { version: 1, encode: ({ x }) => ({ x }), decode: (data) => new Point((data as Point).x) };
/** Keeps another unit, and reads what version 1 wrote. */
const version2: StateCodec<Point> = {
  version: 2,
  encode: ({ x }) => x * 1_000,
  decode: (data, version) => new Point(version === 1 ? (data as Point).x : (data as number) / 1_000),
};

const clock = createLogicalClock();
const access = () => ({
  blobs: new MemoryBlobs(),
  text: createNodeTextCodec(),
  pacer: new Pacer(clock, async () => undefined),
});

/** A row through blobs: written by one version of a job, read by another. */
async function rewritten(written: RowFormat, row: unknown[], read: RowFormat): Promise<unknown[]> {
  const table = new KeyedTable(() => undefined);
  table.track();
  table.insert("k", row);
  const snapshot = table.snapshot(true, (id, value) => ({ keyGroup: 0, key: id, value: written.written(value as unknown[]) }));
  const own = { applicationId: "app-1-1", operator: "op" };
  const header = { ...own, subtask: 0, checkpoint: 1, attempt: "1.1", layout: written.layout };
  const place = access();
  const { handles } = await writeSnapshot(snapshot, header, place, () => true);
  const rows: unknown[][] = [];
  await readState(
    {
      restore: (entries, layout) => {
        for (const { value } of entries) rows.push(read.read(value as unknown[], present(layout, "layout")));
      },
    },
    await handles,
    own,
    place,
  );
  return present(rows[0], "row");
}

const format = (descriptors: ConstructorParameters<typeof RowFormat>[1]) => new RowFormat("op", descriptors, () => 0);

describe("a codec", () => {
  test("writes and reads values, elements and entries, so that instances of classes come back", async () => {
    const withCodec = format({
      one: state.value<Point>({ codec: version1 }),
      list: state.list<Point>({ codec: version1 }),
      map: state.map<string, Point>({ codec: version1, ttl: 50 }),
    });
    const row = [new Point(1), [new Point(2)], new Map([["a", { value: new Point(3), until: 20 }]])];
    const [one, list, map] = await rewritten(withCodec, row, withCodec);
    expect(one).toBeInstanceOf(Point);
    expect((list as Point[])[0]).toEqual(new Point(2));
    expect((map as Map<string, { value: Point }>).get("a")).toEqual({ value: new Point(3), until: 20 });
  });

  test("writes nothing that has expired", () => {
    const expiring = new RowFormat("op", { at: state.value<number>({ ttl: 10 }), all: state.list<number>({ ttl: 10 }) }, () => 100);
    const row = [
      { value: 1, until: 100 },
      [
        { value: 1, until: 100 },
        { value: 2, until: 101 },
      ],
    ];
    expect(expiring.written(row)).toEqual([undefined, [{ value: 2, until: 101 }]]);
    expect(row[1]).toHaveLength(2);
  });

  test("is told which version wrote what it reads", async () => {
    const old = format({ at: state.value<Point>({ codec: version1 }) });
    const now = format({ at: state.value<Point>({ codec: version2 }) });
    expect(await rewritten(old, [new Point(5)], now)).toEqual([new Point(5)]);
    expect(await rewritten(now, [new Point(5)], now)).toEqual([new Point(5)]);
  });

  test("rows are read by the names of their states: one that is new is unset, one that was dropped is left out", async () => {
    const old = format({ a: state.value<number>(), b: state.list<number>() });
    const now = format({ c: state.value<number>(), b: state.list<number>(), a: state.value<number>({ ttl: 70 }) });
    expect(await rewritten(old, [1, [2, 3]], now)).toEqual([undefined, [2, 3], { value: 1, until: 70 }]);
  });

  test("that fails is named, and so is a state that became one of another kind", async () => {
    const broken: StateCodec<number> = {
      version: 1,
      encode: () => {
        throw new Error("no room");
      },
      decode: () => {
        throw new Error("what is this");
      },
    };
    const plain = format({ n: state.value<number>() });
    const failing = format({ n: state.value<number>({ codec: broken }) });
    await expect(rewritten(failing, [1], plain)).rejects.toMatchObject({
      code: "CHECKPOINT_FAILED",
      message: /'n' of operator 'op'.*no room/,
    });
    await expect(rewritten(plain, [1], failing)).rejects.toMatchObject({ code: "CHECKPOINT_UNREADABLE", message: /what is this/ });
    await expect(rewritten(plain, [1], format({ n: state.list<number>() }))).rejects.toMatchObject({
      code: "CHECKPOINT_UNREADABLE",
      message: /is a list, and was a value/,
    });
  });

  test("that fails for a record that is about to change the state fails the snapshot, not the record", () => {
    const table = new KeyedTable(() => undefined);
    table.track();
    table.insert("k", 1);
    const snapshot = table.snapshot(true, () => {
      throw new Error("no room");
    });
    const slot = present(table.slots.get("k"), "slot");
    expect(() => table.touch(slot)).not.toThrow();
    expect(() => snapshot.take(1)).toThrow("no room");
  });
});

test("version and time to live stand in the graph; what can't be is refused when the job is planned", async () => {
  const plan = (declare: () => unknown) =>
    planJob(
      defineJob({
        id: "j",
        build: (job) =>
          job
            .from("n", sources.numbers({ to: 1 }))
            .keyBy((n) => n)
            .process("op", { state: { it: declare() as ReturnType<typeof state.value<number>> }, onElement: () => [] })
            .to("out", sinks.collect()),
      }),
      {},
      { sha256Hex: (bytes) => createHash("sha256").update(bytes).digest("hex") },
    );
  const { graph } = await plan(() => state.value<Point>({ ttl: "1h", codec: version2 }));
  expect(graph.operators.find(({ uid }) => uid === "op")?.config).toMatchObject({
    state: { it: { kind: "value", ttlMs: 3_600_000, version: 2 } },
  });
  await expect(plan(() => state.value({ ttl: 0 }))).rejects.toMatchObject({ code: "INVALID_JOB" });
  await expect(plan(() => state.value({ codec: { ...version1, version: 0.5 } }))).rejects.toMatchObject({ code: "INVALID_JOB" });
});
