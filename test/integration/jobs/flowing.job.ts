/** An endless input as in running-counts, which also notes when it handles records: so that a pause is seen from outside. */
import { appendFileSync } from "node:fs";
import { defineJob, sinks, sources, state } from "holdfast";
import { z } from "zod";

const NOTE_EVERY_MS = 5;

export default defineJob({
  id: "flowing",
  params: z.object({ output: z.string(), notes: z.string(), rate: z.coerce.number().positive() }),
  parallelism: 2,
  build(job, { output, notes, rate }) {
    let notedAt = 0;
    job
      .from("numbers", sources.numbers({ rate }))
      .keyBy((n) => n % 10)
      .process("count", {
        state: { seen: state.value<number>() },
        onElement: (n, { state: { seen } }) => {
          if (Date.now() - notedAt >= NOTE_EVERY_MS) {
            notedAt = Date.now();
            appendFileSync(notes, `${notedAt}\n`);
          }
          const count = (seen.get() ?? 0) + 1;
          seen.set(count);
          return [{ n, count }];
        },
      })
      .to("out", sinks.ndjson(output));
  },
});
