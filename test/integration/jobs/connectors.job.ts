/** Sources and sinks of every kind. Paths are relative: to where the job is submitted from. */
import { createWriteStream } from "node:fs";
import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { defineJob, type SinkConnector, type SourceConnector, type Split, sinks, sources } from "holdfast";
import { z } from "zod";

/** Letters of the alphabet, a split each. */
const letters: SourceConnector<string> = {
  bounded: true,
  enumerate: async () => ({
    splits: [..."abcdefghij"].map((letter, index) => ({ id: letter, sizeHint: 1, index })),
    totalRecords: 100,
    totalBytes: null,
  }),
  open: async (split: Split) => {
    let next = 0;
    return {
      next: (out, limit) => {
        let count = 0;
        while (next < 10 && count < limit) out[count++] = `${split.id}${next++}`;
        return count;
      },
      position: () => next,
      progress: () => next / 10,
      close: async () => undefined,
    };
  },
};

/** One file of all records, staged by each subtask and put together by the commit. */
function oneFile(file: string): SinkConnector<string> {
  const stagingOf = (applicationId: string) => `${file}.staging-${applicationId}`;
  return {
    begin: async ({ applicationId }) => void (await mkdir(stagingOf(applicationId), { recursive: true })),
    open: async ({ applicationId, attempt, subtask }) => {
      const part = path.join(stagingOf(applicationId), `${attempt}-${subtask}`);
      const stream = createWriteStream(part);
      let written = 0;
      return {
        write: (records, count) => {
          for (const record of records.slice(0, count)) stream.write(`${record}\n`);
          written += count;
        },
        prepare: () => new Promise((resolve) => stream.end(() => resolve({ part, written }))),
        abort: () => rm(part, { force: true }),
        close: async () => void stream.destroy(),
      };
    },
    commit: async (committables) => {
      const parts = committables as readonly { readonly part: string; readonly written: number }[];
      const texts = await Promise.all(parts.map(({ part }) => readFile(part, "utf8").catch(() => null)));
      // Repeated after the parts were cleaned up: it was done.
      if (texts.includes(null)) return;
      await writeFile(`${file}.new`, texts.join(""));
      await rename(`${file}.new`, file);
      await appendFile(`${file}.commits`, `${parts.map(({ written }) => written).join("+")}\n`);
    },
    cleanUp: async ({ applicationId, keepAttempt }) => {
      const staging = stagingOf(applicationId);
      for (const name of await readdir(staging).catch(() => []))
        if (keepAttempt === null || !name.startsWith(`${keepAttempt}-`)) await rm(path.join(staging, name), { force: true });
      if (keepAttempt === null) await rm(staging, { recursive: true, force: true });
    },
  };
}

export default defineJob({
  id: "connectors",
  params: z.object({ directory: z.string(), part: z.enum(["write", "read"]) }),
  parallelism: 3,
  build(job, { directory, part }) {
    if (part === "write") {
      const events = job.from(
        "events",
        sources.ndjson<{ readonly n: number }>("in/events.ndjson", { splitBytes: 65_536, onError: "side" }),
      );
      events
        .map(({ n }) => ({ n, twice: 2n * BigInt(n), at: new Date(n), tag: n % 2 === 0 ? "even" : null }))
        .to("table", sinks.parquet("out/table"));
      events
        .side("errors")
        .map(({ line, reason }) => ({ line, reason }))
        .to("bad", sinks.ndjson("out/bad"));
      job
        .from("lines", sources.text(["in/logs/**/*.log", "in/logs/**/*.log.gz"]))
        .to("all-lines", sinks.text("out/lines.txt"), { parallelism: 1 });
      job
        .from("rows", sources.csv("in/csv", { types: { price: "number" }, onError: "skip" }))
        .to("rows-out", sinks.csv("out/rows.csv"), { parallelism: 1 });
      job
        .from("letters", sources.custom(letters))
        .to("letters-out", sinks.custom(oneFile(path.join(directory, "out/letters.txt"))));
      job.from("greetings", sources.collection(["hello", "world"])).to("shown", sinks.console({ prefix: "> " }));
    } else {
      const table = job.from("table", sources.parquet("out/table", { fields: ["n", "twice", "at", "tag"] }));
      const sums = table
        .keyBy((row) => row.tag as string | null)
        .aggregate("sums", {
          init: () => ({ count: 0, n: 0, twice: 0n, at: 0 }),
          add: (sum, row) => ({
            count: sum.count + 1,
            n: sum.n + row.n,
            twice: sum.twice + BigInt(row.twice),
            at: sum.at + (row.at as Date).getTime(),
          }),
        });
      sums.map(({ key, value }) => ({ key, ...value })).to("sums-out", sinks.collect());
      table
        .filter((row) => row.n < 3)
        .map((row) => [row.n, row.twice, row.at])
        .to("few", sinks.collect());
    }
  },
});
