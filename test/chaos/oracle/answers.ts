/** What the oracle job (test/integration/jobs/oracle.job.ts) has written, held against arithmetic. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { mixed } from "../../integration/jobs/mixed.js";

const WINDOW_MS = 1_000;

export interface OracleParams {
  readonly count: number;
  readonly keys: number;
}

interface Each {
  readonly n: number;
  readonly count: number;
  readonly check: number;
}

/** What is wrong with it; empty: nothing. */
export function problemsOf(output: string, params: OracleParams): readonly string[] {
  return [
    ...problemsOfEach(recordsIn(path.join(output, "each")) as Each[], params),
    ...problemsOfKeys(recordsIn(path.join(output, "keys")) as { key: number; value: Omit<Each, "n"> }[], params),
    ...problemsOfWindows(recordsIn(path.join(output, "windows")) as InWindow[], params),
    ...["each", "keys", "windows"].flatMap((name) => leftIn(path.join(output, name))),
  ];
}

function recordsIn(directory: string): unknown[] {
  if (!existsSync(directory)) return [];
  const parts = readdirSync(directory).filter((name) => name.startsWith("part-"));
  return parts
    .flatMap((name) => readFileSync(path.join(directory, name), "utf8").split("\n"))
    .flatMap((line) => (line === "" ? [] : [JSON.parse(line)]));
}

const leftIn = (directory: string): string[] =>
  existsSync(directory)
    ? readdirSync(directory).flatMap((name) => (name.startsWith(".") ? [`${directory} still holds ${name}`] : []))
    : [];

/** Each number once, with counts of its key that have no gap; the last of them has the checksum of all. */
function problemsOfEach(records: readonly Each[], { count, keys }: OracleParams): string[] {
  const problems: string[] = [];
  const seen = new Uint8Array(count);
  const byKey = new Map<number, Map<number, number>>();
  for (const { n, count: ofKey, check } of records) {
    if (n < 0 || n >= count) problems.push(`each: there is no number ${n}`);
    else if (seen[n] === 1) problems.push(`each: ${n} is there twice`);
    else seen[n] = 1;
    const counts = byKey.get(n % keys) ?? new Map<number, number>();
    byKey.set(n % keys, counts);
    if (counts.has(ofKey)) problems.push(`each: count ${ofKey} of key ${n % keys} is there twice`);
    counts.set(ofKey, check);
  }
  const missing = seen.indexOf(0);
  if (missing >= 0) problems.push(`each: ${missing} is missing (${records.length} of ${count} records)`);
  for (const [key, { count: whole, check }] of answers({ count, keys }))
    if (byKey.get(key)?.get(whole) !== check)
      problems.push(`each: count ${whole} of key ${key} does not have the checksum ${check}`);
  return problems.slice(0, 10);
}

function problemsOfKeys(records: readonly { key: number; value: Omit<Each, "n"> }[], params: OracleParams): string[] {
  const expected = answers(params);
  const problems: string[] = [];
  for (const { key, value } of records) {
    const whole = expected.get(key);
    if (whole === undefined || whole.count !== value.count || whole.check !== value.check)
      problems.push(`keys: ${key} came to ${JSON.stringify(value)}, not ${JSON.stringify(whole ?? "once")}`);
    expected.delete(key);
  }
  if (expected.size > 0) problems.push(`keys: ${[...expected.keys()].slice(0, 5).join(", ")} are missing`);
  return problems.slice(0, 10);
}

interface InWindow {
  readonly key: number;
  readonly window: { readonly start: number };
  readonly value: Omit<Each, "n">;
}

/** Each key of each second once. */
function problemsOfWindows(records: readonly InWindow[], { count, keys }: OracleParams): string[] {
  const expected = new Map<string, Omit<Each, "n">>();
  for (let n = 0; n < count; n++) {
    const name = `${n % keys} from ${n - (n % WINDOW_MS)}`;
    const { count: before, check } = expected.get(name) ?? { count: 0, check: 0 };
    expected.set(name, { count: before + 1, check: mixed(check, n) });
  }
  const problems: string[] = [];
  for (const { key, window, value } of records) {
    const name = `${key} from ${window.start}`;
    const whole = expected.get(name);
    if (whole === undefined || whole.count !== value.count || whole.check !== value.check)
      problems.push(`windows: key ${name} came to ${JSON.stringify(value)}, not ${JSON.stringify(whole ?? "once")}`);
    expected.delete(name);
  }
  if (expected.size > 0) problems.push(`windows: keys ${[...expected.keys()].slice(0, 5).join(", ")} are missing`);
  return problems.slice(0, 10);
}

function answers({ count, keys }: OracleParams): Map<number, { readonly count: number; readonly check: number }> {
  const answer = new Map<number, { count: number; check: number }>();
  for (let n = 0; n < count; n++) {
    const { count: before, check } = answer.get(n % keys) ?? { count: 0, check: 0 };
    answer.set(n % keys, { count: before + 1, check: mixed(check, n) });
  }
  return answer;
}
