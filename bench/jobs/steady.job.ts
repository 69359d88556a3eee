/** Numbers at a steady rate through an exchange. Each executor writes down when records passed its last operator, in bursts of its own. */
import { appendFileSync } from "node:fs";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

const WRITE_EVERY_MS = 200;
let times: number[] = [];
let writtenAt = 0;

export default defineJob({
  id: "bench-steady",
  /** `clock`: the beginning of the names of files that get calendar times in milliseconds, one a line. */
  params: z.object({ rate: z.number().positive(), clock: z.string(), output: z.string() }),
  build(job, p) {
    job
      .from("numbers", sources.numbers({ rate: p.rate }))
      .rebalance()
      .map((number) => {
        const now = performance.timeOrigin + performance.now();
        times.push(now);
        if (now - writtenAt > WRITE_EVERY_MS) {
          appendFileSync(`${p.clock}.${process.pid}`, `${times.join("\n")}\n`);
          times = [];
          writtenAt = now;
        }
        return number;
      })
      .filter((number) => number % 1_000 === 0)
      .to("result", sinks.text(p.output));
  },
});
