/** How far event time had come in each vertex of a job, told from all its subtasks at a checkpoint. */
import type { SlicePart } from "../wire/checkpoint.js";

/** By vertex: the least of its subtasks that had not ended; null when one of them knew nothing. */
export function leastWatermarks(slices: readonly Pick<SlicePart, "watermarks">[]): Record<string, number | null> {
  const least: Record<string, number | null> = {};
  for (const { watermarks = {} } of slices) {
    for (const [vertex, ms] of Object.entries(watermarks)) {
      const known = least[vertex];
      least[vertex] = known === undefined ? ms : known === null || ms === null ? null : Math.min(known, ms);
    }
  }
  return least;
}
