/** How errors of user functions are reported: by operator, with the user's message and stack. */
import { CodedError, type ErrorCode } from "../../base/errors.js";

/** Errors that the engine itself raises beneath a user function's call; they say better what happened. */
const ENGINE_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "LIMIT_EXCEEDED",
  "OPERATOR_FAILED",
  "SOURCE_FAILED",
  "SINK_FAILED",
  "BAD_RECORD",
  "EXECUTOR_LOST",
  "ABORTED",
  "CLOSED",
  "INTERNAL",
  "ONCE_UNKNOWN",
  "LEDGER_FAILED",
  "FENCED",
  "DISK_FAILED",
]);

const MAX_RECORD_CHARS = 200;

/** For people, and to tell whether it is the same one again. */
function shortOf(record: unknown): string | null {
  if (record === undefined) return null;
  try {
    return (JSON.stringify(record) ?? String(record)).slice(0, MAX_RECORD_CHARS);
  } catch {
    return null;
  }
}

/** `record`: what the operator, or one before it in the same chain, was given. */
export function operatorFailed(operator: string, thrown: unknown, record?: unknown): CodedError {
  if (thrown instanceof CodedError && ENGINE_CODES.has(thrown.code)) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof RangeError && /maximum size exceeded/.test(message)) {
    return new CodedError(
      "LIMIT_EXCEEDED",
      `Operator '${operator}' has more keys in one subtask than a Map holds (16.7 million).`,
      {
        hint: "Run the job with a higher parallelism, so that each subtask has fewer keys.",
        details: { operator },
        cause: thrown,
      },
    );
  }
  return new CodedError("OPERATOR_FAILED", `Operator '${operator}' failed: ${message}`, {
    ...thrownAt(thrown),
    details: { operator, message, record: shortOf(record), stack: thrown instanceof Error ? (thrown.stack ?? null) : null },
    cause: thrown,
  });
}

/** Where the source maps of job bundles say that the files of the job are; what follows is relative to the job's project. */
const JOB_FILES = "job:///";

/** The hint of an error that the job's own code threw: the first line of its stack that is in a file of the job. */
export function thrownAt(thrown: unknown): { readonly hint?: string } {
  const stack = thrown instanceof Error ? (thrown.stack ?? "") : "";
  const lines = stack.split("\n").filter((line) => /^\s+at /.test(line));
  const isPackage = (line: string) => /node_modules\/|holdfast:api/.test(line);
  const own = lines.find((line) => line.includes(JOB_FILES) && !isPackage(line));
  return own === undefined ? {} : { hint: `Thrown ${own.trim().replaceAll(JOB_FILES, "")}; details.stack has the whole way.` };
}

export function sinkFailed(operator: string, thrown: unknown): CodedError {
  return connectorFailed("SINK_FAILED", `Sink '${operator}'`, operator, thrown);
}

export function sourceFailed(operator: string, thrown: unknown): CodedError {
  return connectorFailed("SOURCE_FAILED", `Source '${operator}'`, operator, thrown);
}

/** Connectors that throw coded errors have said it all already. */
function connectorFailed(code: ErrorCode, what: string, operator: string, thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CodedError(code, `${what} failed: ${message}`, {
    ...thrownAt(thrown),
    details: { operator, message, stack: thrown instanceof Error ? (thrown.stack ?? null) : null },
    cause: thrown,
  });
}
