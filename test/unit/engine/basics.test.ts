import { expect, test } from "vitest";
import { defineJob, sinks, sources } from "../../../src/api/index.js";
import { runJob } from "../../../src/testing/index.js";

const counts = defineJob({
  id: "counts",
  build(job) {
    job
      .from("numbers", sources.numbers({ to: 10_000 }))
      .map((n) => ({ n, key: n % 7 }))
      .filter((r) => r.n % 2 === 0)
      .keyBy((r) => r.key)
      .aggregate("count", { init: () => 0, add: (count) => count + 1 })
      .to("result", sinks.collect());
  },
});

test.each([1, 2, 3, 4])("numbers are mapped, filtered, keyed and counted with parallelism %i", async (parallelism) => {
  const { collected, progress } = await runJob(counts, {}, { parallelism });
  const byKey = new Map((collected.result as { key: number; value: number }[]).map((r) => [r.key, r.value]));
  const expected = new Map<number, number>();
  for (let n = 0; n < 10_000; n += 2) expected.set(n % 7, (expected.get(n % 7) ?? 0) + 1);
  expect(byKey).toEqual(expected);
  expect(progress.recordsIn).toBe(10_000);
  expect(progress.recordsOut).toBe(7);
  expect(progress.operators["filter-1"]).toEqual({ in: 10_000, out: 5_000 });
});
