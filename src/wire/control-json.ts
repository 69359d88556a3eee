/**
 * JSON of control frames, made safe to keep: bounded nesting, and no key `__proto__`, which would change objects that it is copied into.
 *
 * Boundary: text in, value out; schemas come after it. Nesting is bounded because other code (and other languages) walk values recursively.
 */
import { CodedError } from "../base/errors.js";

export const MAX_JSON_DEPTH = 64;

/** Throws PROTOCOL_VIOLATION. */
export function parseControlJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new CodedError("PROTOCOL_VIOLATION", "a control frame is not JSON");
  }
  checkValue(value);
  return value;
}

/** Walks level by level, without recursion. */
function checkValue(root: unknown): void {
  let level: object[] = typeof root === "object" && root !== null ? [root] : [];
  for (let depth = 1; level.length > 0; depth += 1) {
    if (depth > MAX_JSON_DEPTH)
      throw new CodedError("PROTOCOL_VIOLATION", `a control frame is nested deeper than ${MAX_JSON_DEPTH} levels`);
    const next: object[] = [];
    for (const item of level) {
      if (!Array.isArray(item) && Object.hasOwn(item, "__proto__"))
        throw new CodedError("PROTOCOL_VIOLATION", "a control frame has a key __proto__");
      for (const child of Object.values(item)) if (typeof child === "object" && child !== null) next.push(child);
    }
    level = next;
  }
}
