/** What appears in a directory, whole files and growing ones, into parts that appear with their checkpoints. */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "follow",
  params: z.object({ incoming: z.string(), logs: z.string(), output: z.string() }),
  parallelism: 2,
  build(job, { incoming, logs, output }) {
    const whole = job.from("whole", sources.ndjson<{ n: number }>(incoming, { followEveryMs: 50 }));
    const growing = job.from("growing", sources.ndjson<{ n: number }>(logs, { followEveryMs: 50, growing: true }));
    whole.union(growing).to("out", sinks.ndjson(output));
  },
});
