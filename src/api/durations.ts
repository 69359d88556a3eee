/** Durations and sizes as people write them: `"10s"`, `"2m"`, `250` (milliseconds); `"512MiB"`, `1048576` (bytes). */
import { CodedError } from "../base/errors.js";

export type Duration = number | `${number}${"ms" | "s" | "m" | "h"}`;
export type Size = number | `${number}${"KiB" | "MiB" | "GiB" | "KB" | "MB" | "GB"}`;

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, KB: 1e3, MB: 1e6, GB: 1e9 };

export function durationMs(duration: Duration, what: string): number {
  return measured(duration, what, DURATION_UNITS, 'such as "250ms", "10s", "2m" or a number of milliseconds');
}

/** Also of what lies before: `"-5m"`, `-250`. */
export function signedDurationMs(duration: Duration, what: string): number {
  if (typeof duration === "number") return duration < 0 ? -durationMs(-duration, what) : durationMs(duration, what);
  return duration.startsWith("-") ? -durationMs(duration.slice(1) as Duration, what) : durationMs(duration, what);
}

export function sizeBytes(size: Size, what: string): number {
  return measured(size, what, SIZE_UNITS, 'such as "512MiB", "1GiB" or a number of bytes');
}

function measured(value: number | string, what: string, units: Readonly<Record<string, number>>, examples: string): number {
  const match = typeof value === "string" ? /^(\d+(?:\.\d+)?)([A-Za-z]+)$/.exec(value) : null;
  const unit = match?.[2] === undefined ? undefined : units[match[2]];
  const amount = typeof value === "number" ? value : unit === undefined ? Number.NaN : Number(match?.[1]) * unit;
  if (Number.isFinite(amount) && amount >= 0) return amount;
  throw new CodedError("INVALID_JOB", `${what} is ${JSON.stringify(value)}, which can't be read.`, {
    hint: `Write it ${examples}.`,
  });
}
