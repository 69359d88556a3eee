/** Pipelines made of random steps give what the same steps give over a plain array, whatever the parallelism, the credits and the promises. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type JobBuilder, type Stream, sinks, sources } from "../../../src/api/index.js";
import { collect, later, sorted } from "./support.js";

interface Row {
  readonly n: number;
  readonly k: string;
}

/** A step as an operator, and the same over an array. Steps are counted, so that stateful ones have uids of their own. */
interface Step {
  readonly name: string;
  apply(stream: Stream<Row>, uid: string, job: JobBuilder): Stream<Row>;
  plain(rows: readonly Row[]): Row[];
}

// Adding 0 makes a 0 of -0, which sorts the same but is not equal.
const row = (n: number): Row => ({ n: n + 0, k: `k${Math.abs(n) % 5}` });
const groups = (rows: readonly Row[]) => {
  const byKey = new Map<string, Row[]>();
  for (const r of rows) byKey.set(r.k, [...(byKey.get(r.k) ?? []), r]);
  return byKey;
};
const total = (rows: readonly Row[]) => rows.reduce((sum, r) => sum + r.n, 0);
type Wrap = <A extends unknown[], R>(run: (...args: A) => R) => (...args: A) => R | Promise<R>;

function steps(wrap: Wrap, mark: string): Step[] {
  const named = (name: string, apply: Step["apply"], plain: Step["plain"]): Step => ({ name: `${name}${mark}`, apply, plain });
  const small = [row(1), row(1), row(3), { n: 7, k: "none" }];
  return [
    named(
      "map",
      (s) => s.map(wrap((r: Row) => row(r.n * 3 + 1))),
      (rows) => rows.map((r) => row(r.n * 3 + 1)),
    ),
    named(
      "filter",
      (s) => s.filter(wrap((r: Row) => r.n % 3 !== 0)),
      (rows) => rows.filter((r) => r.n % 3 !== 0),
    ),
    named(
      "flatMap",
      (s) => s.flatMap(wrap((r: Row) => (r.n % 4 === 0 ? [] : [r, row(r.n + 1)]))),
      (rows) => rows.flatMap((r) => (r.n % 4 === 0 ? [] : [r, row(r.n + 1)])),
    ),
    named(
      "generator",
      (s) =>
        s.flatMap(function* (r: Row) {
          yield r;
          if (r.n % 2 === 0) yield row(-r.n);
        }),
      (rows) => rows.flatMap((r) => (r.n % 2 === 0 ? [r, row(-r.n)] : [r])),
    ),
    named(
      "mapAsync",
      (s) =>
        s.mapAsync(
          wrap((r: Row) => row(r.n - 2)),
          { concurrency: 3, ordered: mark === "" },
        ),
      (rows) => rows.map((r) => row(r.n - 2)),
    ),
    named(
      "rebalance",
      (s) => s.rebalance(),
      (rows) => [...rows],
    ),
    named(
      "aggregate",
      (s, uid) =>
        s
          .keyBy(wrap((r: Row) => r.k))
          .aggregate(uid, {
            init: wrap(() => 0),
            add: wrap((a: number, r: Row) => a + r.n),
            ...(mark === "" ? {} : { merge: (a: number, b: number) => a + b }),
          })
          .map((r) => ({ n: r.value, k: r.key })),
      (rows) => [...groups(rows)].map(([k, members]) => ({ n: total(members), k })),
    ),
    named(
      "reduce",
      (s, uid) =>
        s
          .keyBy((r) => [r.k])
          .reduce(
            uid,
            wrap((a: Row, b: Row) => ({ n: a.n + b.n, k: a.k })),
          )
          .map((r) => r.value),
      (rows) => [...groups(rows)].map(([k, members]) => ({ n: total(members), k })),
    ),
    named(
      "distinct",
      // By the whole record: which of several records of a key comes first depends on the subtasks.
      (s, uid) =>
        s.distinct(
          uid,
          wrap((r: Row) => [r.n, r.k]),
        ),
      (rows) => [...new Map(rows.map((r) => [`${r.n} ${r.k}`, r])).values()],
    ),
    named(
      "sort",
      (s, uid) => s.sort(uid, { by: (r) => [r.k, r.n] }),
      (rows) => [...rows],
    ),
    named(
      "process",
      (s, uid) => s.keyBy((r) => r.k).process(uid, { onElement: wrap((r: Row) => [r]), onEnd: wrap((k: string) => [{ n: 1, k }]) }),
      (rows) => [...rows, ...[...groups(rows).keys()].map((k) => ({ n: 1, k }))],
    ),
    named(
      "union with itself",
      (s) => s.union(s.map((r) => r)),
      (rows) => [...rows, ...rows],
    ),
    named(
      "join",
      (s, uid, job) =>
        s.join(uid, job.from(`${uid}-small`, sources.collection(small)), {
          type: "left",
          leftKey: wrap((r: Row) => r.k),
          rightKey: (r) => r.k,
          select: wrap((l: Row, r: Row | undefined) => ({ n: l.n + (r?.n ?? 100), k: l.k })),
        }),
      (rows) =>
        rows.flatMap((l) => {
          const matches = small.filter((r) => r.k === l.k);
          return matches.length === 0 ? [{ n: l.n + 100, k: l.k }] : matches.map((r) => ({ n: l.n + r.n, k: l.k }));
        }),
    ),
    named(
      "join with its own totals",
      (s, uid) =>
        s.broadcastJoin(
          uid,
          s.keyBy((r) => r.k).reduce(`${uid}-total`, (a, b) => ({ n: a.n + b.n, k: a.k })),
          {
            leftKey: (r) => r.k,
            rightKey: wrap((r: { key: string }) => r.key),
            select: (l, r) => ({ n: l.n + r.value.n, k: l.k }),
          },
        ),
      (rows) => {
        const byKey = groups(rows);
        return rows.map((r) => ({ n: r.n + total(byKey.get(r.k) ?? []), k: r.k }));
      },
    ),
  ];
}

/** `PROPERTY_RUNS=5000 PROPERTY_RECORDS=5000 PROPERTY_SEED=1 npx vitest run ...` looks further. */
const RUNS = Number(process.env.PROPERTY_RUNS ?? 250);
const RECORDS = Number(process.env.PROPERTY_RECORDS ?? 300);
const SEED = Number(process.env.PROPERTY_SEED ?? 20_240);

/** Steps that keep the order of records within a subtask. */
const KEEPS_ORDER = new Set(
  ["map", "filter", "flatMap", "generator", "distinct"].flatMap((name) => [name, `${name} (async)`]).concat("mapAsync"),
);

const all = [...steps((run) => run, ""), ...steps(later, " (async)")];

test("random pipelines of steps that keep the order keep it", async () => {
  const ordered = all.filter((step) => KEEPS_ORDER.has(step.name));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...ordered), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 0, max: 100 }),
      async (pipeline, count) => {
        const out = await collect<Row>((job) => {
          let stream: Stream<Row> = job.from("n", sources.numbers({ to: count })).map(row);
          for (const [index, step] of pipeline.entries()) stream = step.apply(stream, `step-${index}`, job);
          stream.to("out", sinks.collect());
        });
        let rows = Array.from({ length: count }, (_, n) => row(n));
        for (const step of pipeline) rows = step.plain(rows);
        expect(out).toEqual(rows);
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
});

test("random pipelines agree with plain arrays", { timeout: 20_000 + RUNS * 200 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...all), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 0, max: RECORDS }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      async (pipeline, count, parallelism, creditsPerChannel) => {
        const out = await collect<Row>(
          (job) => {
            let stream: Stream<Row> = job.from("n", sources.numbers({ to: count })).map(row);
            for (const [index, step] of pipeline.entries()) stream = step.apply(stream, `step-${index}`, job);
            stream.to("out", sinks.collect());
          },
          { parallelism, creditsPerChannel },
        );
        let rows = Array.from({ length: count }, (_, n) => row(n));
        for (const step of pipeline) rows = step.plain(rows);
        expect(sorted(out)).toEqual(sorted(rows));
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
});
