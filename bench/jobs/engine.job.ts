/** The engine alone: generated records, a map, keyBy 1,000 keys, a keyed count. Every record crosses the exchange (no `merge`). */
import { appendFileSync } from "node:fs";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

const KEYS = Array.from({ length: 1_000 }, (_, index) => `key-${index}`);
let begun = false;

export default defineJob({
  id: "bench-engine",
  /** `clock`: a file that gets the calendar time of each executor's first record. */
  params: z.object({ records: z.number().int().positive(), clock: z.string() }),
  build(job, p) {
    job
      .from("numbers", sources.numbers({ from: 0, to: p.records }))
      .map((number) => {
        if (!begun) {
          begun = true;
          appendFileSync(p.clock, `${Date.now()}\n`);
        }
        const scrambled = Math.imul(number, 2_654_435_761) >>> 0;
        return { key: KEYS[scrambled % 1_000] as string, value: scrambled & 1_023, at: number };
      })
      .keyBy((record) => record.key)
      .aggregate("count", { init: () => 0, add: (count) => count + 1 })
      .map(({ value }) => value)
      .to("counts", sinks.collect());
  },
});
