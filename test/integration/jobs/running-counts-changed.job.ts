/** running-counts with its state under another name: what a savepoint holds of `count` has no place here. */
import { defineJob, sinks, sources, state } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "running-counts",
  params: z.object({ output: z.string(), rate: z.coerce.number().positive() }),
  parallelism: 2,
  build(job, { output, rate }) {
    job
      .from("numbers", sources.numbers({ rate }))
      .keyBy((n) => n % 10)
      .process("tally", {
        state: { seen: state.value<number>() },
        onElement: (n, { state: { seen } }) => {
          const count = (seen.get() ?? 0) + 1;
          seen.set(count);
          return [{ n, count }];
        },
      })
      .to("out", sinks.ndjson(output));
  },
});
