/** Texts of the command line become values here: sizes, durations, counts, `key=value`. What cannot be read is INVALID_ARGUMENT and names the option. */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";

const SIZE_UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };
const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function refuse(option: string, text: string, wanted: string): never {
  throw new CodedError("INVALID_ARGUMENT", `${option} is "${text}", which is not ${wanted}.`, { hint: `Give ${wanted}.` });
}

/** `512m`, `2GiB`, `1073741824` -> bytes. */
export function parseSizeBytes(option: string, text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const unit = SIZE_UNITS[(match?.[2] ?? "").toLowerCase()];
  if (match === null || unit === undefined) refuse(option, text, 'a size such as "512m" or "2g"');
  const bytes = Math.round(Number(match[1]) * unit);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) refuse(option, text, 'a size such as "512m" or "2g"');
  return bytes;
}

/** `250ms`, `10s`, `5m` -> milliseconds. A bare number is milliseconds. */
export function parseDurationMs(option: string, text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)?$/.exec(text.trim());
  const unit = DURATION_UNITS[match?.[2] ?? "ms"];
  if (match === null || unit === undefined) refuse(option, text, 'a duration such as "500ms", "10s" or "5m"');
  return Math.round(Number(match[1]) * unit);
}

/** `10/min` -> 10; `off` -> null. */
export function parsePerMinute(option: string, text: string): number | null {
  if (text.trim() === "off") return null;
  const match = /^([0-9]+)\/min$/.exec(text.trim());
  const count = Number(match?.[1]);
  if (match === null || !(count >= 1 && count <= 100_000)) refuse(option, text, 'a number a minute such as "10/min", or "off"');
  return count;
}

/** `50%` -> 0.5; `off` -> 1. */
export function parseShare(option: string, text: string): number {
  if (text.trim() === "off") return 1;
  const match = /^([0-9]+(?:\.[0-9]+)?)%$/.exec(text.trim());
  const percent = Number(match?.[1]);
  if (match === null || !(percent > 0 && percent <= 100)) refuse(option, text, 'a share such as "50%", or "off"');
  return percent / 100;
}

export function parseCount(option: string, text: string, bounds: { readonly min: number; readonly max: number }): number {
  const value = /^[0-9]+$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (!(value >= bounds.min && value <= bounds.max)) refuse(option, text, `a whole number from ${bounds.min} to ${bounds.max}`);
  return value;
}

export function parseCores(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value > 0 && value <= 4096)) refuse(option, text, "a number of cores above 0, such as 1 or 0.5");
  return value;
}

export function parseChoice<T extends string>(option: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  return found ?? refuse(option, text, `one of: ${choices.join(", ")}`);
}

/** `--param a=1 --param b=x`: values that read as JSON numbers, booleans, null, arrays or objects are those, everything else is text. */
export function parseParams(option: string, pairs: readonly string[] = []): Record<string, JsonValue> {
  const params: Record<string, JsonValue> = Object.create(null) as Record<string, JsonValue>;
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at <= 0) refuse(option, pair, '"name=value"');
    const name = pair.slice(0, at);
    if (name === "__proto__") refuse(option, pair, "a name that a parameter may have");
    if (name in params)
      throw new CodedError("INVALID_ARGUMENT", `${option} ${name} is given twice.`, { hint: "Give each parameter once." });
    params[name] = paramValue(pair.slice(at + 1));
  }
  return { ...params };
}

function paramValue(text: string): JsonValue {
  if (!/^(?:-?[0-9]|\[|\{|true$|false$|null$|")/.test(text)) return text;
  try {
    const value = JSON.parse(text) as JsonValue;
    // A number that would not print as it was typed ("007", "1e999", 20 digits) was meant as text.
    return typeof value === "number" && String(value) !== text ? text : value;
  } catch {
    return text;
  }
}

export function parseEnvironment(option: string, pairs: readonly string[] = []): Record<string, string> {
  const env: Record<string, string> = {};
  for (const pair of pairs) {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)=([\s\S]*)$/.exec(pair);
    if (match === null) refuse(option, pair, '"NAME=value"');
    env[match[1] ?? ""] = match[2] ?? "";
  }
  return env;
}

/** For options that may be given several times. */
export const collect = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];
