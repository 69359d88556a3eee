/** The ways in which a driver ends, and the errors that say why. */
import type { ErrorShape } from "../base/errors.js";
import type { FailedTry } from "../wire/progress.js";
import type { Ending } from "./driver-events.js";

/** Masters say with SUPERSEDED when it is because the application has ended. */
export function finalStateOf(error: ErrorShape): string | null {
  const state = error.details?.state;
  return typeof state === "string" ? state : null;
}

export function shape(code: ErrorShape["code"], message: string): ErrorShape {
  return { code, message, hint: null };
}

export function cancelled(reason: string): Ending {
  return { outcome: "cancelled", reason: shape("ABORTED", reason), result: null, restart: false };
}

export function quit(reason: string): Ending {
  return { outcome: "quit", reason: shape("ABORTED", reason), result: null, restart: true };
}

export function failed(reason: ErrorShape | null): Ending {
  return { outcome: "failed", reason, result: null, restart: false };
}

/** Nothing of it is removed: a person decides what it goes on from. */
export function parked(reason: ErrorShape): Ending {
  return { outcome: "parked", reason, result: null, restart: false };
}

export function exhausted(what: string, last: ErrorShape, tries: readonly FailedTry[] = []): ErrorShape {
  return {
    code: "RESTARTS_EXHAUSTED",
    message: `${what}; the last time: ${last.message}`,
    hint: last.hint,
    details: { cause: last, ...(tries.length === 0 ? {} : { tries }) },
  };
}
