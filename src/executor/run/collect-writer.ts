/**
 * The writers of `sinks.collect()`, for at most so many records. Without checkpoints they hand records to whoever runs the slice; with checkpoints they stage
 * them, as JSON, and the driver puts the parts of the last checkpoint and of the end together: each record is in the result once, whatever died.
 */
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { SinkWriter } from "../../dataflow/connector.js";
import type { OperatorSpec } from "../../dataflow/graph.js";
import type { SliceOptions } from "./slice.js";

export function collectWriter(operator: OperatorSpec, onCollect: SliceOptions["onCollect"]): SinkWriter<unknown> {
  const count = counter(operator);
  return {
    write: (records, length) => {
      count(length);
      return onCollect?.(operator.uid, records.slice(0, length));
    },
    prepare: () => Promise.resolve(null),
    abort: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

/** What the writer stages: its committables. A part is named by the try that staged it, the subtask and a number that grows. */
export interface StagingOptions {
  readonly attempt: string;
  readonly subtask: number;
  /** Number of the next part, from the checkpoint that the try goes on from. */
  readonly restored: JsonValue | undefined;
  /** Throws LIMIT_EXCEEDED when that is more than a result may hold. */
  readonly asJson: (sink: string, records: readonly unknown[]) => readonly JsonValue[];
}

export function stagingCollectWriter(operator: OperatorSpec, options: StagingOptions): SinkWriter<unknown> {
  const { attempt, subtask, restored, asJson } = options;
  const count = counter(operator);
  let part = typeof restored === "number" ? restored : 0;
  let held: JsonValue[] = [];
  const close = (): JsonValue[] => {
    if (held.length === 0) return [];
    const records = held;
    held = [];
    return [{ attempt, subtask, part: part++, records }];
  };
  return {
    write: (records, length) => {
      count(length);
      for (const record of asJson(operator.uid, records.slice(0, length))) held.push(record);
    },
    checkpoint: () => Promise.resolve({ committables: close(), state: part }),
    prepare: () => Promise.resolve(null),
    abort: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

function counter(operator: OperatorSpec): (count: number) => void {
  const { maxRecords } = operator.config as { readonly maxRecords: number };
  let total = 0;
  return (count) => {
    total += count;
    if (total > maxRecords) throw collectsTooMuch(operator.uid, maxRecords);
  };
}

export function collectsTooMuch(operator: string, maxRecords: number): CodedError {
  return new CodedError("LIMIT_EXCEEDED", `Sink '${operator}' collects more than ${maxRecords} records.`, {
    hint: "Write large results to files, or raise maxRecords of sinks.collect.",
    details: { operator, maxRecords },
  });
}
