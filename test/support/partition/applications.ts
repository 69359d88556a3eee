/** Programs and jobs as partition tests submit them, and whether a job's answer is right. No test framework here: the chaos program uses it too. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { ApplicationSpec } from "../../../src/wire/application.js";

export interface ProgramOptions {
  readonly supervise?: boolean;
  readonly onPartition?: "continue" | "stop";
}

export function program(argv: readonly string[], { supervise = false, onPartition }: ProgramOptions = {}): ApplicationSpec {
  return {
    name: "program",
    kind: "process",
    deployMode: "cluster",
    supervise,
    restart: { maxRestarts: 1_000, windowMs: 60_000, minBackoffMs: 50, maxBackoffMs: 500 },
    driver: { cores: 0, memoryBytes: 32 * 1024 * 1024 },
    job: null,
    process: { argv: [...argv], env: {}, cwd: null },
    ...(onPartition === undefined ? {} : { onPartition }),
  };
}

const BUCKETS = 10;

/** What is wrong with the output of buckets.job.ts over the numbers below `count`; null: nothing. */
export function wrongBuckets(output: string, count: number): string | null {
  const expected = Array.from({ length: BUCKETS }, (_, bucket) => {
    const numbers = Array.from({ length: Math.ceil((count - bucket) / BUCKETS) }, (_, at) => bucket + at * BUCKETS);
    return { key: `bucket-${bucket}`, value: { count: numbers.length, sum: numbers.reduce((sum, n) => sum + n, 0) } };
  });
  const rows = readRows(output).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return JSON.stringify(rows) === JSON.stringify(expected) ? null : `${output} holds ${JSON.stringify(rows).slice(0, 2_000)}`;
}

function readRows(output: string): unknown[] {
  if (!existsSync(output)) return [];
  const parts =
    readdirSync(path.dirname(output)).includes(path.basename(output)) && statSync(output).isDirectory()
      ? readdirSync(output)
          .filter((name) => name.startsWith("part-"))
          .map((name) => path.join(output, name))
      : [output];
  return parts.flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as unknown),
  );
}
