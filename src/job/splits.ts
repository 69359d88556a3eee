/**
 * Which splits of each source are still to be read in the present try, and who got what.
 *
 * Invariants: a split is handed to one executor, once a try; the same ask of the same executor gets the same answer, however often.
 */
import type { Split } from "../dataflow/connector.js";

export interface EnumeratedSource {
  readonly uid: string;
  readonly splits: readonly Split[];
  readonly totalRecords: number | null;
}

interface SourceSplits {
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
      this.sources.set(source.uid, { splits: source.splits, next: 0, answers: new Map() });
      total = total === null || source.totalRecords === null ? null : total + source.totalRecords;
    }
    this.totalRecords = sources.length === 0 ? null : total;
  }

  /** Undefined: the job has no such source. */
  answer(source: string, processId: string, ask: number): Split | null | undefined {
    const state = this.sources.get(source);
    if (state === undefined) return undefined;
    const last = state.answers.get(processId);
    if (last !== undefined && last.ask >= ask) return last.split;
    const split = state.splits[state.next] ?? null;
    if (split !== null) state.next += 1;
    state.answers.set(processId, { ask, split });
    return split;
  }
}
