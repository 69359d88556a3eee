/** State on disk comes back as a copy without its class; an instance is refused here, which is better than a method that is suddenly missing. */
import { CodedError } from "../../../base/errors.js";

const COPIED: ReadonlySet<unknown> = new Set([
  Object.prototype,
  Array.prototype,
  Map.prototype,
  Set.prototype,
  Date.prototype,
  null,
]);

/** The value, unless it is an instance of a class of one's own. Looks at the value itself, not at what is in it. Throws OPERATOR_FAILED. */
export function plainState(operator: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (COPIED.has(prototype)) return value;
  const name = (value as { readonly constructor?: { readonly name?: string } }).constructor?.name ?? "a class";
  throw new CodedError("OPERATOR_FAILED", `Operator '${operator}' has an instance of ${name} in its state, which is on disk.`, {
    hint: 'With state: "disk" accumulators are plain data, and so are values of states without a codec.',
    details: { operator },
  });
}
