/** Options of operators become part of the job graph, so they have to be JSON. Fields that are undefined are left out. */
import type { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";

/** A copy of the value as plain JSON; throws what `refuse` makes, given the path and the kind of the first thing that is not JSON. */
export function toJson(value: unknown, refuse: (path: string, what: string) => CodedError, path = "config"): JsonValue {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number") {
    if (Number.isFinite(value)) return value;
    throw refuse(path, `the number ${value}`);
  }
  if (Array.isArray(value)) return value.map((item, index) => toJson(item, refuse, `${path}[${index}]`));
  if (typeof value === "object" && isPlain(value)) {
    const copy: Record<string, JsonValue> = {};
    for (const [key, item] of Object.entries(value)) if (item !== undefined) copy[key] = toJson(item, refuse, `${path}.${key}`);
    return copy;
  }
  const what =
    typeof value === "object" ? `a ${value.constructor?.name ?? "object of its own class"}` : `a value of type ${typeof value}`;
  throw refuse(path, what);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of another realm (a test runner's) are plain too: their prototype has none.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
