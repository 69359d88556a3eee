/** The engine alone: 20 M generated records, map, keyBy 1,000 keys, keyed count, two executor processes, every record through the exchange. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Benchmark, Context } from "./benchmark.js";
import { runCommand } from "./run-command.js";

const KEYS = 1_000;

export const engine: Benchmark = {
  name: "engine",
  summary: "generated records, map, keyBy 1,000 keys, keyed count; parallelism 2 across two processes",
  run: async (context) => {
    const cold = await measure(context, context.pick(20_000_000, 20_000_000, 1_000_000), context.pick(5, 3, 1));
    context.row({
      what: "20 M records, from the first record to the answer (cold)",
      unit: "M records/s",
      samples: cold.rates,
      aims: [{ of: "median", value: 6 }],
      beside: "Flink cold, one process: 4.9 / 5.6 / 5.9 (object reuse), 4.1 / 4.3 / 5.0 (performance.md 3)",
    });
    context.row({ what: "  the whole command", unit: "s", samples: cold.walls });
    if (context.size === "ci") return;
    const warm = await measure(context, 60_000_000, context.pick(3, 1, 0));
    context.row({
      what: "60 M records, from the first record to the answer (warm)",
      unit: "M records/s",
      samples: warm.rates,
      aims: [{ of: "median", value: 8.2 }],
      beside: "Flink warm, one process: 7.5 / 8.2 / 8.4; here, whole path over TCP: 6.1 (performance.md 3, 4)",
    });
    context.row({
      what: "peak memory of the largest process",
      unit: "MB",
      samples: [...cold.peaks, ...warm.peaks],
      aims: [{ of: "max", value: 200 }],
      beside: "Flink 0.8-2.3 GB",
    });
  },
};

async function measure(context: Context, records: number, runs: number) {
  const rates: number[] = [];
  const walls: number[] = [];
  const peaks: number[] = [];
  for (let run = 0; run < runs; run++) {
    const folder = mkdtempSync(path.join(os.tmpdir(), "holdfast-engine-"));
    try {
      const clock = path.join(folder, "clock");
      const job = path.join(context.root, "bench/jobs/engine.job.ts");
      const params = ["--param", `records=${records}`, "--param", `clock=${clock}`];
      const done = await runCommand([context.program, "run", job, ...params, "--parallelism", "2", "--json"], {
        cwd: context.root,
        signal: context.signal,
      });
      const firstRecordAt = Math.min(...readFileSync(clock, "utf8").trim().split("\n").map(Number));
      rates.push(records / (done.startedAt + done.answeredMs - firstRecordAt) / 1000);
      walls.push(done.wallMs / 1000);
      peaks.push(done.peakBytes / 1e6);
      check(context, JSON.parse(done.stdout) as { readonly result: unknown }, records);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return { rates, walls, peaks };
}

function check(context: Context, { result }: { readonly result: unknown }, records: number): void {
  const counts = Array.isArray(result)
    ? (result as readonly number[])
    : ((Object.values(result ?? {})[0] ?? []) as readonly number[]);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (counts.length !== KEYS || total !== records)
    context.wrong(`${counts.length} keys with ${total} records instead of ${KEYS} with ${records}`);
}
