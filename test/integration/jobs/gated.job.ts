/**
 * Numbers to a file sink, and beside it a sink of the job's own that waits: in `prepare` until GATES/prepare exists, in `commit` until
 * GATES/commit does. So a test can act between the end of the input, the decision and the commit.
 */
import { appendFileSync } from "node:fs";
import path from "node:path";
import { defineJob, type SinkConnector, sinks, sources } from "holdfast";
import { z } from "zod";
import { appearance } from "./appearance.js";

const gatedSink = (gates: string): SinkConnector<unknown> => ({
  open: async () => ({
    write: () => undefined,
    prepare: async () => {
      // The file sink was prepared before: nothing of it is written any more.
      appendFileSync(path.join(gates, "preparing"), "+");
      await appearance(path.join(gates, "prepare"));
      return "prepared";
    },
    abort: async () => undefined,
    close: async () => undefined,
  }),
  commit: async () => {
    appendFileSync(path.join(gates, "committing"), "+");
    await appearance(path.join(gates, "commit"));
    appendFileSync(path.join(gates, "committed"), "+");
  },
  cleanUp: async () => undefined,
});

export default defineJob({
  id: "gated",
  params: z.object({ count: z.coerce.number().int(), output: z.string(), gates: z.string() }),
  build(job, { count, output, gates }) {
    const numbers = job.from("numbers", sources.numbers({ from: 0, to: count }));
    numbers.map((n) => ({ n })).to("out", sinks.ndjson(output));
    numbers.to("gate", sinks.custom(gatedSink(gates)));
  },
});
