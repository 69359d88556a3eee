/**
 * The one error class of Holdfast and the closed set of its codes.
 *
 * Boundary: errors cross a wire as `{ code, message, hint, details }` and are recognised by code, never by class or by text.
 * Invariants:
 *   1. Every code stands in ERROR_CODES and has a page docs/errors/CODE.md (a test compares the two).
 *   2. `retry` says what a caller may do: nothing, send the same request again (same id), or look for the leader and send it there.
 */

export type Retry = "no" | "same-request" | "after-leader-lookup";

interface CodeFacts {
  readonly retry: Retry;
  /** Exit code of a command that ends with this error (design.md section 7). */
  readonly exitCode: 1 | 2 | 3 | 4;
}

const facts = (retry: Retry, exitCode: CodeFacts["exitCode"]): CodeFacts => ({ retry, exitCode });

export const ERROR_CODES = {
  // Leadership and the coordination store
  FENCED: facts("after-leader-lookup", 4),
  NOT_LEADER: facts("after-leader-lookup", 3),
  STALE_EPOCH: facts("after-leader-lookup", 4),
  GUARD_FAILED: facts("no", 4),
  OUTCOME_UNKNOWN: facts("same-request", 3),
  SESSION_ENDED: facts("after-leader-lookup", 3),
  STORE_LOCKED: facts("same-request", 3),
  STORE_UNUSABLE: facts("no", 4),
  STORE_FORMAT: facts("no", 4),
  NO_STORE: facts("same-request", 3),
  RECORD_QUARANTINED: facts("no", 4),
  NO_STANDBY: facts("no", 4),
  // Reaching another process
  NO_MASTER: facts("same-request", 3),
  CONNECTION_REFUSED: facts("after-leader-lookup", 3),
  CONNECTION_LOST: facts("after-leader-lookup", 3),
  TIMEOUT: facts("same-request", 3),
  ABORTED: facts("no", 1),
  CLOSED: facts("no", 1),
  PROTOCOL_VERSION: facts("no", 4),
  PROTOCOL_VIOLATION: facts("no", 4),
  UNAUTHENTICATED: facts("no", 4),
  FORBIDDEN: facts("no", 4),
  WRONG_CLUSTER: facts("no", 4),
  INSECURE_LISTEN: facts("no", 2),
  INSECURE_SECRET: facts("no", 2),
  ADDRESS_IN_USE: facts("no", 4),
  LIMIT_EXCEEDED: facts("no", 4),
  // What a user asked for
  INVALID_ARGUMENT: facts("no", 2),
  UNKNOWN_COMMAND: facts("no", 2),
  NOT_FOUND: facts("no", 4),
  CONFLICT: facts("no", 4),
  UNPLACEABLE: facts("no", 4),
  WORKER_LOST: facts("no", 4),
  WORKER_GONE: facts("no", 4),
  SUPERSEDED: facts("no", 4),
  // Jobs
  INVALID_JOB: facts("no", 2),
  INVALID_PARAMS: facts("no", 2),
  BUNDLE_FAILED: facts("no", 2),
  PLAN_FAILED: facts("no", 2),
  GRAPH_MISMATCH: facts("no", 1),
  ARTIFACT_CORRUPT: facts("no", 1),
  OPERATOR_FAILED: facts("no", 1),
  SOURCE_FAILED: facts("no", 1),
  SINK_FAILED: facts("no", 1),
  BAD_RECORD: facts("no", 1),
  LEDGER_FAILED: facts("no", 1),
  ONCE_UNKNOWN: facts("no", 1),
  OUT_OF_MEMORY: facts("no", 1),
  EXECUTOR_CRASHED: facts("no", 1),
  EXECUTOR_LOST: facts("no", 1),
  CHECKPOINT_UNSUPPORTED: facts("no", 2),
  GUARANTEE_UNSUPPORTED: facts("no", 2),
  CHECKPOINT_STORAGE: facts("no", 1),
  CHECKPOINT_UNREADABLE: facts("no", 1),
  CHECKPOINT_FAILED: facts("no", 1),
  CLEAN_UP_FAILED: facts("no", 1),
  CRASH_LOOP: facts("no", 1),
  SAVEPOINT_UNREADABLE: facts("no", 1),
  SAVEPOINT_MISMATCH: facts("no", 2),
  RESTARTS_EXHAUSTED: facts("no", 1),
  APPLICATION_FAILED: facts("no", 1),
  // The machine
  LAUNCH_FAILED: facts("no", 1),
  DISK_FAILED: facts("no", 4),
  INTERNAL: facts("no", 1),
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What crosses a wire, stands in `--json` output, and is stored with an attempt. */
export interface ErrorShape {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | null;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

export interface CodedErrorOptions {
  /** The next step for the reader, as a sentence. */
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** An error with a code. The message names the thing and the cause; the hint names the next step. */
export class CodedError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | null;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: CodedErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CodedError";
    this.code = code;
    this.hint = options.hint ?? null;
    this.details = options.details;
  }

  get retry(): Retry {
    return ERROR_CODES[this.code].retry;
  }

  /** Bounded: what users' errors say goes over links and into records. */
  toShape(): ErrorShape {
    return {
      code: this.code,
      message: cut(this.message),
      hint: this.hint === null ? null : cut(this.hint),
      ...(this.details === undefined ? {} : { details: cutTexts(this.details) }),
    };
  }

  static fromShape(shape: ErrorShape): CodedError {
    const code = isErrorCode(shape.code) ? shape.code : "INTERNAL";
    return new CodedError(code, shape.message, {
      ...(shape.hint === null ? {} : { hint: shape.hint }),
      ...(shape.details === undefined ? {} : { details: shape.details }),
    });
  }

  /**
   * The one place where an unknown thrown value becomes a CodedError. A CodedError stays itself; one of another copy of this module (a job's
   * bundle has its own) keeps its code.
   */
  static from(thrown: unknown, code: ErrorCode = "INTERNAL"): CodedError {
    if (thrown instanceof CodedError) return thrown;
    if (isOfAnotherCopy(thrown)) {
      const { hint, details } = thrown;
      return new CodedError(thrown.code, thrown.message, {
        ...(hint === null ? {} : { hint }),
        ...(details === undefined ? {} : { details }),
        cause: thrown,
      });
    }
    if (thrown instanceof Error) return new CodedError(code, thrown.message, { cause: thrown });
    return new CodedError(code, String(thrown));
  }
}

/** Of a message, a hint, or a text in the details of an error that is told to others. */
export const MAX_ERROR_CHARS = 8_192;

const cut = (text: string): string => (text.length <= MAX_ERROR_CHARS ? text : `${text.slice(0, MAX_ERROR_CHARS - 1)}…`);

function cutTexts(details: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(details).map(([key, value]) => [key, typeof value === "string" ? cut(value) : value]));
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERROR_CODES, code);
}

function isOfAnotherCopy(thrown: unknown): thrown is CodedError {
  return thrown instanceof Error && thrown.name === "CodedError" && isErrorCode((thrown as { readonly code?: unknown }).code);
}

export function hasCode(thrown: unknown, code: ErrorCode): boolean {
  return thrown instanceof CodedError && thrown.code === code;
}
