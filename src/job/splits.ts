/**
 * Which splits of each source are still to be read in the present try, and who got what.
 *
 * Invariants: a split is handed to one executor, once a try; the same ask of the same executor gets the same answer, however often.
 */
import type { Split } from "../dataflow/connector.js";

export interface EnumeratedSource {
  readonly uid: string;
  /** Subtasks that may read it. */
  readonly subtasks: number;
  readonly splits: readonly Split[];
  readonly totalRecords: number | null;
}

export interface SplitAnswer {
  readonly split: Split | null;
  /** How many subtasks read the source now, or will as soon as they ask: its rate is theirs together. */
  readonly readers: number;
  /** Whether that number is another one than before this ask. */
  readonly isNews: boolean;
}

interface SourceSplits {
  readonly subtasks: number;
  readonly splits: readonly Split[];
  next: number;
  /** By executor: its latest ask and what it was told. An executor asks one after the other. */
  readonly answers: Map<string, { readonly ask: number; readonly split: Split | null }>;
}

export class SplitAssignment {
  readonly totalRecords: number | null;
  private readonly sources = new Map<string, SourceSplits>();

  constructor(sources: readonly EnumeratedSource[]) {
    let total: number | null = 0;
    for (const source of sources) {
      const { uid, subtasks, splits } = source;
      this.sources.set(uid, { subtasks, splits, next: 0, answers: new Map() });
      total = total === null || source.totalRecords === null ? null : total + source.totalRecords;
    }
    this.totalRecords = sources.length === 0 ? null : total;
  }

  /** Undefined: the job has no such source. */
  answer(source: string, processId: string, ask: number): SplitAnswer | undefined {
    const state = this.sources.get(source);
    if (state === undefined) return undefined;
    const last = state.answers.get(processId);
    if (last !== undefined && last.ask >= ask) return { split: last.split, readers: readersOf(state), isNews: false };
    const before = readersOf(state);
    const split = state.splits[state.next] ?? null;
    if (split !== null) state.next += 1;
    state.answers.set(processId, { ask, split });
    const readers = readersOf(state);
    return { split, readers, isNews: readers !== before };
  }
}

/** Those that have a split, and of the others as many as there are splits left for. */
function readersOf({ subtasks, splits, next, answers }: SourceSplits): number {
  let reading = 0;
  let ended = 0;
  for (const { split } of answers.values()) split === null ? ended++ : reading++;
  return reading + Math.max(0, Math.min(splits.length - next, subtasks - reading - ended));
}
