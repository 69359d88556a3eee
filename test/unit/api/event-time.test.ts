import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import {
  defineJob,
  type EventTimeOptions,
  type JobBuilder,
  planJob,
  sinks,
  sources,
  type WindowOptions,
  windows,
} from "../../../src/api/index.js";

const sha256Hex = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const plan = (build: (job: JobBuilder) => void) =>
  planJob(defineJob({ id: "test", build: (job) => build(job) }), {}, { sha256Hex });

const time = (n: number) => n;
const count = { time, init: () => 0, add: (a: number) => a + 1 };

const windowed = (options: Partial<WindowOptions<number, number, number, number>>, eventTime?: EventTimeOptions<number>) =>
  plan((job) =>
    job
      .from("n", sources.numbers(), { eventTime: eventTime ?? { time } })
      .keyBy((n) => n % 2)
      .window("w", { window: windows.tumbling("1m"), ...count, ...options })
      .to("out", sinks.collect()),
  );

describe("a window is refused when the job is planned", () => {
  test.each<[string, Partial<WindowOptions<number, number, number, number>>, RegExp]>([
    ["session windows without merge", { window: windows.session("30s") }, /'w'.*session windows and no merge/],
    ["no length", { window: windows.tumbling(0) }, /'w'.*windows of 0 ms/],
    ["gaps between sliding windows", { window: windows.sliding("10s", "20s") }, /'w'.*10000 ms, one every 20000 ms/],
    ["too many windows of a record", { window: windows.sliding("1h", "1s") }, /'w'.*3600 windows; at most 1000/],
    ["lateness that lies before", { allowedLateness: -1 }, /allowedLateness of window 'w' is -1/],
    ["no windows at all", { window: undefined as never }, /'w'.*no windows/],
    ["no time", { time: undefined as never }, /'w'.*no function 'time'/],
    ["no accumulator", { init: undefined as never }, /'w'.*no function 'init'/],
  ])("%s", async (_name, options, message) => {
    await expect(windowed(options)).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });

  test("a source above it has no event time", async () => {
    const build = (job: JobBuilder) =>
      job
        .from("timed", sources.numbers({ to: 5 }), { eventTime: { time } })
        .union(job.from("untimed", sources.numbers({ to: 5 })))
        .keyBy((n) => n)
        .window("w", { window: windows.tumbling("1m"), ...count })
        .to("out", sinks.collect());
    await expect(plan(build)).rejects.toMatchObject({
      code: "PLAN_FAILED",
      message: expect.stringMatching(/'w'.*no event time/),
      details: { operator: "w", problem: "no event time" },
    });
  });

  test("what lies between holds the records until the end", async () => {
    const behind = (held: "sort" | "aggregate") => (job: JobBuilder) => {
      const timed = job.from("timed", sources.numbers({ to: 5 }), { eventTime: { time } });
      const numbers =
        held === "sort"
          ? timed.sort("order", { by: (n) => n })
          : timed
              .keyBy((n) => n)
              .reduce("sums", (a, b) => a + b)
              .map(({ value }) => value);
      numbers
        .keyBy((n) => n)
        .window("w", { window: windows.tumbling("1m"), ...count })
        .to("out", sinks.collect());
    };
    for (const held of ["sort", "aggregate"] as const)
      await expect(plan(behind(held))).rejects.toMatchObject({ details: { problem: "no event time" } });
  });
});

describe("event time of a source", () => {
  test.each<[string, EventTimeOptions<number>, RegExp]>([
    ["without time", {} as never, /'n'.*eventTime without `time`/],
    ["endless, and in any order", { time, splits: "any-order" }, /'n'.*never ends/],
    ["splits that are neither", { time, splits: "sorted" as never }, /'n'.*"sorted"/],
    ["idle at once", { time, idleAfter: 0 }, /'n'.*idleAfter of 0/],
    [
      "out of order by nothing that can be read",
      { time, outOfOrderness: "soon" as never },
      /outOfOrderness of source 'n' is "soon"/,
    ],
  ])("%s is refused", async (_name, eventTime, message) => {
    await expect(windowed({}, eventTime)).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });

  test("stands in the graph, so that executors and checkpoints agree on it", async () => {
    const { graph } = await windowed({}, { time, outOfOrderness: "5s", idleAfter: "1m" });
    expect(graph.operators.find(({ uid }) => uid === "n")?.config).toMatchObject({
      eventTime: { outOfOrdernessMs: 5_000, idleAfterMs: 60_000, everyMs: 50, splits: "in-order" },
    });
    expect(graph.operators.find(({ uid }) => uid === "w")).toMatchObject({
      kind: "window",
      config: { windows: { kind: "tumbling", sizeMs: 60_000, offsetMs: 0 }, latenessMs: 0 },
    });
  });
});

describe("an interval join is refused when the job is planned", () => {
  const joined = (lower: number | "-5m", upper: number | "5m", rightTimed = true) =>
    plan((job) => {
      const left = job.from("left", sources.numbers(), { eventTime: { time } }).keyBy((n) => n);
      const right = job.from("right", sources.numbers(), rightTimed ? { eventTime: { time } } : {}).keyBy((n) => n);
      left
        .intervalJoin("near", right, { lower, upper, leftTime: time, rightTime: time, select: (a, b) => a + b })
        .to("out", sinks.collect());
    });

  test("its interval is none, or a side has no event time", async () => {
    await expect(joined(5, 4)).rejects.toMatchObject({ message: expect.stringMatching(/'near'.*from 5 to 4 ms/) });
    await expect(joined(0, 1, false)).rejects.toMatchObject({ message: expect.stringMatching(/'near'.*no event time/) });
    const { graph } = await joined("-5m", "5m");
    expect(graph.bounded).toBe(false);
    expect(graph.operators.find(({ uid }) => uid === "near")?.config).toMatchObject({ lowerMs: -300_000, upperMs: 300_000 });
  });
});

test("timers without keys are refused", async () => {
  const build = (job: JobBuilder) =>
    job
      .from("n", sources.numbers({ to: 5 }))
      .process("p", { onElement: () => [], onTimer: () => [] })
      .to("out", sinks.collect());
  await expect(plan(build)).rejects.toMatchObject({ message: expect.stringMatching(/'p'.*onTimer and no keys/) });
});
