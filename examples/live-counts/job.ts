/**
 * Counts that never end: numbers arrive for ever, each key's count is printed whenever it changed. Stop it with Ctrl-C or `holdfast cancel`.
 *
 *   npx holdfast run examples/live-counts/job.ts --param rate=1000
 */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "live-counts",
  params: z.object({ rate: z.number().positive().default(1000), keys: z.number().int().positive().default(10) }),
  build(job, p) {
    job
      .from("numbers", sources.numbers({ rate: p.rate }))
      .keyBy((number) => number % p.keys)
      .aggregate("count", { init: () => 0, add: (count) => count + 1, emit: "updates" })
      .to("console", sinks.console());
  },
});
