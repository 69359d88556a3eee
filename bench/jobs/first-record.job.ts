/** One record, whose executor writes down when it came: what the benchmark of submissions waits for. */
import { appendFileSync } from "node:fs";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "bench-first-record",
  params: z.object({ clock: z.string() }),
  build(job, p) {
    job
      .from("numbers", sources.numbers({ from: 0, to: 1 }))
      .map((number) => {
        appendFileSync(p.clock, `${performance.timeOrigin + performance.now()}\n`);
        return number;
      })
      .to("result", sinks.collect());
  },
});
