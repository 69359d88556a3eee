/** Says where two builds of the same job differ, for the message of an error. */
import { canonicalJson, type JsonValue } from "../base/json.js";
import type { JobGraph } from "../dataflow/graph.js";

export interface GraphDifference {
  readonly operator: string | null;
  readonly text: string;
}

export function firstDifference(first: JobGraph, second: JobGraph): GraphDifference {
  for (const [index, operator] of first.operators.entries()) {
    const other = second.operators[index];
    if (other === undefined) return { operator: operator.uid, text: `operator '${operator.uid}' is missing in the second build` };
    if (operator.uid !== other.uid)
      return { operator: operator.uid, text: `an operator is named '${operator.uid}', then '${other.uid}'` };
    const path = differingPath(operator as unknown as JsonValue, other as unknown as JsonValue, "");
    if (path !== null) return { operator: operator.uid, text: `operator '${operator.uid}' differs in ${path}` };
  }
  const added = second.operators[first.operators.length];
  if (added !== undefined) return { operator: added.uid, text: `operator '${added.uid}' is new in the second build` };
  return { operator: null, text: "the edges between its operators differ" };
}

/** `config.path (was "a", then "b")` for the first place where the two values differ; null when they are equal. */
function differingPath(first: JsonValue | undefined, second: JsonValue | undefined, path: string): string | null {
  if (isObject(first) && isObject(second)) {
    for (const key of new Set([...Object.keys(first), ...Object.keys(second)])) {
      const found = differingPath(first[key], second[key], path === "" ? key : `${path}.${key}`);
      if (found !== null) return found;
    }
    return null;
  }
  const texts = [first, second].map((value) => (value === undefined ? "absent" : canonicalJson(value).slice(0, 80)));
  return texts[0] === texts[1] ? null : `${path} (${texts[0]}, then ${texts[1]})`;
}

function isObject(value: JsonValue | undefined): value is { readonly [key: string]: JsonValue } {
  return typeof value === "object" && value !== null;
}
