import { describe, expect, test } from "vitest";
import { type JobBuilder, sinks, sources, windows } from "../../../../src/api/index.js";
import { collect, sorted } from "../support.js";

interface Click {
  readonly user: string;
  readonly at: number;
}

const CLICKS: readonly Click[] = [
  { user: "ada", at: 1_000 },
  { user: "bob", at: 2_500 },
  { user: "ada", at: 9_999 },
  { user: "ada", at: 10_000 },
  { user: "bob", at: 25_000 },
  { user: "bob", at: 25_001 },
];

const clicks = (job: JobBuilder, items = CLICKS) =>
  job.from("clicks", sources.collection(items), { eventTime: { time: (click) => click.at } }).keyBy((click) => click.user);

const count = {
  time: (click: Click) => click.at,
  init: () => 0,
  add: (n: number) => n + 1,
  merge: (a: number, b: number) => a + b,
};

describe.each([1, 2, 3])("windows of a bounded input, with parallelism %i", (parallelism) => {
  test("tumbling ones hold the times from their start up to but not including their end", async () => {
    const results = await collect(
      (job) =>
        clicks(job)
          .window("w", { window: windows.tumbling("10s"), ...count })
          .to("out", sinks.collect()),
      { parallelism },
    );
    expect(sorted(results)).toEqual(
      sorted([
        { key: "ada", window: { start: 0, end: 10_000 }, value: 2 },
        { key: "bob", window: { start: 0, end: 10_000 }, value: 1 },
        { key: "ada", window: { start: 10_000, end: 20_000 }, value: 1 },
        { key: "bob", window: { start: 20_000, end: 30_000 }, value: 2 },
      ]),
    );
  });

  test("sliding ones overlap: a record stands in each that holds its time", async () => {
    const results = await collect(
      (job) =>
        clicks(job, [{ user: "ada", at: 12_000 }])
          .window("w", { window: windows.sliding("10s", "5s"), ...count })
          .to("out", sinks.collect()),
      { parallelism },
    );
    expect(sorted(results)).toEqual(
      sorted([
        { key: "ada", window: { start: 5_000, end: 15_000 }, value: 1 },
        { key: "ada", window: { start: 10_000, end: 20_000 }, value: 1 },
      ]),
    );
  });

  test("sessions end when nothing came for the gap, and a record in between joins two", async () => {
    const results = await collect(
      (job) =>
        clicks(job, [
          { user: "ada", at: 1_000 },
          { user: "ada", at: 9_000 },
          { user: "ada", at: 5_000 },
          { user: "ada", at: 30_000 },
          { user: "bob", at: 5_000 },
        ])
          .window("w", { window: windows.session("5s"), ...count })
          .to("out", sinks.collect()),
      { parallelism },
    );
    expect(sorted(results)).toEqual(
      sorted([
        { key: "ada", window: { start: 1_000, end: 14_000 }, value: 3 },
        { key: "ada", window: { start: 30_000, end: 35_000 }, value: 1 },
        { key: "bob", window: { start: 5_000, end: 10_000 }, value: 1 },
      ]),
    );
  });

  test("windows of windows: results flow on with event time", async () => {
    const results = await collect(
      (job) =>
        clicks(job)
          .window("w", { window: windows.tumbling("1s"), ...count })
          .keyBy(() => "all")
          .window("all", {
            window: windows.tumbling("10s"),
            time: (result) => result.window.end - 1,
            init: () => 0,
            add: (n, { value }) => n + value,
          })
          .to("out", sinks.collect()),
      { parallelism },
    );
    expect(sorted(results)).toEqual(
      sorted([
        { key: "all", window: { start: 0, end: 10_000 }, value: 3 },
        { key: "all", window: { start: 10_000, end: 20_000 }, value: 1 },
        { key: "all", window: { start: 20_000, end: 30_000 }, value: 2 },
      ]),
    );
  });
});
