/** Sources without files: counting, and values that stand in the job. */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type {
  CollectionSourceDescriptor,
  NumbersSourceDescriptor,
  SourceConnector,
  SourceReader,
  Split,
} from "../dataflow/connector.js";

/** Ranges for each subtask, so that a slow one does not hold up the others for long. */
const SPLITS_PER_SUBTASK = 4;

/** `from`, `from + step` ... below `to`. Split fields: from, to (null: endless), step. Position: the next number. */
export function numbersSource(descriptor: NumbersSourceDescriptor): SourceConnector<number> {
  const from = descriptor.from ?? 0;
  const to = descriptor.to ?? null;
  if (!Number.isSafeInteger(from) || (to !== null && !Number.isSafeInteger(to))) {
    throw new CodedError("INVALID_ARGUMENT", `numbers needs integers, not from ${from} to ${to}`);
  }
  return {
    bounded: to !== null,
    enumerate: ({ parallelism }) =>
      Promise.resolve({
        splits: to === null ? endless(from, parallelism) : ranges(from, to, parallelism),
        totalRecords: to === null ? null : Math.max(0, to - from),
        totalBytes: null,
      }),
    open: async (split, position) => new NumbersReader(split, typeof position === "number" ? position : null),
  };
}

function ranges(from: number, to: number, parallelism: number): Split[] {
  const total = Math.max(0, to - from);
  const count = Math.min(total, Math.max(1, parallelism) * SPLITS_PER_SUBTASK);
  return Array.from({ length: count }, (_, i) => {
    const start = from + Math.floor((total / count) * i);
    const end = i === count - 1 ? to : from + Math.floor((total / count) * (i + 1));
    return { id: `${start}-${end}`, sizeHint: end - start, from: start, to: end, step: 1 };
  });
}

function endless(from: number, parallelism: number): Split[] {
  const step = Math.max(1, parallelism);
  return Array.from({ length: step }, (_, i) => ({ id: `${from + i}+${step}n`, sizeHint: 1, from: from + i, to: null, step }));
}

class NumbersReader implements SourceReader<number> {
  private at: number;
  private readonly from: number;
  private readonly to: number;
  private readonly step: number;

  constructor(split: Split, position: number | null) {
    this.from = Number(split.from);
    this.to = split.to === null ? Number.MAX_SAFE_INTEGER : Number(split.to);
    this.step = Number(split.step);
    this.at = position ?? this.from;
  }

  next(out: number[], limit: number): number {
    let at = this.at;
    let count = 0;
    for (; count < limit && at < this.to; at += this.step) out[count++] = at;
    this.at = at;
    return count;
  }

  position(): JsonValue {
    return this.at;
  }

  progress(): number {
    return (this.at - this.from) / this.step;
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}

/** Split fields: from, to (indexes). Position: the next index. */
export function collectionSource(descriptor: CollectionSourceDescriptor): SourceConnector<JsonValue> {
  const { items } = descriptor;
  return {
    bounded: true,
    enumerate: ({ parallelism }) =>
      Promise.resolve({ splits: shares(items.length, Math.max(1, parallelism)), totalRecords: items.length, totalBytes: null }),
    open: async (split, position) => new CollectionReader(items, split, typeof position === "number" ? position : null),
  };
}

function shares(total: number, parallelism: number): Split[] {
  const count = Math.min(total, parallelism);
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((total / count) * i);
    const to = i === count - 1 ? total : Math.floor((total / count) * (i + 1));
    return { id: `${from}-${to}`, sizeHint: to - from, from, to };
  });
}

class CollectionReader implements SourceReader<JsonValue> {
  private readonly items: readonly JsonValue[];
  private readonly from: number;
  private readonly to: number;
  private at: number;

  constructor(items: readonly JsonValue[], split: Split, position: number | null) {
    this.items = items;
    this.from = Number(split.from);
    this.to = Math.min(items.length, Number(split.to));
    this.at = position ?? this.from;
  }

  next(out: JsonValue[], limit: number): number {
    let count = 0;
    while (count < limit && this.at < this.to) out[count++] = this.items[this.at++] ?? null;
    return count;
  }

  position(): JsonValue {
    return this.at;
  }

  progress(): number {
    return this.at - this.from;
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}
