/** Whole jobs from real files: `holdfast run` with parallelism 2, beside DuckDB and a plain Node script on the same file in the same run. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Benchmark, Context } from "./benchmark.js";
import { flightsNdjson, flightsParquet, words } from "./inputs.js";
import { runCommand } from "./run-command.js";

interface WholeJob {
  readonly name: "words" | "parquet" | "ndjson";
  readonly what: string;
  readonly file: "words" | "flights";
  readonly aimSeconds: number;
  readonly beside: string;
  input(context: Context): Promise<string>;
}

const JOBS: readonly WholeJob[] = [
  {
    name: "parquet",
    what: "flights from Parquet: filter, group by origin",
    file: "flights",
    aimSeconds: 2,
    beside: "Spark 11.6-18.5 s, Flink 8.4 s; prototype 0.98 s; aim of the page <= 2 (performance.md 3)",
    input: async (context) => flightsParquet(context.root),
  },
  {
    name: "ndjson",
    what: "the same from NDJSON, 277 MB",
    file: "flights",
    aimSeconds: 1.5,
    beside: "Spark 12.9-20.4 s, Flink 10.8 s, Skale 4.3 s; prototype 0.54 s (performance.md 3)",
    input: (context) => flightsNdjson(context.root, context.cache),
  },
  {
    name: "words",
    what: "word count, 201 MB",
    file: "words",
    aimSeconds: 4.5,
    beside: "Spark 13.1-27.1 s, Flink 11.2-13.0 s, Skale 37.1 s; prototype 3.7 s, bytes only 1.8 s (performance.md 3)",
    input: (context) => words(context.cache, context.pick(3_150_000, 3_150_000, 100_000)),
  },
];

interface Answer {
  readonly groups: number;
  readonly total: number;
}

export const jobs: Benchmark = {
  name: "jobs",
  summary: "whole jobs from files, `holdfast run --parallelism 2`, with DuckDB (2 threads) and a plain Node script (1 core) beside",
  run: async (context) => {
    for (const job of JOBS) {
      // Making 277 MB takes longer than CI has.
      if (context.size === "ci" && job.name === "ndjson") continue;
      await measure(context, job, await job.input(context));
    }
  },
};

async function measure(context: Context, job: WholeJob, input: string): Promise<void> {
  const runs = context.pick(5, 3, 1);
  const walls: number[] = [];
  const peaks: number[] = [];
  const duck: number[] = [];
  const plain: number[] = [];
  const options = { cwd: context.root, signal: context.signal };
  // They take turns, so that a slow moment of the machine meets all of them.
  for (let run = 0; run < runs; run++) {
    const own = await runHere(context, job, input);
    walls.push(own.wallMs / 1000);
    peaks.push(own.peakBytes / 1e6);
    for (const [script, seconds] of [
      ["duckdb.mjs", duck],
      ["plain.mjs", plain],
    ] as const) {
      const peer = await runCommand([path.join(context.root, "bench/peers", script), job.name, input], options);
      seconds.push(peer.wallMs / 1000);
      const answer = JSON.parse(peer.stdout) as Answer;
      if (answer.groups !== own.answer.groups || answer.total !== own.answer.total)
        context.wrong(`${job.name}: ${JSON.stringify(own.answer)} where ${script} has ${JSON.stringify(answer)}`);
    }
  }
  context.row({ what: job.what, unit: "s", samples: walls, aims: [{ of: "median", value: job.aimSeconds }], beside: job.beside });
  context.row({ what: "  DuckDB, SQL, 2 threads, in this run", unit: "s", samples: duck });
  context.row({ what: "  a plain Node script, 1 core, in this run", unit: "s", samples: plain });
  context.row({
    what: "  peak memory of the largest process",
    unit: "MB",
    samples: peaks,
    beside: "prototype 54-131 MB, Spark 0.7-1.8 GB, Flink 0.9-2.3 GB",
  });
}

async function runHere(context: Context, job: WholeJob, input: string) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "holdfast-jobs-"));
  try {
    const output = path.join(folder, "result.ndjson");
    const file = path.join(context.root, `bench/jobs/${job.file}.job.ts`);
    const params = ["--param", `input=${input}`, "--param", `output=${output}`];
    const options = { cwd: context.root, signal: context.signal };
    const done = await runCommand([context.program, "run", file, ...params, "--parallelism", "2", "--json"], options);
    return { ...done, answer: answerIn(output) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The output is a directory with a file of each subtask. */
function answerIn(output: string): Answer {
  const parts = readdirSync(output).filter((name) => name.endsWith(".ndjson"));
  const rows = parts.flatMap((name) => readFileSync(path.join(output, name), "utf8").trim().split("\n"));
  const total = rows.reduce((sum, row) => sum + (JSON.parse(row) as { readonly count: number }).count, 0);
  return { groups: rows.length, total };
}
