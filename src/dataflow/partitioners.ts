/**
 * Partitioners: which subtask of the next operator gets each record of a batch.
 *
 * A partitioner appends to buckets, one for each target; the caller sends a bucket once it is full enough and sets its count to 0. The
 * arrays of a bucket are never shortened, so they stay warm; what stands behind the count is left over from before.
 * Invariants: the order of records from one subtask to one target is kept; equal keys go to equal targets, in every process.
 */
import { assert } from "../base/assert.js";
import type { ExchangeKind } from "./graph.js";
import { hashKey, hashNumber, hashText } from "./hash.js";
import { keyGroupOf, subtaskOfKeyGroup } from "./key-groups.js";

/** `records[t][0..counts[t])` waits for target t. */
export interface Buckets {
  readonly records: unknown[][];
  readonly counts: number[];
}

export function createBuckets(targets: number): Buckets {
  return { records: Array.from({ length: targets }, () => []), counts: new Array<number>(targets).fill(0) };
}

/** Appends `records[0..count)` to the buckets. */
export type Partition = (records: readonly unknown[], count: number, out: Buckets) => void;

export interface PartitionerOptions {
  readonly exchange: ExchangeKind;
  /** Subtasks of the next operator. */
  readonly targets: number;
  /** The subtask that sends. */
  readonly subtask: number;
  /** Needed for `hash`. */
  readonly maxParallelism?: number;
  /** Needed for `hash`: the key of a record, synchronous. */
  readonly keyOf?: (record: unknown) => unknown;
}

export function createPartitioner(options: PartitionerOptions): Partition {
  const { exchange, targets, subtask } = options;
  assert(Number.isInteger(targets) && targets > 0, `${targets} targets of an exchange`);
  switch (exchange) {
    case "forward":
      return one(subtask % targets);
    case "broadcast":
      return broadcast(targets);
    case "rebalance":
      return targets === 1 ? one(0) : rebalance(targets, subtask % targets);
    case "hash": {
      const { keyOf, maxParallelism } = options;
      assert(keyOf !== undefined && maxParallelism !== undefined, "a hash exchange has a key and a number of key groups");
      assert(targets <= maxParallelism, `a hash exchange to ${targets} targets has ${maxParallelism} key groups`);
      return targets === 1 ? one(0) : hash(targets, maxParallelism, keyOf);
    }
  }
}

/** The subtask that gets the records of a key: what `hash` does, for one key. */
export function subtaskOfKey(key: unknown, maxParallelism: number, parallelism: number): number {
  return subtaskOfKeyGroup(keyGroupOf(hashKey(key), maxParallelism), maxParallelism, parallelism);
}

function append(records: readonly unknown[], count: number, out: Buckets, target: number): void {
  const bucket = out.records[target] as unknown[];
  const at = out.counts[target] as number;
  for (let i = 0; i < count; i++) bucket[at + i] = records[i];
  out.counts[target] = at + count;
}

const one =
  (target: number): Partition =>
  (records, count, out) =>
    append(records, count, out, target);

const broadcast =
  (targets: number): Partition =>
  (records, count, out) => {
    for (let target = 0; target < targets; target++) append(records, count, out, target);
  };

/** Record by record in turn. Subtasks begin at different targets, so that many short inputs do not all fall on the first. */
function rebalance(targets: number, start: number): Partition {
  let target = start;
  return (records, count, out) => {
    for (let i = 0; i < count; i++) {
      const at = out.counts[target] as number;
      (out.records[target] as unknown[])[at] = records[i];
      out.counts[target] = at + 1;
      target = target + 1 === targets ? 0 : target + 1;
    }
  };
}

type Hash = (
  keyOf: (record: unknown) => unknown,
  targetOfGroup: Uint16Array,
  maxParallelism: number,
  hashText: (text: string) => number,
  hashNumber: (value: number) => number,
  hashKey: (key: unknown) => number,
) => Partition;

/**
 * Generated anew for each exchange, so that the types of one exchange's keys and records do not slow down another's. The source is this
 * one text; everything of the user is a parameter. The table of targets takes the place of a division.
 */
const HASH_SOURCE = `"use strict";
return function partition(records, count, out) {
  const buckets = out.records;
  const counts = out.counts;
  for (let i = 0; i < count; i++) {
    const record = records[i];
    const key = keyOf(record);
    const hash = typeof key === "string" ? hashText(key) : typeof key === "number" ? hashNumber(key) : hashKey(key);
    const target = targetOfGroup[(hash >>> 0) % maxParallelism];
    buckets[target][counts[target]++] = record;
  }
};`;

function hash(targets: number, maxParallelism: number, keyOf: (record: unknown) => unknown): Partition {
  const targetOfGroup = Uint16Array.from({ length: maxParallelism }, (_, group) =>
    subtaskOfKeyGroup(group, maxParallelism, targets),
  );
  const generate = new Function(
    "keyOf",
    "targetOfGroup",
    "maxParallelism",
    "hashText",
    "hashNumber",
    "hashKey",
    HASH_SOURCE,
  ) as Hash;
  return generate(keyOf, targetOfGroup, maxParallelism, hashText, hashNumber, hashKey);
}
