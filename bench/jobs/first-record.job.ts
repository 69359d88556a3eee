/** One record, whose executor writes down when it came: what the benchmark of submissions waits for. Imports nothing but Holdfast. */
import { appendFileSync } from "node:fs";
import { defineJob, type StandardSchemaV1, sinks, sources } from "holdfast";

interface Params {
  readonly clock: string;
}

const params: StandardSchemaV1<Params> = {
  "~standard": { version: 1, vendor: "bench", validate: (value) => ({ value: value as Params }) },
};

export default defineJob({
  id: "bench-first-record",
  params,
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
