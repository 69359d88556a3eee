/**
 * Where a process writes what happened: JSON lines (pino's shape, for machines) or plain sentences (for people).
 *
 * Invariants:
 *   1. One call is one line: control characters, terminal escapes and direction marks of user code or strangers are written as \u escapes.
 *   2. Known secrets, and fields that are named like one, never appear.
 *   3. Logging never throws.
 */
import { pino } from "pino";
import type { Log, LogFields } from "../env/log.js";

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface LogOptions {
  readonly format: "json" | "text";
  readonly stream: { write(text: string): unknown };
  /** Of this process: `master`, `worker`, `driver`, `executor`. */
  readonly role: string;
  readonly id: string;
  /** Below it nothing is written; `info` when absent. */
  readonly level?: LogLevel;
  /** Texts that must never appear (the cluster secret in hex, keys). */
  readonly secrets?: readonly string[];
}

const LEVELS: Readonly<Record<LogLevel, number>> = { debug: 20, info: 30, warn: 40, error: 50 };
const SECRET_FIELD = /secret|password|passwd|token|authorization|proof|applicationkey|credential/i;
const REDACTED = "[redacted]";
const MAX_TEXT_LENGTH = 16_384;
// Control characters, C1 controls, line and paragraph separators, and marks that change the direction of text.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

export function escapeUnprintable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function createLog(options: LogOptions): Log {
  const least = LEVELS[options.level ?? "info"];
  const secrets = (options.secrets ?? []).filter((secret) => secret.length > 0);
  const clean = (text: string): string => {
    let cleaned = text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
    for (const secret of secrets) cleaned = cleaned.replaceAll(secret, REDACTED);
    return escapeUnprintable(cleaned);
  };
  const write = options.format === "json" ? jsonWriter(options) : textWriter(options);
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (LEVELS[level] < least) return;
    try {
      write(level, clean(message), cleanFields(fields, clean));
    } catch {
      // A log that cannot be written (a closed pipe, a full disk) must not end what it reports about.
    }
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

type Fields = Record<string, string | number | boolean | null>;

function cleanFields(fields: LogFields | undefined, clean: (text: string) => string): Fields {
  const cleaned: Fields = {};
  for (const [name, value] of Object.entries(fields ?? {})) {
    if (value === undefined) continue;
    if (SECRET_FIELD.test(name)) cleaned[name] = REDACTED;
    else cleaned[name] = typeof value === "string" ? clean(value) : value;
  }
  return cleaned;
}

type Writer = (level: LogLevel, message: string, fields: Fields) => void;

function jsonWriter(options: LogOptions): Writer {
  const stream = { write: (line: string) => void options.stream.write(line) };
  const logger = pino(
    { level: "debug", base: { role: options.role, id: options.id }, timestamp: pino.stdTimeFunctions.isoTime },
    stream,
  );
  return (level, message, fields) => logger[level](fields, message);
}

function textWriter(options: LogOptions): Writer {
  return (level, message, fields) => {
    const facts = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
    const mark = level === "info" ? "" : `${level.toUpperCase()} `;
    const time = new Date().toISOString().slice(11, 23);
    options.stream.write(
      `${time} ${options.role} ${options.id}  ${mark}${message}${facts.length === 0 ? "" : `  (${facts.join(" ")})`}\n`,
    );
  };
}
