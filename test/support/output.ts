/** What a job has written: its records, and that nothing else lies about. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { expect } from "vitest";

/** Lines of files of the output that are not visible yet. */
export function stagedRecords(output: string): number {
  const files = existsSync(output) ? (readdirSync(output, { recursive: true }) as string[]) : [];
  return files
    .filter((file) => file.endsWith(".tmp"))
    .reduce((count, file) => count + readFileSync(path.join(output, file), "utf8").split("\n").length - 1, 0);
}

/** All records of an NDJSON output: one file, or a directory of parts. */
export function readRows(output: string): unknown[] {
  if (!existsSync(output)) return [];
  const files = statSync(output).isDirectory()
    ? readdirSync(output)
        .filter((name) => name.startsWith("part-"))
        .map((name) => path.join(output, name))
    : [output];
  return files
    .flatMap((file) =>
      readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== ""),
    )
    .map((line) => JSON.parse(line));
}

/** The exact answer of buckets.job.ts, and nothing beside it: no staged file, no part too many. */
export function expectBuckets(output: string, count: number, buckets = 10): void {
  const sums = new Map<string, { count: number; sum: number }>();
  for (let n = 0; n < count; n++) {
    const key = `bucket-${n % buckets}`;
    const { count: seen, sum } = sums.get(key) ?? { count: 0, sum: 0 };
    sums.set(key, { count: seen + 1, sum: sum + n });
  }
  const byKey = (rows: { key: string }[]) => rows.sort((a, b) => (a.key < b.key ? -1 : 1));
  expect(byKey(readRows(output) as { key: string }[])).toEqual(byKey([...sums].map(([key, value]) => ({ key, value }))));
  expectNoTraces(output);
}

/** Nothing staged is left, in the output or beside it. */
export function expectNoTraces(output: string): void {
  const hidden = (directory: string) => readdirSync(directory).filter((name) => name.startsWith(".") && name !== "._SUCCESS");
  expect(hidden(path.dirname(output))).toEqual([]);
  if (statSync(output).isDirectory()) expect(hidden(output)).toEqual([]);
}
