/** What a sink may have committed later: a small piece of JSON that names what was staged, never the records themselves. */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";

/** Characters of one committable as JSON. It stands in manifests and, for those of the end, in the application's record. */
export const MAX_COMMITTABLE_CHARS = 16 * 1024;

/** Throws SINK_FAILED, naming the sink, when the value is not JSON or is too large. */
export function refuseCommittable(sink: string, committable: JsonValue): void {
  let text: string | undefined;
  try {
    text = JSON.stringify(committable);
  } catch {
    text = undefined;
  }
  if (text === undefined) throw refusal(sink, "is not JSON");
  if (text.length > MAX_COMMITTABLE_CHARS)
    throw refusal(sink, `has ${text.length} characters as JSON, at most ${MAX_COMMITTABLE_CHARS} are allowed`);
}

function refusal(sink: string, why: string): CodedError {
  return new CodedError("SINK_FAILED", `What sink '${sink}' prepared ${why}.`, {
    hint: "Stage the records themselves in the other system, and return only what `commit` needs to find them.",
    details: { operator: sink },
  });
}
