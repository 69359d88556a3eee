import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { defineJob, sinks, sources } from "../../../src/api/index.js";
import { runJob } from "../../../src/testing/index.js";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), "holdfast-run-job-"));
  const lines = Array.from({ length: 5_000 }, (_, n) => JSON.stringify({ id: n, word: `w${n % 50}`, amount: n % 7 }));
  writeFileSync(path.join(directory, "orders-1.ndjson"), `${lines.slice(0, 3_000).join("\n")}\n`);
  writeFileSync(path.join(directory, "orders-2.ndjson.gz"), gzipSync(`${lines.slice(3_000).join("\n")}\n`));
  writeFileSync(
    path.join(directory, "broken.ndjson"),
    '{"id":1,"word":"a","amount":1}\n{"id":2,\n{"id":3,"word":"a","amount":3}\n',
  );
  writeFileSync(
    path.join(directory, "words.csv"),
    `word,weight\n${Array.from({ length: 50 }, (_, n) => `w${n},${n * 2}`).join("\n")}\n`,
  );
});
afterAll(() => rmSync(directory, { recursive: true }));

const totals = defineJob({
  id: "totals",
  params: z.object({ input: z.string(), output: z.string(), failAt: z.number().default(-1), oneFile: z.boolean().default(false) }),
  build(job, p) {
    const words = job.from("words", sources.csv("words.csv", { types: { weight: "number" }, fields: ["word", "weight"] }));
    job
      .from("orders", sources.ndjson<{ id: number; word: string; amount: number }>(p.input))
      .filter((order) => {
        if (order.id === p.failAt) throw new Error("cannot");
        return order.amount > 0;
      })
      .keyBy((order) => order.word)
      .aggregate("sum", { init: () => 0, add: (sum, order) => sum + order.amount, merge: (a, b) => a + b })
      .join("weighted", words, {
        leftKey: (r) => r.key,
        rightKey: (w) => w.word,
        select: (r, w) => ({ word: r.key, sum: r.value * (w.weight ?? 0) }),
      })
      .to("out", sinks.ndjson(p.output), p.oneFile ? { parallelism: 1 } : {});
  },
});

const expected = () => {
  const sums = new Map<string, number>();
  for (let n = 0; n < 5_000; n++) sums.set(`w${n % 50}`, (sums.get(`w${n % 50}`) ?? 0) + (n % 7));
  return [...sums].map(([word, sum]) => `{"word":"${word}","sum":${sum * Number(word.slice(1)) * 2}}`).sort();
};

test.each([1, 2, 3])("files are read, joined and written by a job with parallelism %i", async (parallelism) => {
  const output = `out-${parallelism}`;
  const { progress } = await runJob(totals, { input: "orders-*", output }, { parallelism, baseDir: directory });
  const parts = readdirSync(path.join(directory, output)).filter((name) => name.startsWith("part-"));
  const lines = parts.flatMap((part) =>
    readFileSync(path.join(directory, output, part), "utf8")
      .trimEnd()
      .split("\n"),
  );
  expect(lines.filter((line) => line !== "").sort()).toEqual(expected());
  expect(progress.operators.orders).toEqual({ in: 5_000, out: 5_000 });
});

test("a sink of parallelism 1 writes one file", async () => {
  await runJob(totals, { input: "orders-*", output: "one.ndjson", oneFile: true }, { parallelism: 2, baseDir: directory });
  expect(readFileSync(path.join(directory, "one.ndjson"), "utf8").trimEnd().split("\n").sort()).toEqual(expected());
});

test("a job that fails leaves no trace of its output", async () => {
  const before = readdirSync(directory, { recursive: true }).sort();
  const run = runJob(totals, { input: "orders-*", output: "never", failAt: 2_999 }, { parallelism: 2, baseDir: directory });
  await expect(run).rejects.toMatchObject({ code: "OPERATOR_FAILED", message: "Operator 'filter-1' failed: cannot" });
  expect(readdirSync(directory, { recursive: true }).sort()).toEqual(before);
});

test("a bad record fails the job with file and line, or goes to a side output", async () => {
  await expect(runJob(totals, { input: "broken.ndjson", output: "never" }, { baseDir: directory })).rejects.toMatchObject({
    code: "BAD_RECORD",
    message: expect.stringContaining("broken.ndjson"),
  });
  const tolerant = defineJob({
    id: "tolerant",
    build(job) {
      const orders = job.from("orders", sources.ndjson("broken.ndjson", { onError: "side" }));
      orders.to("out", sinks.collect());
      orders.side("errors").to("bad", sinks.collect());
    },
  });
  const { collected, progress } = await runJob(tolerant, {}, { baseDir: directory });
  expect(collected.out).toHaveLength(2);
  expect(collected.bad).toMatchObject([{ line: 2, text: '{"id":2,' }]);
  expect(progress.firstBadRecords).toMatchObject([{ operator: "orders", line: 2 }]);
});
