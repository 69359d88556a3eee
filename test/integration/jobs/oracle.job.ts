/**
 * Numbers, counted and summed up by key: each leaves with the count and the checksum of its key so far ("each"), and each key leaves at the end with what it
 * has come to ("keys"), and with what it has come to in each second of event time ("windows"), where number n happened at millisecond n. What all have to be is known from `count` and `keys` alone, so any record that is lost, doubled or out of its state is seen.
 */
import { defineJob, sinks, sources, state, windows } from "holdfast";
import { z } from "zod";
import { mixed } from "./mixed.js";

export default defineJob({
  id: "oracle",
  params: z.object({
    count: z.coerce.number().int().positive(),
    keys: z.coerce.number().int().positive(),
    rate: z.coerce.number().positive(),
    output: z.string(),
  }),
  parallelism: 2,
  // Many more kills than a job meets by itself.
  restart: { strategy: "fixed-delay", delay: "100ms", attempts: 100_000 },
  checkpoint: { every: "400ms" },
  build(job, { count, keys, rate, output }) {
    const numbers = job
      .from("numbers", sources.numbers({ from: 0, to: count, rate }), { eventTime: { time: (n) => n } })
      .keyBy((n) => n % keys);
    numbers
      .process("count", {
        state: { seen: state.value<{ count: number; check: number }>() },
        onElement: (n, { state: { seen } }) => {
          const before = seen.get() ?? { count: 0, check: 0 };
          const now = { count: before.count + 1, check: mixed(before.check, n) };
          seen.set(now);
          return [{ n, ...now }];
        },
      })
      .to("each", sinks.ndjson(`${output}/each`, { rollRecords: 5_000 }));
    numbers
      .aggregate("per-key", {
        init: () => ({ count: 0, check: 0 }),
        add: (sum, n) => ({ count: sum.count + 1, check: mixed(sum.check, n) }),
      })
      .to("keys", sinks.ndjson(`${output}/keys`));
    numbers
      .window("per-second", {
        window: windows.tumbling("1s"),
        time: (n) => n,
        init: () => ({ count: 0, check: 0 }),
        add: (sum, n) => ({ count: sum.count + 1, check: mixed(sum.check, n) }),
      })
      .to("windows", sinks.ndjson(`${output}/windows`));
  },
});
