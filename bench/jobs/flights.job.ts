/** Delays per airport of origin: filter, group, count, sum, mean and max; from Parquet or NDJSON. */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

interface Flight {
  readonly delay: number;
  readonly origin: string;
}

const fields = ["delay", "origin"] as const;

export default defineJob({
  id: "bench-flights",
  params: z.object({ input: z.string(), output: z.string() }),
  build(job, p) {
    job
      .from(
        "flights",
        p.input.endsWith(".parquet") ? sources.parquet<Flight>(p.input, { fields }) : sources.ndjson<Flight>(p.input, { fields }),
      )
      .filter((flight) => flight.delay > 0)
      .keyBy((flight) => flight.origin)
      .aggregate("per-airport", {
        init: () => ({ count: 0, sum: 0, max: 0 }),
        add: (all, flight) => {
          all.count += 1;
          all.sum += flight.delay;
          if (flight.delay > all.max) all.max = flight.delay;
          return all;
        },
        merge: (left, right) => {
          left.count += right.count;
          left.sum += right.sum;
          left.max = Math.max(left.max, right.max);
          return left;
        },
      })
      .map(({ key, value }) => ({ key, count: value.count, sum: value.sum, mean: value.sum / value.count, max: value.max }))
      .to("result", sinks.ndjson(p.output));
  },
});
