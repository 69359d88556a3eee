/** Counts numbers by their last digits; one of them can't be counted until a file says that its cause was mended. */
import { existsSync } from "node:fs";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";
import { bucketOf } from "./bucket-of.js";

export default defineJob({
  id: "mendable",
  params: z.object({
    count: z.coerce.number().int().positive(),
    rate: z.coerce.number().positive(),
    output: z.string(),
    failsAt: z.coerce.number(),
    mended: z.string(),
  }),
  parallelism: 2,
  build(job, { count, rate, output, failsAt, mended }) {
    job
      .from("numbers", sources.numbers({ from: 0, to: count, rate }))
      .map((n) => {
        if (n === failsAt && !existsSync(mended)) throw new Error(`${n} can't be counted`);
        return { bucket: bucketOf(n, 10), n };
      })
      .keyBy((record) => record.bucket)
      .aggregate("per-bucket", {
        init: () => ({ count: 0, sum: 0 }),
        add: (sum, { n }) => ({ count: sum.count + 1, sum: sum.sum + n }),
      })
      .to("out", sinks.ndjson(output));
  },
});
