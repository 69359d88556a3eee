/**
 * Delays per airport and hour of three million US flights: count, mean, 90th percentile and worst, joined with the airports' cities.
 *
 *   npx holdfast run examples/flight-delays/job.ts --parallelism 2 \
 *     --param flights=node_modules/vega-datasets/data/flights-3m.parquet \
 *     --param airports=node_modules/vega-datasets/data/airports.csv --param output=out
 */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

interface Flight {
  readonly date: Date;
  readonly delay: number;
  readonly origin: string;
}

/** What is kept of one airport and hour. Delays are whole minutes, so a histogram gives every percentile exactly. */
interface Delays {
  count: number;
  sum: number;
  worst: number;
  readonly histogram: Map<number, number>;
}

export default defineJob({
  id: "flight-delays",
  params: z.object({
    flights: z.string(),
    airports: z.string(),
    /** Directory of the results. */
    output: z.string(),
    /** Flights a second, to stretch a run. */
    rate: z.number().positive().optional(),
  }),
  build(job, p) {
    const airports = job.from("airports", sources.csv(p.airports, { fields: ["iata", "city", "state"] }));
    const flights = job.from(
      "flights",
      sources.parquet<Flight>(p.flights, {
        fields: ["date", "delay", "origin"],
        ...(p.rate === undefined ? {} : { rate: p.rate }),
      }),
    );

    const hourly = flights
      .keyBy((flight) => `${flight.origin} ${flight.date.getUTCHours()}`)
      .aggregate("per-airport-and-hour", {
        init: (): Delays => ({ count: 0, sum: 0, worst: Number.NEGATIVE_INFINITY, histogram: new Map() }),
        add: (delays, flight) => {
          delays.count += 1;
          delays.sum += flight.delay;
          if (flight.delay > delays.worst) delays.worst = flight.delay;
          delays.histogram.set(flight.delay, (delays.histogram.get(flight.delay) ?? 0) + 1);
          return delays;
        },
        merge: (left, right) => {
          left.count += right.count;
          left.sum += right.sum;
          left.worst = Math.max(left.worst, right.worst);
          for (const [delay, count] of right.histogram) left.histogram.set(delay, (left.histogram.get(delay) ?? 0) + count);
          return left;
        },
      })
      .map(({ key, value }) => {
        const [origin = "", hour = ""] = key.split(" ");
        return {
          origin,
          hour: Number(hour),
          flights: value.count,
          meanDelay: value.sum / value.count,
          p90Delay: percentile(value, 0.9),
          worstDelay: value.worst,
        };
      })
      .broadcastJoin("with-city", airports, {
        leftKey: (row) => row.origin,
        rightKey: (airport) => airport.iata,
        select: (row, airport) => ({ ...row, city: airport.city, state: airport.state }),
      })
      .sort("by-airport-and-hour", { by: (row) => `${row.origin} ${String(row.hour).padStart(2, "0")}` });

    hourly.to("as-ndjson", sinks.ndjson(`${p.output}/delays.ndjson`));
    hourly.to("as-parquet", sinks.parquet(`${p.output}/delays.parquet`));
  },
});

/** The smallest delay that at least `share` of the flights do not exceed (SQL's percentile_disc). */
function percentile(delays: Delays, share: number): number {
  const wanted = Math.ceil(share * delays.count);
  let seen = 0;
  for (const [delay, count] of [...delays.histogram].sort(([left], [right]) => left - right)) {
    seen += count;
    if (seen >= wanted) return delay;
  }
  return delays.worst;
}
