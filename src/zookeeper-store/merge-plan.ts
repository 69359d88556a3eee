/**
 * When and how much of the log is merged into pages. Pure.
 *
 * Runs grow geometrically towards the oldest: the tail takes with it each younger run that is not much larger than what has been
 * gathered already. So a byte is written again a number of times that is logarithmic in the size of the store, and what is deleted or
 * overwritten takes no more room than a fixed multiple of what lives.
 */
import { type Manifest, type RecordState, type Run, stateBytes } from "./codec.js";
import { MAX_TAIL_BYTES, MAX_TAIL_ENTRIES, MERGE_BYTES, MERGE_ENTRIES, PAGE_BYTES } from "./limits.js";

export interface Tail {
  readonly entries: number;
  readonly bytes: number;
}

/** A run joins what is younger when it has at most so many times its size. */
const GROWTH = 2;
const MAX_RUNS = 12;

export const isDue = ({ entries, bytes }: Tail, mergeEntries = MERGE_ENTRIES): boolean =>
  entries >= mergeEntries || (bytes >= MERGE_BYTES && entries > 1);

/** Commits have to wait for the merge. */
export const isOverdue = ({ entries, bytes }: Tail): boolean => entries >= MAX_TAIL_ENTRIES || bytes >= MAX_TAIL_BYTES;

export const runBytes = (run: Run): number => run.pages.reduce((sum, page) => sum + page.sizeBytes, 0);

/** The runs that stay as they are; everything after the last of them goes into a new one. */
export function runsToKeep(manifest: Manifest, tailBytes: number): readonly Run[] {
  const { runs } = manifest;
  let kept = runs.length;
  for (let gathered = tailBytes; kept > 0; kept--) {
    const run = runs[kept - 1];
    if (run === undefined || (runBytes(run) > GROWTH * gathered && kept < MAX_RUNS)) break;
    gathered += runBytes(run);
  }
  return runs.slice(0, kept);
}

/** States in parts that make a page each. */
export function* pagesOf(states: readonly RecordState[], pageBytes = PAGE_BYTES): Generator<readonly RecordState[]> {
  let page: RecordState[] = [];
  let bytes = 0;
  for (const state of states) {
    const size = stateBytes(state);
    if (page.length > 0 && bytes + size > pageBytes) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(state);
    bytes += size;
  }
  if (page.length > 0) yield page;
}
