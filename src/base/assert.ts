/** Assertions that stay on in production: a broken invariant ends the process rather than corrupt what is durable. */
import { CodedError } from "./errors.js";

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new CodedError("INTERNAL", `invariant broken: ${message}`);
}

/** Closes a `switch` over a union: adding a member without a case fails to compile. */
export function unreachable(value: never, what: string): never {
  throw new CodedError("INTERNAL", `invariant broken: unexpected ${what} ${JSON.stringify(value)}`);
}

/** For a value that the surrounding code has just established to be there. */
export function present<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new CodedError("INTERNAL", `invariant broken: ${what} is missing`);
  return value;
}
