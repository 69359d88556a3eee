/** As first-record.job.ts, with zod in its bundle, as most jobs have it: 240 KB that planner, driver and executor each load. */
import { appendFileSync } from "node:fs";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "bench-first-record-zod",
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
