/** Windows, timers and interval joins through crashes: what they hold is in the checkpoint, and event time with it. */
import { describe, expect, test } from "vitest";
import { type JobBuilder, sinks, sources, state, windows } from "../../../../src/api/index.js";
import { runThroughCrashes } from "../checkpoint-run.js";
import { sorted } from "../support.js";

const COUNT = 12_000;
const DISORDER = 60;

type Build = (job: JobBuilder, tick: () => void) => void;

/** When the number "happened": out of order by less than DISORDER. */
const time = (n: number) => n - ((n * 7_919) % DISORDER);

const ticked = (tick: () => void) => (n: number) => {
  tick();
  return n;
};

const timed = (job: JobBuilder, uid = "n", to = COUNT) =>
  job.from(uid, sources.numbers({ to }), {
    eventTime: { time, outOfOrderness: DISORDER, splits: "in-order", watermarkEvery: 0 },
  });

const sums = {
  time,
  init: () => ({ count: 0, sum: 0 }),
  add: (a: { count: number; sum: number }, n: number) => ({ count: a.count + 1, sum: a.sum + n }),
  merge: (a: { count: number; sum: number }, b: { count: number; sum: number }) => ({
    count: a.count + b.count,
    sum: a.sum + b.sum,
  }),
};

const jobs: readonly (readonly [string, Build])[] = [
  [
    "tumbling windows",
    (job, tick) =>
      timed(job)
        .map(ticked(tick))
        .keyBy((n) => `key ${n % 7}`)
        .window("w", { window: windows.tumbling(500), ...sums })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "sliding windows with keys that are objects, and windows of their results",
    (job, tick) =>
      timed(job)
        .map(ticked(tick))
        .keyBy((n) => ({ last: n % 5 }))
        .window("w", { window: windows.sliding(900, 300), ...sums })
        .keyBy(({ key }) => key.last)
        .window("again", {
          window: windows.tumbling(1_800),
          time: ({ window }) => window.end - 1,
          init: () => 0,
          add: (n, { value }) => n + value.count,
        })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "sessions",
    (job, tick) =>
      timed(job)
        .map(ticked(tick))
        .filter((n) => n % 1_000 < 400)
        .keyBy((n) => n % 3)
        .window("w", { window: windows.session(150), ...sums })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "timers of event time",
    (job, tick) =>
      timed(job)
        .map(ticked(tick))
        .keyBy((n) => n % 11)
        .process("alarms", {
          state: { seen: state.value<number>(), times: state.list<number>() },
          onElement: (n, { state: { seen, times }, timers }) => {
            seen.set((seen.get() ?? 0) + 1);
            const at = Math.ceil((time(n) + 1) / 400) * 400;
            if (!times.get().includes(at)) times.add(at);
            timers.eventTime(at);
            if (n % 22 === 0) timers.eventTime(at + 50);
            if (n % 44 === 0) {
              timers.eventTime(at + 70);
              timers.deleteEventTime(at + 70);
            }
          },
          onTimer: ({ at }, { key, state: { times }, watermark }) =>
            at % 400 === 0 ? [{ key, at, isDue: watermark >= at, known: times.get().includes(at) }] : [{ key, at }],
        })
        .to("out", sinks.ndjson("out")),
  ],
  [
    "an interval join of two streams",
    (job, tick) => {
      const lefts = timed(job, "lefts")
        .map(ticked(tick))
        .filter((n) => n % 3 === 0);
      const rights = timed(job, "rights").filter((n) => n % 5 === 0);
      lefts
        .keyBy((n) => n % 4)
        .intervalJoin(
          "near",
          rights.keyBy((n) => n % 4),
          { lower: -40, upper: 25, leftTime: time, rightTime: time, select: (left, right) => [left, right] },
        )
        .to("out", sinks.ndjson("out"));
    },
  ],
];

const WHEN = [1, 700, 5_000, 11_500];

describe.each(jobs)("%s", (_name, build) => {
  test.each([1, 2, 3])(
    "the output after crashes is that of an undisturbed run, with parallelism %i",
    { timeout: 60_000 },
    async (parallelism) => {
      const expected = sorted((await runThroughCrashes(build, { parallelism, checkpointsAt: [] })).records);
      expect(expected.length).toBeGreaterThan(10);
      for (const at of WHEN) {
        const once = await runThroughCrashes(build, { parallelism, checkpointsAt: [at], crashAfter: 300 });
        expect(sorted(once.records)).toEqual(expected);
      }
      const often = await runThroughCrashes(build, { parallelism, checkpointsAt: [500, 500, 500, 500] });
      expect(often.completed).toBeGreaterThan(0);
      expect(sorted(often.records)).toEqual(expected);
    },
  );
});

test("what was late before a crash is late after it: the time of the checkpoint is gone on from", async () => {
  const LATE_BY = 5_000;
  const lateTime = (n: number) => (n >= 7_000 && n % 10 === 0 ? n - LATE_BY : n);
  const build: Build = (job, tick) => {
    const results = job
      .from("n", sources.numbers({ to: COUNT }), { eventTime: { time: lateTime, splits: "in-order", watermarkEvery: 0 } })
      .map(ticked(tick))
      .keyBy((n) => n % 3)
      .window("w", { ...sums, time: lateTime, window: windows.tumbling(500) });
    results
      .side("late")
      .map((n) => ({ late: n }))
      .union(results.map((result) => ({ result })))
      .to("out", sinks.ndjson("out"));
  };
  const expected = sorted((await runThroughCrashes(build, { parallelism: 1, checkpointsAt: [] })).records);
  expect(expected.filter((record) => "late" in (record as object))).toHaveLength(500);
  for (const at of [7_100, 9_005, 11_000]) {
    const run = await runThroughCrashes(build, { parallelism: 1, checkpointsAt: [at] });
    expect(run.completed).toBe(1);
    expect(sorted(run.records)).toEqual(expected);
  }
});
