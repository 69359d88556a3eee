/**
 * Slices that have nothing to do with each other: each says which subtask of which try read a record, in its output and in a file of its own as it reads, so
 * that what was read twice is there twice.
 */
import { appendFileSync } from "node:fs";
import path from "node:path";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "apart",
  params: z.object({
    count: z.coerce.number().int().positive(),
    rate: z.coerce.number().positive(),
    output: z.string(),
    read: z.string(),
  }),
  parallelism: 4,
  build(job, { count, rate, output, read }) {
    job
      .from("numbers", sources.numbers({ to: count, rate }))
      .map((n, { subtask, attempt }) => {
        appendFileSync(path.join(read, `${subtask}`), `${n}\n`);
        return { n, subtask, attempt };
      })
      .to("out", sinks.ndjson(output, { rollEveryMs: 100 }));
  },
});
