/** Word count. */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "bench-words",
  params: z.object({ input: z.string(), output: z.string() }),
  build(job, p) {
    job
      .from("lines", sources.text(p.input))
      .flatMap((line) => line.split(" "))
      .keyBy((word) => word)
      .aggregate("count", { init: () => 0, add: (count) => count + 1, merge: (left, right) => left + right })
      .map(({ key, value }) => ({ key, count: value }))
      .to("result", sinks.ndjson(p.output));
  },
});
