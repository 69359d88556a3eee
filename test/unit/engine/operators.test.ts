import { describe, expect, test } from "vitest";
import { type JobBuilder, sinks, sources, state, type } from "../../../src/api/index.js";
import { COMBINE_MAX_KEYS } from "../../../src/executor/run/aggregate-unit.js";
import { runJob } from "../../../src/testing/index.js";
import { collect, jobOf, later, sorted } from "./support.js";

const parallelisms = [1, 2, 3, 4];
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

describe("sync and async functions give the same results", () => {
  /** Both twins of each function, so that every test runs with either. */
  const twins: [string, <A extends unknown[], R>(run: (...args: A) => R) => (...args: A) => R | Promise<R>][] = [
    ["sync", (run) => run],
    ["sometimes async", later],
  ];
  for (const [name, wrap] of twins) {
    test.each(parallelisms)(`map, filter and flatMap (${name}), parallelism %i`, async (parallelism) => {
      const out = await collect<number>(
        (job) =>
          job
            .from("n", sources.numbers({ to: 3_000 }))
            .map(wrap((n: number) => n * 2))
            .filter(wrap((n: number) => n % 3 !== 0))
            .flatMap(wrap((n: number) => [n, -n]))
            .to("out", sinks.collect()),
        { parallelism },
      );
      const expected = range(3_000)
        .map((n) => n * 2)
        .filter((n) => n % 3 !== 0)
        .flatMap((n) => [n, -n]);
      if (parallelism === 1) expect(out).toEqual(expected);
      else expect(sorted(out)).toEqual(sorted(expected));
    });

    test.each(parallelisms)(`aggregate with and without merge (${name}), parallelism %i`, async (parallelism) => {
      const sums = (merge: boolean) =>
        collect<{ key: number; value: number }>(
          (job) =>
            job
              .from("n", sources.numbers({ to: 2_000 }))
              .keyBy(wrap((n: number) => n % 10))
              .aggregate("sum", {
                init: wrap(() => ({ sum: 0, n: 0 })),
                add: wrap((a: { sum: number; n: number }, n: number) => ({ sum: a.sum + n, n: a.n + 1 })),
                ...(merge
                  ? {
                      merge: wrap((a: { sum: number; n: number }, b: { sum: number; n: number }) => ({
                        sum: a.sum + b.sum,
                        n: a.n + b.n,
                      })),
                    }
                  : {}),
                result: wrap((a: { sum: number; n: number }, key: number) => `${key}:${a.n}:${a.sum}`),
              })
              .to("out", sinks.collect()),
          { parallelism },
        );
      const expected = range(10).map((key) => ({ key, value: `${key}:200:${200 * key + 10 * ((199 * 200) / 2)}` }));
      expect(sorted(await sums(false))).toEqual(sorted(expected));
      expect(sorted(await sums(true))).toEqual(sorted(expected));
    });

    test.each(parallelisms)(`reduce (${name}), parallelism %i`, async (parallelism) => {
      const max = wrap((a: { k: string; v: number }, b: { k: string; v: number }) => (a.v > b.v ? a : b));
      const build = (options: { merge?: typeof max }) => (job: JobBuilder) =>
        job
          .from("n", sources.numbers({ to: 1_000 }))
          .map((n) => ({ k: `key-${n % 5}`, v: (n * 7_919) % 1_000 }))
          .keyBy((r) => r.k)
          .reduce("max", max, options)
          .to("out", sinks.collect());
      const best = new Map<string, { k: string; v: number }>();
      for (const n of range(1_000)) {
        const r = { k: `key-${n % 5}`, v: (n * 7_919) % 1_000 };
        if ((best.get(r.k)?.v ?? -1) < r.v) best.set(r.k, r);
      }
      const expected = sorted([...best].map(([key, value]) => ({ key, value })));
      expect(sorted(await collect(build({}), { parallelism }))).toEqual(expected);
      expect(sorted(await collect(build({ merge: max }), { parallelism }))).toEqual(expected);
    });

    test.each(parallelisms)(`distinct (${name}), parallelism %i`, async (parallelism) => {
      const out = await collect<{ id: number }>(
        (job) =>
          job
            .from("n", sources.numbers({ to: 1_000 }))
            .map((n) => ({ id: n % 37 }))
            .distinct(
              "d",
              wrap((r: { id: number }) => r.id),
            )
            .to("out", sinks.collect()),
        { parallelism },
      );
      expect(out.map((r) => r.id).sort((a, b) => a - b)).toEqual(range(37));
    });

    test.each(parallelisms)(`process with state, sides and onEnd (${name}), parallelism %i`, async (parallelism) => {
      const out = await collect(
        (job) => {
          const counted = job
            .from("n", sources.numbers({ to: 500 }))
            .keyBy(wrap((n: number) => n % 4))
            .process("p", {
              state: { seen: state.value<number>(), all: state.list<number>(), odd: state.map<number, boolean>() },
              sides: { tenth: type<string>() },
              output: type<string>(),
              onElement: (n, ctx, out) => {
                const seen = (ctx.state.seen.get() ?? 0) + 1;
                ctx.state.seen.set(seen);
                ctx.state.all.add(n);
                ctx.state.odd.set(n, n % 2 === 1);
                if (seen % 10 === 0) out.side("tenth", `tenth ${ctx.key}`);
                if (seen === 50) out.emit(`fifty ${ctx.key}`);
                return wrap(() => (seen === 100 ? [`hundred ${ctx.key}`] : []))();
              },
              onEnd: (key, ctx) => [`end ${key}: ${ctx.state.seen.get()} ${ctx.state.all.get().length} ${ctx.state.odd.size}`],
            });
          counted.side("tenth").union(counted).to("out", sinks.collect());
        },
        { parallelism },
      );
      const expected = range(4).flatMap((key) => [
        ...range(12).map(() => `tenth ${key}`),
        `fifty ${key}`,
        `hundred ${key}`,
        `end ${key}: 125 125 125`,
      ]);
      expect(sorted(out)).toEqual(sorted(expected));
    });

    for (const joinType of ["inner", "left", "right", "full"] as const) {
      test.each(parallelisms)(`${joinType} join (${name}), parallelism %i`, async (parallelism) => {
        const left = range(50).map((n) => ({ id: n % 13, l: n }));
        const right = range(20).map((n) => ({ id: n - 3, r: n }));
        const out = await collect(
          (job) =>
            job
              .from("left", sources.collection(left))
              .join("j", job.from("right", sources.collection(right)), {
                type: joinType,
                leftKey: wrap((l: { id: number }) => l.id),
                rightKey: wrap((r: { id: number }) => r.id),
                select: wrap((l: { l: number } | undefined, r: { r: number } | undefined) => ({
                  l: l?.l ?? null,
                  r: r?.r ?? null,
                })),
              })
              .to("out", sinks.collect()),
          { parallelism },
        );
        const pairs = left.flatMap((l) => right.filter((r) => r.id === l.id).map((r) => ({ l: l.l, r: r.r })));
        const lonelyLeft = left.filter((l) => !right.some((r) => r.id === l.id)).map((l) => ({ l: l.l, r: null }));
        const lonelyRight = right.filter((r) => !left.some((l) => r.id === l.id)).map((r) => ({ l: null, r: r.r }));
        const expected = [
          ...pairs,
          ...(joinType === "left" || joinType === "full" ? lonelyLeft : []),
          ...(joinType === "right" || joinType === "full" ? lonelyRight : []),
        ];
        expect(sorted(out)).toEqual(sorted(expected));
      });
    }

    test.each(parallelisms)(`broadcast join (${name}), parallelism %i`, async (parallelism) => {
      const out = await collect(
        (job) =>
          job
            .from("n", sources.numbers({ to: 300 }))
            .broadcastJoin(
              "j",
              job.from(
                "names",
                sources.collection([
                  { id: 1, name: "one" },
                  { id: 2, name: "two" },
                ]),
              ),
              {
                type: "left",
                leftKey: wrap((n: number) => n % 4),
                rightKey: wrap((r: { id: number }) => r.id),
                select: wrap((n: number, r: { name: string } | undefined) => `${n}:${r?.name ?? "-"}`),
              },
            )
            .to("out", sinks.collect()),
        { parallelism },
      );
      expect(sorted(out)).toEqual(sorted(range(300).map((n) => `${n}:${n % 4 === 1 ? "one" : n % 4 === 2 ? "two" : "-"}`)));
    });
  }
});

describe("mapAsync", () => {
  test("ordered results leave in the order of their records, whichever call ends first", async () => {
    const out = await collect<number>((job) =>
      job
        .from("n", sources.numbers({ to: 500 }))
        .mapAsync(async (n) => {
          for (let i = 0; i < (n * 7) % 13; i++) await Promise.resolve();
          return n * 10;
        })
        .to("out", sinks.collect()),
    );
    expect(out).toEqual(range(500).map((n) => n * 10));
  });

  test.each([true, false])("never more calls than the concurrency are under way (ordered: %s)", async (ordered) => {
    let active = 0;
    let peak = 0;
    const out = await collect<number>((job) =>
      job
        .from("n", sources.numbers({ to: 1_000 }))
        .flatMap((n) => [n, n])
        .mapAsync(
          async (n) => {
            active++;
            peak = Math.max(peak, active);
            for (let i = 0; i < (n * 3) % 5; i++) await Promise.resolve();
            active--;
            return n;
          },
          { concurrency: 7, ordered },
        )
        .to("out", sinks.collect()),
    );
    expect(peak).toBe(7);
    expect(out.length).toBe(2_000);
    expect([...out].sort((a, b) => a - b)).toEqual(range(1_000).flatMap((n) => [n, n]));
  });

  test("a call is retried, and the last failure names the operator", async () => {
    const tries = new Map<number, number>();
    const flaky = (failures: number) => (job: JobBuilder) =>
      job
        .from("n", sources.numbers({ to: 5 }))
        .mapAsync(
          async (n) => {
            const count = (tries.get(n) ?? 0) + 1;
            tries.set(n, count);
            if (n === 3 && count <= failures) throw new Error("not yet");
            return n;
          },
          { retries: 2, backoff: 1 },
        )
        .to("out", sinks.collect());
    expect(await collect(flaky(2))).toEqual([0, 1, 2, 3, 4]);
    expect(tries.get(3)).toBe(3);
    tries.clear();
    await expect(collect(flaky(3))).rejects.toMatchObject({
      code: "OPERATOR_FAILED",
      message: "Operator 'mapAsync-1' failed: not yet",
    });
  });

  test("a call that takes longer than its timeout fails, and its signal is aborted", async () => {
    let aborted = false;
    const run = collect((job) =>
      job
        .from("n", sources.numbers({ to: 1 }))
        .mapAsync(
          (_n, ctx) =>
            new Promise<number>(() => {
              ctx.signal.addEventListener("abort", () => {
                aborted = true;
              });
            }),
          { timeout: 5 },
        )
        .to("out", sinks.collect()),
    );
    await expect(run).rejects.toMatchObject({ code: "OPERATOR_FAILED", details: { operator: "mapAsync-1" } });
    expect(aborted).toBe(true);
  });
});

describe("sort", () => {
  test.each(parallelisms)("orders all records from one subtask, parallelism %i", async (parallelism) => {
    const build = (limit?: number) => (job: JobBuilder) =>
      job
        .from("n", sources.numbers({ to: 1_000 }))
        .map((n) => ({ a: (n * 31) % 17, b: `b${(n * 13) % 101}`, n }))
        .sort("s", { by: (r) => [r.a, r.b, r.n], order: ["asc", "desc", "asc"], ...(limit === undefined ? {} : { limit }) })
        .to("out", sinks.collect());
    const expected = range(1_000)
      .map((n) => ({ a: (n * 31) % 17, b: `b${(n * 13) % 101}`, n }))
      .sort((x, y) => x.a - y.a || (x.b < y.b ? 1 : x.b > y.b ? -1 : 0) || x.n - y.n);
    expect(await collect(build(), { parallelism })).toEqual(expected);
    expect(await collect(build(25), { parallelism })).toEqual(expected.slice(0, 25));
  });

  test("with a limit, each subtask sends only its own first ones over the network", async () => {
    const job = jobOf((builder) =>
      builder
        .from("n", sources.numbers({ to: 5_000 }))
        .sort("top", { by: (n) => -n, limit: 3 })
        .to("out", sinks.collect()),
    );
    const { collected, progress } = await runJob(job, {}, { parallelism: 4 });
    expect(collected.out).toEqual([4_999, 4_998, 4_997]);
    expect(progress.operators["top.first"]).toEqual({ in: 5_000, out: 12 });
    expect(progress.operators.top).toEqual({ in: 12, out: 3 });
  });

  test("fails with its limit in words when it would hold too much", async () => {
    const run = collect((job) =>
      job
        .from("n", sources.numbers({ to: 1_000 }))
        .sort("s", { by: (n) => n, maxRecords: 100 })
        .to("out", sinks.collect()),
    );
    await expect(run).rejects.toMatchObject({ code: "LIMIT_EXCEEDED", message: "Sort 's' holds more than 100 records." });
  });
});

describe("shapes of graphs", () => {
  test.each(parallelisms)(
    "union, fan-out, rebalance and a diamond lose and double nothing, parallelism %i",
    async (parallelism) => {
      const out = await collect<number>(
        (job) => {
          const numbers = job.from("n", sources.numbers({ to: 5_000 }));
          const even = numbers.filter((n) => n % 2 === 0);
          const odd = numbers
            .filter((n) => n % 2 === 1)
            .rebalance()
            .map((n) => n);
          even
            .union(
              odd,
              numbers.map((n) => -n),
            )
            .to("out", sinks.collect());
        },
        { parallelism },
      );
      expect([...out].sort((a, b) => a - b)).toEqual([...range(5_000).map((n) => -n), ...range(5_000)].sort((a, b) => a - b));
    },
  );

  test.each(parallelisms)(
    "a stream joined with what was made of itself does not stand still, parallelism %i",
    async (parallelism) => {
      const out = await collect<number>(
        (job) => {
          const numbers = job.from("n", sources.numbers({ to: 20_000 }));
          const totals = numbers.keyBy((n) => n % 10).aggregate("count", { init: () => 0, add: (a) => a + 1 });
          numbers
            .join("j", totals, { leftKey: (n) => n % 10, rightKey: (t) => t.key, select: (n, t) => n + t.value })
            .to("out", sinks.collect());
        },
        { parallelism, creditsPerChannel: 1 },
      );
      expect([...out].sort((a, b) => a - b)).toEqual(range(20_000).map((n) => n + 2_000));
    },
  );

  test("composite keys are compared by content", async () => {
    const out = await collect<{ key: readonly [string, number]; value: number }>(
      (job) =>
        job
          .from("n", sources.numbers({ to: 100 }))
          .keyBy((n) => [n % 2 === 0 ? "even" : "odd", n % 3])
          .aggregate("count", { init: () => 0, add: (a) => a + 1 })
          .to("out", sinks.collect()),
      { parallelism: 3 },
    );
    expect(sorted(out)).toEqual(
      sorted([
        { key: ["even", 0], value: 17 },
        { key: ["odd", 1], value: 17 },
        { key: ["even", 2], value: 17 },
        { key: ["odd", 0], value: 17 },
        { key: ["even", 1], value: 16 },
        { key: ["odd", 2], value: 16 },
      ]),
    );
  });

  test('emit: "updates" gives the value after each record, unharmed by later changes in place', async () => {
    const out = await collect<{ key: string; value: { n: number } }>((job) =>
      job
        .from("n", sources.collection(["a", "b", "a", "a"]))
        .keyBy((letter) => letter)
        .aggregate("count", {
          init: () => ({ n: 0 }),
          add: (a) => {
            a.n++;
            return a;
          },
          emit: "updates",
        })
        .to("out", sinks.collect()),
    );
    expect(out.map((r) => `${r.key}${r.value.n}`)).toEqual(["a1", "b1", "a2", "a3"]);
  });

  test("a generator is read lazily, as fast as the sink takes", async () => {
    let given = 0;
    let taken = 0;
    let ahead = 0;
    const out = await collect<number>(
      (job) =>
        job
          .from("n", sources.numbers({ to: 1 }))
          .flatMap(function* () {
            for (let i = 0; i < 50_000; i++) {
              given++;
              ahead = Math.max(ahead, given - taken);
              yield i;
            }
          })
          .rebalance()
          .to("out", sinks.collect()),
      {
        parallelism: 2,
        creditsPerChannel: 2,
        onCollect: async (_uid, records) => {
          await new Promise((resolve) => setImmediate(resolve));
          taken += records.length;
        },
      },
    );
    expect(out.length).toBe(50_000);
    expect(ahead).toBeLessThan(16 * 1_024);
  });
});

test.each([
  ["sync", <A extends unknown[], R>(run: (...args: A) => R) => run],
  ["sometimes async", later],
] as const)("a combine hands its accumulators on when it holds too many (%s)", async (_name, wrap) => {
  const records = COMBINE_MAX_KEYS + 5_000;
  const { collected, progress } = await runJob(
    jobOf((job) =>
      job
        .from("n", sources.numbers({ to: records * 2 }))
        .keyBy((n) => n % records)
        .aggregate("count", { init: () => 0, add: wrap((count: number) => count + 1), merge: (a, b) => a + b })
        .to("out", sinks.collect()),
    ),
    {},
    { parallelism: 2 },
  );
  expect(collected.out).toHaveLength(records);
  expect(new Set((collected.out as { value: number }[]).map((r) => r.value))).toEqual(new Set([2]));
  // Each key was handed on at least once, and none was lost on the way.
  expect(progress.operators["count.combine"]?.out).toBe(progress.operators.count?.in);
});
