/** Windows, sessions, timers and an interval join over one input, in one output. */
import { defineJob, sinks, sources, state, windows } from "holdfast";
import { z } from "zod";
import {
  alarmOf,
  DISORDER_MS,
  GAP_MS,
  inSession,
  isLeft,
  isRight,
  NEAR_MS,
  type Result,
  timeOf,
  WINDOW_MS,
} from "./timed-numbers.js";

export default defineJob({
  id: "timed-numbers",
  params: z.object({ output: z.string(), count: z.coerce.number(), rate: z.coerce.number().positive() }),
  parallelism: 2,
  build(job, { output, count, rate }) {
    const numbers = job.from("numbers", sources.numbers({ to: count, rate }), {
      eventTime: { time: timeOf, outOfOrderness: DISORDER_MS, splits: "in-order" },
    });
    const counted = numbers
      .keyBy((n) => n % 10)
      .window("windows", {
        window: windows.tumbling(WINDOW_MS),
        time: timeOf,
        init: () => ({ count: 0, sum: 0 }),
        add: (total, n) => ({ count: total.count + 1, sum: total.sum + n }),
      })
      .map(({ key, window, value }): Result => ({ kind: "window", key, start: window.start, ...value }));
    const sessions = numbers
      .filter(inSession)
      .keyBy((n) => n % 3)
      .window("sessions", {
        window: windows.session(GAP_MS),
        time: timeOf,
        init: () => 0,
        add: (total) => total + 1,
        merge: (left, right) => left + right,
      })
      .map(({ key, window, value }): Result => ({ kind: "session", key, ...window, count: value }));
    const alarms = numbers
      .keyBy((n) => n % 7)
      .process("alarms", {
        state: { latest: state.value<number>(), reached: state.value<number>() },
        onElement: (n, { state: { latest, reached }, timers, watermark }): Result[] => {
          latest.set(Math.max(latest.get() ?? 0, alarmOf(n)));
          timers.eventTime(alarmOf(n));
          // A key that has seen event time never sees it go back, also in the tries that follow.
          const before = reached.get() ?? Number.NEGATIVE_INFINITY;
          if (watermark > before) reached.set(watermark);
          return watermark < before ? [{ kind: "backwards", from: before, to: watermark }] : [];
        },
        onTimer: ({ at }, { key, watermark, state: { latest } }): Result[] => [
          { kind: "alarm", key, at, isDue: watermark >= at && (latest.get() ?? 0) >= at },
        ],
      });
    const pairs = numbers
      .filter(isLeft)
      .keyBy(() => "all")
      .intervalJoin(
        "pairs",
        numbers.filter(isRight).keyBy(() => "all"),
        {
          lower: -NEAR_MS,
          upper: NEAR_MS,
          leftTime: timeOf,
          rightTime: timeOf,
          select: (left, right): Result => ({ kind: "pair", left, right }),
        },
      );
    counted.union(sessions, alarms, pairs).to("out", sinks.ndjson(output));
  },
});
