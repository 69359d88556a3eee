import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  defineJob,
  isJob,
  type JobBuilder,
  planJob,
  type StandardSchemaV1,
  sinks,
  sources,
  state,
} from "../../../src/api/index.js";
import { settingsOf } from "../../../src/api/settings.js";
import { withDisturbedWorld } from "../../../src/testing/disturbed-world.js";

const sha256Hex = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const plan = (build: (job: JobBuilder) => void) =>
  planJob(defineJob({ id: "test", build: (job) => build(job) }), {}, { sha256Hex, disturb: withDisturbedWorld });

const numbers = (job: JobBuilder, uid = "n") => job.from(uid, sources.numbers({ to: 10 }));

describe("params", () => {
  const job = defineJob({
    id: "params",
    params: z.object({ input: z.string(), limit: z.coerce.number().int().default(5) }),
    build(job, p) {
      job
        .from("n", sources.numbers({ to: p.limit }))
        .map((n) => p.input + n)
        .to("out", sinks.collect());
    },
  });

  test("are checked and converted by the schema, and reach the graph", async () => {
    const { graph, params } = await planJob(job, { input: "x", limit: "7" }, { sha256Hex });
    expect(params).toEqual({ input: "x", limit: 7 });
    expect(graph.operators[0]).toEqual({
      uid: "n",
      kind: "source",
      parallelism: null,
      config: { bounded: true, descriptor: { kind: "numbers", to: 7 }, onError: "fail", rate: null },
    });
  });

  test("that are not valid are refused with every issue", async () => {
    await expect(planJob(job, { limit: "many" }, { sha256Hex })).rejects.toMatchObject({
      code: "INVALID_PARAMS",
      details: { issues: [expect.stringMatching(/^input: /), expect.stringMatching(/^limit: /)] },
    });
  });

  test("may be described by any vendor, also asynchronously", async () => {
    const schema: StandardSchemaV1<{ n: string }, { n: number }> = {
      "~standard": { version: 1, vendor: "own", validate: async (value) => ({ value: { n: Number((value as { n: string }).n) } }) },
    };
    const own = defineJob({
      id: "own",
      params: schema,
      build: (job, p) => job.from("n", sources.numbers({ to: p.n })).to("out", sinks.collect()),
    });
    expect((await planJob(own, { n: "3" }, { sha256Hex })).params).toEqual({ n: 3 });
  });

  test("without a schema are handed on as they are", async () => {
    let seen: unknown;
    const job = defineJob({
      id: "unchecked",
      build(job, p) {
        seen = p;
        numbers(job).to("out", sinks.collect());
      },
    });
    await planJob(job, { a: "1" }, { sha256Hex });
    expect(seen).toEqual({ a: "1" });
  });
});

describe("the graph", () => {
  test("has the same hash whenever it is built, and another one for other params", async () => {
    const of = (to: number) => plan((job) => job.from("n", sources.numbers({ to })).to("out", sinks.collect()));
    const [first, again, other] = [await of(1), await of(1), await of(2)];
    expect(first.graph.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(again.graph.hash).toBe(first.graph.hash);
    expect(other.graph.hash).not.toBe(first.graph.hash);
  });

  test("holds operators, exchanges, side outputs and the combine before an aggregate that can merge", async () => {
    const { graph, built } = await plan((job) => {
      const keyed = numbers(job).keyBy((n) => n % 2);
      keyed.aggregate("sum", { init: () => 0, add: (a, n) => a + n, merge: (a, b) => a + b }).to("out", sinks.collect());
      const split = keyed.process("p", {
        state: { seen: state.value<number>() },
        onElement: (n, _ctx, out: { side(tag: "odd", n: number): void }) => out.side("odd", n),
        sides: { odd: {} },
      });
      split.side("odd").to("odd", sinks.console());
    });
    expect(graph.bounded).toBe(true);
    expect(graph.operators.map((operator) => `${operator.uid}:${operator.kind}`)).toEqual([
      "n:source",
      "keyBy-1:keyBy",
      "sum.combine:combine",
      "sum:aggregate",
      "out:sink",
      "p:process",
      "odd:sink",
    ]);
    expect(graph.edges).toContainEqual({ from: "keyBy-1", to: "sum.combine", input: 0, exchange: "forward", side: null });
    expect(graph.edges).toContainEqual({ from: "sum.combine", to: "sum", input: 0, exchange: "hash", side: null });
    expect(graph.edges).toContainEqual({ from: "p", to: "odd", input: 0, exchange: "forward", side: "odd" });
    expect(graph.operators.find((operator) => operator.uid === "p")?.config).toEqual({ keyed: true, state: { seen: "value" } });
    expect([...built.functions.keys()]).toEqual(graph.operators.map((operator) => operator.uid));
    expect(JSON.parse(JSON.stringify(graph))).toEqual(graph);
  });

  test("says which joins hold their first input: those that could wait for themselves", async () => {
    const { graph } = await plan((job) => {
      const a = numbers(job, "a");
      const b = numbers(job, "b");
      const options = { leftKey: (n: number) => n, rightKey: (n: number) => n, select: (n: number) => n };
      a.join(
        "apart",
        b.map((n) => n),
        options,
      ).to("out-1", sinks.collect());
      const c = numbers(job, "c");
      c.join(
        "itself",
        c.map((n) => n),
        options,
      ).to("out-2", sinks.collect());
      const [d, e] = [numbers(job, "d"), numbers(job, "e")];
      d.join("cross-1", e, options).to("out-3", sinks.collect());
      e.broadcastJoin("cross-2", d, options).to("out-4", sinks.collect());
    });
    const modes = Object.fromEntries(
      graph.operators.flatMap((o) =>
        o.kind.toLowerCase().includes("join") ? [[o.uid, (o.config as { probe: string }).probe]] : [],
      ),
    );
    expect(modes).toEqual({ apart: "wait", itself: "buffer", "cross-1": "buffer", "cross-2": "buffer" });
  });

  test("checkpoints have units, too, can be turned off, and nonsense is refused", () => {
    const of = (checkpoint: Parameters<typeof defineJob>[0]["checkpoint"]) =>
      settingsOf(defineJob({ id: "j", build: () => undefined, ...(checkpoint === undefined ? {} : { checkpoint }) })).checkpoint;
    expect(of(undefined)).toBeNull();
    expect(of("none")).toBe("none");
    expect(of({ every: "1s", timeout: "1m", minPause: 50, toleratedFailures: 3 })).toEqual({
      everyMs: 1_000,
      timeoutMs: 60_000,
      minPauseMs: 50,
      toleratedFailures: 3,
      history: null,
      mode: "exactly-once",
      guarantee: null,
    });
    for (const wrong of [{ every: 5 }, { every: "1s", toleratedFailures: -1 }, { every: "1s", toleratedFailures: 0.5 }])
      expect(() => of(wrong as { every: number })).toThrow(expect.objectContaining({ code: "INVALID_JOB" }));
  });

  test("settings have units", async () => {
    const job = defineJob({
      id: "settings",
      parallelism: 3,
      restart: { strategy: "exponential", min: "1s", max: "1m" },
      resources: { cores: 2, memory: "512MiB" },
      checkpoint: { every: "10s", mode: "exactly-once" },
      build: (job) => numbers(job).to("out", sinks.collect()),
    });
    expect((await planJob(job, {}, { sha256Hex })).settings).toEqual({
      parallelism: 3,
      restart: { strategy: "exponential", minMs: 1_000, maxMs: 60_000, attempts: null, jitter: 0.2 },
      cores: 2,
      memoryBytes: 512 * 2 ** 20,
      checkpoint: {
        everyMs: 10_000,
        timeoutMs: null,
        minPauseMs: null,
        toleratedFailures: null,
        history: null,
        mode: "exactly-once",
        guarantee: null,
      },
      state: "memory",
    });
  });
});

describe("errors of the plan name the operator and the cause", () => {
  const cases: [string, (job: JobBuilder) => void, { code: string; message: RegExp; operator?: string }][] = [
    [
      "a uid that stands twice",
      (job) => {
        numbers(job).to("out", sinks.collect());
        numbers(job).to("out-2", sinks.collect());
      },
      { code: "PLAN_FAILED", message: /'n' stands twice/, operator: "n" },
    ],
    [
      "a uid with odd characters",
      (job) => numbers(job, "a b").to("out", sinks.collect()),
      { code: "INVALID_JOB", message: /uid "a b" of a source/ },
    ],
    ["no sink", (job) => void numbers(job), { code: "PLAN_FAILED", message: /has no sink/ }],
    ["no source", () => undefined, { code: "PLAN_FAILED", message: /has no source/ }],
    [
      "a stream that leads to no sink",
      (job) => {
        numbers(job).to("out", sinks.collect());
        numbers(job, "m").map((n) => n);
      },
      { code: "PLAN_FAILED", message: /'map-1' \(map\) leads to no sink/, operator: "map-1" },
    ],
    [
      "an aggregate of an endless input that does not say when it emits",
      (job) =>
        job
          .from("n", sources.numbers())
          .keyBy((n) => n)
          .aggregate("sum", { init: () => 0, add: (a) => a })
          .to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'sum' aggregates an input that never ends, without saying when it emits/, operator: "sum" },
    ],
    [
      "a sort of an endless input",
      (job) =>
        job
          .from("n", sources.numbers())
          .sort("s", { by: (n) => n })
          .to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'s' sorts/, operator: "s" },
    ],
    [
      "a join with an endless second input",
      (job) =>
        numbers(job)
          .join("j", job.from("m", sources.numbers()), { leftKey: (n) => n, rightKey: (n) => n, select: (n) => n })
          .to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'j' joins with 'm', which never ends/, operator: "j" },
    ],
    [
      "an unknown input",
      (job) =>
        numbers(job)
          .union(undefined as never)
          .to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'union' has an unknown input/, operator: "union" },
    ],
    [
      "something that is not a source",
      (job) => job.from("n", {} as never).to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'n' is given something that is not a source/ },
    ],
    [
      "a side output that does not exist",
      (job) =>
        (numbers(job) as unknown as { side(tag: string): { to(uid: string, sink: unknown): void } })
          .side("late")
          .to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'n' has no side output 'late' \(it has none\)/ },
    ],
    [
      "options that are not JSON",
      (job) => job.from("n", sources.collection([{ at: new Date(0) }])).to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'n' has a Date in its options \(config\.descriptor\.items\[0\]\.at\)/ },
    ],
    [
      "a build that throws",
      () => {
        throw new Error("no luck");
      },
      { code: "PLAN_FAILED", message: /build function of job 'test' failed: no luck/ },
    ],
    [
      "a build that is async",
      (async (job: JobBuilder) => numbers(job).to("out", sinks.collect())) as never,
      { code: "INVALID_JOB", message: /build function of job 'test' is async/ },
    ],
    [
      "two sinks with one path, however it is spelt, also of different kinds",
      (job) => {
        numbers(job).to("rows", sinks.ndjson("out/data"));
        numbers(job, "m")
          .map((n) => ({ n }))
          .to("table", sinks.parquet("./out//x/../data/"));
      },
      { code: "PLAN_FAILED", message: /'table' writes to .\/out\/\/x\/..\/data\/, as the sink 'rows' does/, operator: "table" },
    ],
    [
      "a sort with a limit that is no number of records",
      (job) =>
        numbers(job)
          .sort("s", { by: (n) => n, limit: 1.5 })
          .to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'s' has a limit of 1.5/, operator: "s" },
    ],
    [
      "a parallelism of 0",
      (job) => job.from("n", sources.numbers({ to: 1 }), { parallelism: 0 }).to("out", sinks.collect()),
      { code: "PLAN_FAILED", message: /'n' has a parallelism of 0/ },
    ],
  ];
  for (const [name, build, { code, message, operator }] of cases) {
    test(name, async () => {
      const error = await planJob(defineJob({ id: "test", build }), {}, { sha256Hex }).then(
        () => null,
        (thrown) => thrown,
      );
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
      if (operator !== undefined) expect(error.details.operator).toBe(operator);
    });
  }

  test("a stream of another job", async () => {
    let stolen: ReturnType<typeof numbers> | undefined;
    await plan((job) => {
      stolen = numbers(job);
      stolen.to("out", sinks.collect());
    });
    const thief = plan((job) => {
      if (stolen !== undefined) numbers(job, "m").union(stolen).to("out", sinks.collect());
    });
    await expect(thief).rejects.toMatchObject({
      code: "INVALID_JOB",
      message: expect.stringMatching(/uses the stream 'n' of another build/),
    });
  });

  test("a graph that depends on the clock or on chance, naming what differs", async () => {
    const byClock = plan((job) => job.from("n", sources.text(`in/${new Date().getFullYear()}.txt`)).to("out", sinks.collect()));
    await expect(byClock).rejects.toMatchObject({
      code: "PLAN_FAILED",
      message: expect.stringMatching(
        /differs each time it is built: operator 'n' differs in config\.descriptor\.path \("in\/\d+\.txt", then "in\/\d+\.txt"\)/,
      ),
      details: { operator: "n" },
    });
    const byChance = plan((job) => numbers(job).to(`out-${Math.floor(Math.random() * 1e12)}`, sinks.collect()));
    await expect(byChance).rejects.toMatchObject({
      code: "PLAN_FAILED",
      message: expect.stringMatching(/an operator is named 'out-\d+', then 'out-\d+'/),
    });
  });

  test("an export that is no job", async () => {
    await expect(planJob({ id: "x", build: () => undefined }, {}, { sha256Hex })).rejects.toMatchObject({ code: "INVALID_JOB" });
    await expect(planJob(undefined, {}, { sha256Hex })).rejects.toMatchObject({ code: "INVALID_JOB" });
  });
});

test("a job is recognised by its mark, whichever copy of the module made it", () => {
  const job = defineJob({ id: "a", build: () => undefined });
  expect(isJob(job)).toBe(true);
  expect((job as unknown as Record<symbol, unknown>)[Symbol.for("holdfast.job")]).toBe(1);
  expect(isJob({ ...job })).toBe(false);
});
