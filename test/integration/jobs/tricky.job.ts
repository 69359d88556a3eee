/** Numbers copied to files, with the troubles that user code makes on demand. */
import { existsSync, writeFileSync } from "node:fs";
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";
import { appearance } from "./appearance.js";

export default defineJob({
  id: "tricky",
  params: z.object({
    count: z.coerce.number().int().optional(),
    rate: z.coerce.number().optional(),
    output: z.string(),
    /** What happens at record 1,000. */
    trouble: z.enum(["none", "throw", "throw-once", "uncaught", "out-of-memory", "collect"]).default("none"),
    /** For `throw-once`: exists when it has happened. */
    flag: z.string().optional(),
    /** The last record goes on when this file exists: until then the job runs. */
    hold: z.string().optional(),
  }),
  build(job, { count, rate, output, trouble, flag, hold }) {
    const numbers = job
      .from("numbers", sources.numbers({ ...(count === undefined ? {} : { to: count }), ...(rate === undefined ? {} : { rate }) }))
      .map((n, context) => {
        if (n === 1_000) makeTrouble(trouble, flag);
        if (n === 0) context.log.info("the first number", { n });
        return hold !== undefined && n + 1 === count ? appearance(hold).then(() => ({ n })) : { n };
      });
    if (trouble === "collect") numbers.filter(({ n }) => n < 5).to("few", sinks.collect());
    numbers.to("out", sinks.ndjson(output));
  },
});

function makeTrouble(trouble: string, flag: string | undefined): void {
  if (trouble === "throw") throw new Error("I do not like 1000");
  if (trouble === "throw-once" && flag !== undefined && !existsSync(flag)) {
    writeFileSync(flag, "");
    throw new Error("only once");
  }
  if (trouble === "uncaught") setTimeout(() => void Promise.reject(new Error("nobody catches this")), 0);
  if (trouble === "out-of-memory") {
    const hoard: unknown[] = [];
    for (;;) hoard.push(new Array(10_000).fill(hoard.length));
  }
}
