/**
 * Records of `collect` sinks, gathered in the driver: the result of the job. Bounded by MAX_RESULT_BYTES of JSON text, and each sink by its own
 * `maxRecords` over all subtasks.
 * In a job with checkpoints the records are staged instead, as parts that checkpoints carry (`resultOfParts`).
 * Invariant: a batch counts once, however often it arrives.
 */
import { CodedError, type ErrorShape } from "../base/errors.js";
import { MAX_RESULT_BYTES } from "../wire/application.js";
import type { StagedBySink } from "../wire/checkpoint.js";

export class Collected {
  private readonly bySink = new Map<string, Map<string, { last: number; bytes: number; readonly records: unknown[] }>>();
  private readonly counts = new Map<string, number>();
  private bytes = 0;
  /** By sink: the most records it may collect. */
  private readonly limits: ReadonlyMap<string, number>;

  constructor(limits: ReadonlyMap<string, number> = new Map()) {
    this.limits = limits;
  }

  /** Null: added, now or before. Otherwise the limit that it would exceed; it was not added. */
  add(sink: string, reader: string, batch: number, records: readonly unknown[]): ErrorShape | null {
    const perReader = this.bySink.get(sink) ?? new Map();
    this.bySink.set(sink, perReader);
    const state = perReader.get(reader) ?? { last: 0, bytes: 0, records: [] };
    perReader.set(reader, state);
    if (batch <= state.last) return null;
    const count = (this.counts.get(sink) ?? 0) + records.length;
    const limit = this.limits.get(sink) ?? Number.POSITIVE_INFINITY;
    if (count > limit) return tooMany(sink, limit);
    const size = JSON.stringify(records).length;
    if (this.bytes + size > MAX_RESULT_BYTES) return resultTooLarge(sink).toShape();
    this.bytes += size;
    state.bytes += size;
    this.counts.set(sink, count);
    state.last = batch;
    state.records.push(...records);
    return null;
  }

  /** It begins again: what it has given is given again, numbered from 1. */
  forget(reader: string): void {
    for (const [sink, perReader] of this.bySink) {
      const state = perReader.get(reader);
      if (state === undefined) continue;
      perReader.delete(reader);
      this.counts.set(sink, (this.counts.get(sink) ?? 0) - state.records.length);
      this.bytes -= state.bytes;
    }
  }

  /** `{ sink uid: records }`, those of a reader (a subtask) together, readers in the given order; null when nothing was collected. */
  result(readers: readonly string[]): Readonly<Record<string, readonly unknown[]>> | null {
    if (this.bySink.size === 0) return null;
    const result: Record<string, unknown[]> = {};
    for (const sink of [...this.bySink.keys()].sort()) {
      result[sink] = readers.flatMap((reader) => this.bySink.get(sink)?.get(reader)?.records ?? []);
    }
    return result;
  }
}

/** What a subtask of a `collect` sink stages. */
interface CollectedPart {
  readonly subtask: number;
  readonly part: number;
  readonly records: readonly unknown[];
}

type Result = Readonly<Record<string, readonly unknown[]>>;

/** The result of staged parts of these sinks, in the order of subtasks; null: there are none. Or the limit that it exceeds. */
export function resultOfParts(
  staged: StagedBySink,
  limits: ReadonlyMap<string, number>,
): { readonly result: Result | null; readonly error: ErrorShape | null } {
  const result: Record<string, unknown[]> = {};
  for (const [sink, limit] of [...limits].sort(([left], [right]) => (left < right ? -1 : 1))) {
    const parts = (staged[sink] ?? []).map(({ committable }) => committable as CollectedPart);
    if (parts.length === 0) continue;
    parts.sort((left, right) => left.subtask - right.subtask || left.part - right.part);
    const records = parts.flatMap((part) => part.records);
    if (records.length > limit) return { result: null, error: tooMany(sink, limit) };
    result[sink] = records;
    if (JSON.stringify(result).length > MAX_RESULT_BYTES) return { result: null, error: resultTooLarge(sink).toShape() };
  }
  return { result: Object.keys(result).length === 0 ? null : result, error: null };
}

function tooMany(sink: string, maxRecords: number): ErrorShape {
  return {
    code: "LIMIT_EXCEEDED",
    message: `Sink '${sink}' collects more than ${maxRecords} records.`,
    hint: "Write large results to files, or raise maxRecords of sinks.collect.",
    details: { operator: sink, maxRecords },
  };
}

export function resultTooLarge(sink: string): CodedError {
  const limit = `${MAX_RESULT_BYTES / 1024} KiB of JSON`;
  return new CodedError("LIMIT_EXCEEDED", `Sink '${sink}' collects more than the ${limit} that the result of a job may have.`, {
    hint: "Write large outputs to files (sinks.ndjson, sinks.parquet), collect only a summary.",
    details: { operator: sink, maxBytes: MAX_RESULT_BYTES },
  });
}
