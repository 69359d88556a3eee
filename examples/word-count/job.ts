/**
 * Counts the words of text files.
 *
 *   npx holdfast run examples/word-count/job.ts --param input=README.md --param output=words.ndjson
 */
import { defineJob, sinks, sources } from "holdfast";
import { z } from "zod";

export default defineJob({
  id: "word-count",
  params: z.object({ input: z.string(), output: z.string() }),
  build(job, p) {
    job
      .from("lines", sources.text(p.input))
      .flatMap((line) => line.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [])
      .keyBy((word) => word)
      .aggregate("count", { init: () => 0, add: (count) => count + 1, merge: (left, right) => left + right })
      .map(({ key, value }) => ({ word: key, count: value }))
      .sort("most-frequent-first", { by: (row) => row.count, order: "desc", maxRecords: 5_000_000 })
      .to("words", sinks.ndjson(p.output));
  },
});
