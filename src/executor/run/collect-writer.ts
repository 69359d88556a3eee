/** The writer of `sinks.collect()`: hands records to whoever runs the slice, at most so many. */
import { CodedError } from "../../base/errors.js";
import type { SinkWriter } from "../../dataflow/connector.js";
import type { OperatorSpec } from "../../dataflow/graph.js";
import type { SliceOptions } from "./slice.js";

export function collectWriter(operator: OperatorSpec, onCollect: SliceOptions["onCollect"]): SinkWriter<unknown> {
  const { maxRecords } = operator.config as { readonly maxRecords: number };
  let total = 0;
  return {
    write: (records, count) => {
      total += count;
      if (total > maxRecords) throw collectsTooMuch(operator.uid, maxRecords);
      return onCollect?.(operator.uid, records.slice(0, count));
    },
    prepare: () => Promise.resolve(null),
    abort: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

export function collectsTooMuch(operator: string, maxRecords: number): CodedError {
  return new CodedError("LIMIT_EXCEEDED", `Sink '${operator}' collects more than ${maxRecords} records.`, {
    hint: "Write large results to files, or raise maxRecords of sinks.collect.",
    details: { operator, maxRecords },
  });
}
