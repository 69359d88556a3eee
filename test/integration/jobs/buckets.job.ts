/** Numbers counted by their last digits: a source with splits, an exchange by key, a state and a file sink. */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";
import { appearance } from "./appearance.js";
import { bucketOf } from "./bucket-of.js";

export default defineJob({
  id: "buckets",
  params: z.object({
    count: z.coerce.number().int().positive(),
    buckets: z.coerce.number().int().positive().default(10),
    output: z.string(),
    rate: z.coerce.number().positive().optional(),
    /** The last record goes on when this file exists: until then the job runs. */
    hold: z.string().optional(),
  }),
  parallelism: 2,
  build(job, { count, buckets, output, rate, hold }) {
    const bucketed = (n: number) => ({ bucket: bucketOf(n, buckets), n });
    job
      .from("numbers", sources.numbers({ from: 0, to: count, ...(rate === undefined ? {} : { rate }) }))
      .map((n) => (hold !== undefined && n === count - 1 ? appearance(hold).then(() => bucketed(n)) : bucketed(n)))
      .keyBy((record) => record.bucket)
      .aggregate("per-bucket", {
        init: () => ({ count: 0, sum: 0 }),
        add: (sum, { n }) => ({ count: sum.count + 1, sum: sum.sum + n }),
      })
      .to("out", sinks.ndjson(output));
  },
});
