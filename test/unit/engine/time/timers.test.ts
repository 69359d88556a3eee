import { describe, expect, test } from "vitest";
import { type JobBuilder, sinks, sources, state } from "../../../../src/api/index.js";
import type { Clock } from "../../../../src/env/clock.js";
import { collect, later } from "../support.js";
import { handFed } from "./hand-fed.js";

interface Click {
  readonly key: string;
  readonly at: number;
}

/** A calendar that the test turns. */
function calendar(): Clock & { turnTo(ms: number): void } {
  let nowMs = 1_000;
  return {
    now: () => nowMs,
    wallNow: () => nowMs,
    at: () => ({ cancel: () => undefined }),
    turnTo: (ms) => {
      nowMs = ms;
    },
  };
}

const clicks = (job: JobBuilder) =>
  job.from("clicks", sources.collection<Click>([]), { eventTime: { time: ({ at }) => at } }).keyBy(({ key }) => key);

/** Emits each timer, and how many records its key had. */
const alarms = (onClick: "event" | "processing") => (job: JobBuilder) =>
  clicks(job)
    .process("op", {
      state: { count: state.value<number>() },
      onElement: ({ at }, { state: { count }, timers }) => {
        count.set((count.get() ?? 0) + 1);
        if (onClick === "event") timers.eventTime(at + 10);
        else timers.processingTime(timers.now() + at);
      },
      onTimer: (timer, { key, watermark, state: { count } }) => [{ key, ...timer, watermark, count: count.get() }],
      onEnd: (key) => [{ key, ended: true }],
    })
    .to("out", sinks.collect());

describe("timers of event time", () => {
  test("come when the watermark has reached them, in their order, with the state of their key", async () => {
    const fed = await handFed(alarms("event"), 1);
    await fed.feed(0, "a", { key: "a", at: 20 });
    await fed.feed(0, "b", { key: "b", at: 5 });
    await fed.feed(0, "a", { key: "a", at: 20 });
    await fed.watermark(14);
    expect(fed.taken().out).toEqual([]);
    await fed.watermark(40);
    expect(fed.taken().out).toEqual([
      { key: "b", kind: "event", at: 15, watermark: 40, count: 1 },
      { key: "a", kind: "event", at: 30, watermark: 40, count: 2 },
    ]);
  });

  test("are there after a restore, also with another parallelism", async () => {
    const before = await handFed(alarms("event"), 2);
    for (const key of ["a", "b", "c"]) await before.feed(0, key, { key, at: 20 });
    await before.watermark(25);
    const fed = await before.restored(3);
    await fed.watermark(30);
    expect(
      fed
        .taken()
        .out?.map((each) => (each as Click).key)
        .sort(),
    ).toEqual(["a", "b", "c"]);
  });

  test("all come when the input ends, and those that are set then never do", async () => {
    const fed = await handFed(
      (job) =>
        clicks(job)
          .process("op", {
            onElement: (_click, { timers }) => timers.eventTime(100),
            onTimer: ({ at }, { timers, watermark }) => {
              timers.eventTime(at + 100);
              return [{ at, watermark }];
            },
          })
          .to("out", sinks.collect()),
      1,
    );
    await fed.feed(0, "a", { key: "a", at: 1 });
    await fed.watermark(250);
    expect(fed.taken().out).toEqual([
      { at: 100, watermark: 250 },
      { at: 200, watermark: 250 },
    ]);
    await fed.end();
    expect(fed.taken().out).toEqual([{ at: 300, watermark: Number.POSITIVE_INFINITY }]);
  });

  test("handlers may be async, and their order stays", async () => {
    const results = await collect(
      (job) =>
        job
          .from("n", sources.numbers({ to: 500 }), { eventTime: { time: (n) => n, watermarkEvery: 0 } })
          .keyBy((n) => n % 3)
          .process("alarms", {
            onElement: later((n: number, { timers }: { timers: { eventTime(at: number): void } }) => {
              if (n % 50 === 0) timers.eventTime(n + 60);
            }) as never,
            onTimer: later((timer: { readonly at: number }, { key }: { key: number }) => [{ key, at: timer.at }]) as never,
          })
          .to("out", sinks.collect()),
      { parallelism: 1 },
    );
    const ats = Array.from({ length: 10 }, (_, i) => ({ key: (i * 50) % 3, at: i * 50 + 60 }));
    expect(results).toEqual(ats);
  });

  test("a source without event time above them fails the job by name", async () => {
    const run = collect((job) =>
      job
        .from("n", sources.numbers({ to: 5 }))
        .keyBy((n) => n)
        .process("alarms", { onElement: (n, { timers }) => timers.eventTime(n), onTimer: () => [] })
        .to("out", sinks.collect()),
    );
    await expect(run).rejects.toMatchObject({
      code: "OPERATOR_FAILED",
      message: expect.stringMatching(/'alarms'.*event time.*eventTime/),
    });
  });

  test("an instant that is no number, and timers without onTimer, fail the job by name", async () => {
    const job = (onTimer: boolean) => (builder: JobBuilder) =>
      builder
        .from("n", sources.numbers({ to: 5 }))
        .keyBy((n) => n)
        .process("alarms", {
          onElement: (_n, { timers }) => timers.processingTime(Number.NaN),
          ...(onTimer ? { onTimer: () => [] } : {}),
        })
        .to("out", sinks.collect());
    await expect(collect(job(true))).rejects.toMatchObject({ message: expect.stringMatching(/'alarms'.*NaN/) });
    await expect(collect(job(false))).rejects.toMatchObject({ message: expect.stringMatching(/'alarms'.*no onTimer/) });
  });
});

describe("timers of the clock", () => {
  test("come at or after their instant, and not by event time", async () => {
    const clock = calendar();
    const fed = await handFed(alarms("processing"), 1, clock);
    await fed.feed(0, "a", { key: "a", at: 50 });
    await fed.watermark(100_000);
    await fed.clock();
    expect(fed.taken().out).toEqual([]);
    clock.turnTo(1_050);
    await fed.clock();
    expect(fed.taken().out).toMatchObject([{ key: "a", kind: "processing", at: 1_050, count: 1 }]);
  });

  test("those that came due while nothing ran come after the restore", async () => {
    const clock = calendar();
    const before = await handFed(alarms("processing"), 2, clock);
    await before.feed(0, "a", { key: "a", at: 50 });
    await before.feed(0, "b", { key: "b", at: 5_000 });
    clock.turnTo(4_000);
    const fed = await before.restored(1);
    await fed.clock();
    expect(fed.taken().out).toMatchObject([{ key: "a", at: 1_050 }]);
  });

  test("one that is deleted does not come", async () => {
    const clock = calendar();
    const fed = await handFed(
      (job) =>
        clicks(job)
          .process("op", {
            onElement: ({ at }, { timers }) => {
              timers.processingTime(at);
              if (at === 2_000) timers.deleteProcessingTime(1_500);
            },
            onTimer: ({ at }) => [at],
          })
          .to("out", sinks.collect()),
      1,
      clock,
    );
    for (const at of [1_500, 2_000]) await fed.feed(0, "a", { key: "a", at });
    clock.turnTo(3_000);
    await fed.clock();
    expect(fed.taken().out).toEqual([2_000]);
  });

  test("come at once when the input ends, before onEnd", async () => {
    const fed = await handFed(alarms("processing"), 1, calendar());
    await fed.feed(0, "a", { key: "a", at: 50_000 });
    await fed.end();
    expect(fed.taken().out).toMatchObject([
      { key: "a", at: 51_000 },
      { key: "a", ended: true },
    ]);
  });

  test("wake a subtask whose source gives nothing, with and without an exchange between", { timeout: 20_000 }, async () => {
    for (const parallelism of [1, 2]) {
      let fired: () => void = () => undefined;
      const waited = new Promise<void>((resolve) => {
        fired = resolve;
      });
      const source = sources.iterable(async function* () {
        yield 1;
        await waited;
      });
      const results = await collect(
        (job) =>
          job
            .from("n", source)
            .keyBy((n) => n)
            .process("alarms", {
              onElement: (_n, { timers }) => timers.processingTime(timers.now() + 5),
              onTimer: () => {
                fired();
                return ["woken"];
              },
            })
            .to("out", sinks.collect()),
        { parallelism },
      );
      expect(results).toEqual(["woken"]);
    }
  });
});
