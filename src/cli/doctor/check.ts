/** What `holdfast doctor` says of one thing that it looked at. */
export type Verdict = "ok" | "warn" | "fail";

export interface Check {
  /** What was looked at, in one word; several checks may have one name. */
  readonly name: string;
  readonly verdict: Verdict;
  readonly message: string;
  /** What to do; null where nothing is to be done. */
  readonly hint: string | null;
}

export const check = (name: string, verdict: Verdict, message: string, hint: string | null = null): Check => ({
  name,
  verdict,
  message,
  hint,
});

/** `hint` is said only of what is not good. */
export const judge = (name: string, good: boolean, otherwise: Verdict, message: string, hint: string): Check =>
  check(name, good ? "ok" : otherwise, message, good ? null : hint);

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
