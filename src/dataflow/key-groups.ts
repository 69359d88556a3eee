/**
 * Key groups: the smallest units of keyed state that move when a job is rescaled. A key belongs to one group for ever; each subtask owns a
 * range of groups. The formulas are Flink's (KeyGroupRangeAssignment): ranges are contiguous, cover all groups, differ by at most one.
 *
 * Invariant, for every group g: rangeOfSubtask(subtaskOfKeyGroup(g)) holds g.
 */
import { assert } from "../base/assert.js";

export const MIN_MAX_PARALLELISM = 128;
/** So that group numbers fit in 16 bits. */
export const MAX_MAX_PARALLELISM = 32_768;

/** Groups `first` to `last`, both included. */
export interface KeyGroupRange {
  readonly first: number;
  readonly last: number;
}

/** The number of key groups of a job that does not say: room to grow by half at least, a power of two. */
export function defaultMaxParallelism(parallelism: number): number {
  assert(Number.isInteger(parallelism) && parallelism > 0 && parallelism <= MAX_MAX_PARALLELISM, `parallelism ${parallelism}`);
  const wanted = parallelism + (parallelism >> 1);
  const power = wanted <= 1 ? 1 : 2 ** (32 - Math.clz32(wanted - 1));
  return Math.min(MAX_MAX_PARALLELISM, Math.max(MIN_MAX_PARALLELISM, power));
}

/** The group of a key by its hash (`hashKey`, any 32-bit integer). */
export function keyGroupOf(hash: number, maxParallelism: number): number {
  return (hash >>> 0) % maxParallelism;
}

/** The subtask that owns a group. */
export function subtaskOfKeyGroup(group: number, maxParallelism: number, parallelism: number): number {
  return Math.floor((group * parallelism) / maxParallelism);
}

/** The groups that a subtask owns. Empty (last < first) never happens, as parallelism is at most maxParallelism. */
export function keyGroupsOfSubtask(subtask: number, maxParallelism: number, parallelism: number): KeyGroupRange {
  assert(parallelism > 0 && parallelism <= maxParallelism, `parallelism ${parallelism} with ${maxParallelism} key groups`);
  assert(subtask >= 0 && subtask < parallelism, `subtask ${subtask} of ${parallelism}`);
  return {
    first: Math.floor((subtask * maxParallelism + parallelism - 1) / parallelism),
    last: Math.floor(((subtask + 1) * maxParallelism - 1) / parallelism),
  };
}
