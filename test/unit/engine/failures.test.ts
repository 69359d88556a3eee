import { describe, expect, test } from "vitest";
import { CodedError, type JobBuilder, type SinkConnector, type SinkWriter, sinks, sources, state } from "../../../src/api/index.js";
import { runJob } from "../../../src/testing/index.js";
import { collect, jobOf } from "./support.js";

/** Remembers what its writers are told. */
function recordingSink(
  events: string[],
  fail: Partial<Record<"open" | "write" | "prepare", boolean>> = {},
): SinkConnector<unknown> {
  const oops = (at: "open" | "write" | "prepare") => {
    if (fail[at]) throw new Error(`no ${at}`);
  };
  return {
    open: async ({ subtask }) => {
      oops("open");
      const writer: SinkWriter<unknown> = {
        write: () => oops("write"),
        prepare: async () => {
          oops("prepare");
          events.push(`prepare ${subtask}`);
          return { subtask };
        },
        abort: async () => void events.push(`abort ${subtask}`),
        close: async () => void events.push(`close ${subtask}`),
      };
      return writer;
    },
    commit: async (committables) => void events.push(`commit ${JSON.stringify(committables)}`),
    cleanUp: async () => void events.push("cleanUp"),
  };
}

describe("an error of a user function names its operator, with the message and the stack", () => {
  const boom = (): never => {
    throw new Error("boom");
  };
  const boomLater = async (): Promise<never> => boom();
  const numbers = (job: JobBuilder) => job.from("n", sources.numbers({ to: 3 }));
  const places: [string, string, (job: JobBuilder, boom: () => never) => void][] = [
    ["map", "map-1", (job, f) => numbers(job).map(f).to("out", sinks.collect())],
    ["filter", "filter-1", (job, f) => numbers(job).filter(f).to("out", sinks.collect())],
    ["flatMap", "flatMap-1", (job, f) => numbers(job).flatMap(f).to("out", sinks.collect())],
    ["mapAsync", "mapAsync-1", (job, f) => numbers(job).mapAsync(f).to("out", sinks.collect())],
    [
      "init",
      "agg",
      (job, f) =>
        numbers(job)
          .keyBy((n) => n)
          .aggregate("agg", { init: f, add: (a) => a })
          .to("out", sinks.collect()),
    ],
    [
      "add",
      "agg",
      (job, f) =>
        numbers(job)
          .keyBy((n) => n)
          .aggregate("agg", { init: () => 0, add: f })
          .to("out", sinks.collect()),
    ],
    [
      "result",
      "agg",
      (job, f) =>
        numbers(job)
          .keyBy((n) => n)
          .aggregate("agg", { init: () => 0, add: (a) => a, result: f })
          .to("out", sinks.collect()),
    ],
    [
      "reduce",
      "red",
      (job, f) =>
        numbers(job)
          .keyBy(() => 1)
          .reduce("red", f)
          .to("out", sinks.collect()),
    ],
    [
      "onElement",
      "p",
      (job, f) =>
        numbers(job)
          .keyBy((n) => n)
          .process("p", { onElement: f })
          .to("out", sinks.collect()),
    ],
    [
      "onEnd",
      "p",
      (job, f) =>
        numbers(job)
          .keyBy((n) => n)
          .process("p", { onElement: () => [1], onEnd: f })
          .to("out", sinks.collect()),
    ],
    ["distinct", "d", (job, f) => numbers(job).distinct("d", f).to("out", sinks.collect())],
    [
      "select",
      "j",
      (job, f) =>
        numbers(job)
          .join("j", job.from("m", sources.numbers({ to: 3 })), { leftKey: (n) => n, rightKey: (n) => n, select: f })
          .to("out", sinks.collect()),
    ],
    [
      "rightKey",
      "j",
      (job, f) =>
        numbers(job)
          .join("j", job.from("m", sources.numbers({ to: 3 })), { leftKey: (n) => n, rightKey: f, select: (n) => n })
          .to("out", sinks.collect()),
    ],
  ];
  for (const [place, operator, build] of places) {
    test.each([1, 2])(`${place}, parallelism %i`, async (parallelism) => {
      for (const f of [boom, boomLater as unknown as () => never]) {
        const error = await collect((job) => build(job, f), { parallelism }).then(
          () => null,
          (thrown) => thrown,
        );
        expect(error).toBeInstanceOf(CodedError);
        expect(error.toShape()).toMatchObject({
          code: "OPERATOR_FAILED",
          details: { message: "boom", stack: expect.stringContaining("failures.test.ts") },
        });
        expect(error.message).toBe(`Operator '${operator}' failed: boom`);
      }
    });
  }

  test("a generator that throws half-way", async () => {
    const run = collect((job) =>
      numbers(job)
        .flatMap(function* () {
          yield 1;
          throw new Error("boom");
        })
        .to("out", sinks.collect()),
    );
    await expect(run).rejects.toMatchObject({ code: "OPERATOR_FAILED", message: "Operator 'flatMap-1' failed: boom" });
  });

  test("flatMap that gives nothing to iterate", async () => {
    await expect(
      collect((job) =>
        numbers(job)
          .flatMap((() => 3) as never)
          .to("out", sinks.collect()),
      ),
    ).rejects.toMatchObject({
      message: "Operator 'flatMap-1' failed: its function returned a number instead of an iterable",
    });
  });
});

describe("sinks", () => {
  const job = (sink: SinkConnector<unknown>, bad = -1) =>
    jobOf((job) =>
      job
        .from("n", sources.numbers({ to: 100 }))
        .map((n) => {
          if (n === bad) throw new Error("bad luck");
          return n;
        })
        .to("out", sinks.custom(sink)),
    );

  test("are prepared by all subtasks, closed, then committed once", async () => {
    const events: string[] = [];
    await runJob(job(recordingSink(events)), {}, { parallelism: 2 });
    expect(events.slice(-2)).toEqual(['commit [{"subtask":0},{"subtask":1}]', "cleanUp"]);
    expect(events.slice(0, -2).sort()).toEqual(["close 0", "close 1", "prepare 0", "prepare 1"]);
  });

  test("of a failed job are aborted and never committed", async () => {
    const events: string[] = [];
    await expect(runJob(job(recordingSink(events), 50), {}, { parallelism: 2 })).rejects.toMatchObject({ code: "OPERATOR_FAILED" });
    expect(events).toContain("cleanUp");
    expect(events).toContain("abort 0");
    expect(events).toContain("abort 1");
    expect(events.some((event) => event.startsWith("commit"))).toBe(false);
  });

  test.each(["open", "write", "prepare"] as const)("that fail in %s are named", async (at) => {
    const events: string[] = [];
    const run = runJob(job(recordingSink(events, { [at]: true })), {}, {});
    await expect(run).rejects.toMatchObject({ code: "SINK_FAILED", message: `Sink 'out' failed: no ${at}` });
    expect(events.some((event) => event.startsWith("commit"))).toBe(false);
  });

  test("collect refuses more than its limit", async () => {
    const run = collect((job) => job.from("n", sources.numbers({ to: 5_000 })).to("out", sinks.collect({ maxRecords: 2_000 })));
    await expect(run).rejects.toMatchObject({ code: "LIMIT_EXCEEDED", details: { operator: "out", maxRecords: 2_000 } });
  });
});

describe("bad records", () => {
  const schema = {
    "~standard": {
      version: 1 as const,
      vendor: "test",
      validate: (value: unknown) =>
        Number(value) % 10 === 3 ? { issues: [{ message: "ends in three" }] } : { value: Number(value) * 2 },
    },
  };
  const source = (onError: "fail" | "skip" | "side") => ({ ...sources.numbers({ to: 100 }), schema, onError });

  test("fail the job by default", async () => {
    const run = collect((job) => job.from("n", source("fail")).to("out", sinks.collect()));
    await expect(run).rejects.toMatchObject({ code: "BAD_RECORD", message: expect.stringContaining("source 'n'") });
  });

  test.each([1, 3])("are counted and the first ones kept with skip, parallelism %i", async (parallelism) => {
    const { collected, progress } = await runJob(
      jobOf((job) => job.from("n", source("skip")).to("out", sinks.collect())),
      {},
      { parallelism },
    );
    expect(collected.out?.length).toBe(90);
    expect(progress.badRecords).toBe(10);
    expect(progress.firstBadRecords).toHaveLength(10);
    expect(progress.firstBadRecords[0]).toMatchObject({
      operator: "n",
      text: expect.stringMatching(/3$/),
      reason: "ends in three",
    });
  });

  test("go to the side output", async () => {
    const { collected } = await runJob(
      jobOf((job) => {
        const numbers = job.from("n", source("side"));
        numbers.to("out", sinks.collect());
        numbers
          .side("errors")
          .map((bad) => bad.text)
          .to("bad", sinks.collect());
      }),
      {},
    );
    expect(collected.bad).toEqual(["3", "13", "23", "33", "43", "53", "63", "73", "83", "93"]);
    expect(collected.out?.length).toBe(90);
  });
});

test("a failing source is named", async () => {
  const run = collect((job) =>
    job
      .from(
        "broken",
        sources.iterable(function* () {
          yield 1;
          throw new Error("unplugged");
        }),
      )
      .to("out", sinks.collect()),
  );
  await expect(run).rejects.toMatchObject({ message: expect.stringContaining("unplugged") });
});

test("a join that would hold too much says so", async () => {
  const run = collect((job) =>
    job
      .from("n", sources.numbers({ to: 10 }))
      .join("j", job.from("m", sources.numbers({ to: 1_000 })), {
        leftKey: (n) => n,
        rightKey: (n) => n,
        select: (n) => n,
        maxBuildRecords: 500,
      })
      .to("out", sinks.collect()),
  );
  await expect(run).rejects.toMatchObject({ code: "LIMIT_EXCEEDED", details: { operator: "j", limit: 500 } });
});

test("a user function that never answers does not keep a cancelled job", async () => {
  const controller = new AbortController();
  let asked = 0;
  const run = collect(
    (job) =>
      job
        .from("n", sources.numbers({ to: 10 }))
        .map((n) => {
          asked++;
          if (n < 5) return n;
          if (n === 5) throw new Error("stop");
          return new Promise<number>(() => undefined);
        })
        .to("out", sinks.collect()),
    { parallelism: 2, signal: controller.signal },
  );
  await expect(run).rejects.toMatchObject({ code: "OPERATOR_FAILED" });
  expect(asked).toBeGreaterThan(0);
});

test("handlers get the key, the subtask, the attempt, a log and counters", async () => {
  const lines: string[] = [];
  const log = {
    debug: () => undefined,
    info: (message: string, fields?: object) => void lines.push(`${message} ${JSON.stringify(fields)}`),
    warn: () => undefined,
    error: () => undefined,
  };
  const { progress } = await runJob(
    jobOf((job) =>
      job
        .from("n", sources.numbers({ to: 4 }))
        .keyBy((n) => n % 2)
        .process("p", {
          state: { seen: state.value<number>() },
          onElement(n, ctx) {
            ctx.metrics.count("records");
            ctx.metrics.count("sum", n);
            if (n === 3) ctx.log.info("three", { key: ctx.key, attempt: ctx.attempt, fence: ctx.fence });
            return [n];
          },
        })
        .to("out", sinks.collect()),
    ),
    {},
    { log },
  );
  expect(progress.metrics).toEqual({ "p.records": 4, "p.sum": 6 });
  expect(lines).toEqual(['three {"key":1,"attempt":"1.1","fence":4294967297,"operator":"p","subtask":0}']);
});
