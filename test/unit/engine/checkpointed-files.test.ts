/** Files as input of jobs with checkpoints: read on from where the checkpoint stood, in the middle of a file. */
import path from "node:path";
import { expect, test } from "vitest";
import { type JobBuilder, type Stream, sinks, sources } from "../../../src/api/index.js";
import { runJob } from "../../../src/testing/index.js";
import { temporaryDir, writeFile } from "../connectors/reading.js";
import { runThroughCrashes } from "./checkpoint-run.js";
import { jobOf, sorted } from "./support.js";

const COUNT = 9_000;
const numbers = Array.from({ length: COUNT }, (_, index) => index);

async function parquetFile(): Promise<string> {
  const file = path.join(temporaryDir(), "in.parquet");
  const job = jobOf((job) =>
    job
      .from("n", sources.numbers({ to: COUNT }))
      .map((n) => ({ id: n }))
      .to("out", sinks.parquet(file, { rowGroupRows: 2_000 }), { parallelism: 1 }),
  );
  await runJob(job, {}, { parallelism: 1 });
  return file;
}

const asUnknown = (record: unknown): unknown => record;
type From = (job: JobBuilder, file: string) => Stream<unknown>;
const formats: readonly (readonly [string, () => string | Promise<string>, From])[] = [
  [
    "text",
    () => writeFile(temporaryDir(), "in.txt", numbers.map((n) => `line ${n}\n`).join("")),
    (job, file) => job.from("in", sources.text(file, { splitBytes: 30_000 })).map(asUnknown),
  ],
  [
    "NDJSON",
    () => writeFile(temporaryDir(), "in.ndjson", numbers.map((id) => `${JSON.stringify({ id })}\n`).join("")),
    (job, file) => job.from("in", sources.ndjson(file, { splitBytes: 30_000 })).map(asUnknown),
  ],
  [
    "CSV with quoted line ends",
    () => writeFile(temporaryDir(), "in.csv", `id,text\n${numbers.map((n) => `${n},"a\n""${n}"""\n`).join("")}`),
    (job, file) => job.from("in", sources.csv(file)).map(asUnknown),
  ],
  ["Parquet", parquetFile, (job, file) => job.from("in", sources.parquet(file)).map(asUnknown)],
];

test.each(formats)("%s", { timeout: 60_000 }, async (_name, make, from) => {
  const file = await make();
  const build = (job: JobBuilder, tick: () => void) =>
    from(job, file)
      .map((record) => {
        tick();
        return record;
      })
      .rebalance()
      .to("out", sinks.ndjson("out"));
  const expected = sorted((await runThroughCrashes(build, { parallelism: 2, checkpointsAt: [] })).records);
  expect(expected).toHaveLength(COUNT);
  const run = await runThroughCrashes(build, { parallelism: 2, checkpointsAt: [1_500, 1_500, 1_500] });
  expect(run.completed).toBe(3);
  expect(sorted(run.records)).toEqual(expected);
  expect(run.lastRecordsIn).toBe(COUNT - run.recordsAtLastCheckpoint);
});
