/**
 * A split that is open: its reader, the batch that it gives next, and where to go on reading when that batch was not taken.
 *
 * Boundary: who takes which batch, and what becomes of it, is decided by the source's subtask.
 *
 * Invariants:
 *   1. The reader is asked for one batch at a time; each has its own array, so readers may be waited for together.
 *   2. `position` is that behind the last batch that was taken and done with; bad records that stand before a batch are told when it is taken.
 */
import type { JsonValue } from "../../base/json.js";
import type { BadRecord, CancelSignal, SourceConnector, SourceReader } from "../../dataflow/connector.js";
import type { AssignedSplit } from "./slice.js";

export interface SplitOpening {
  readonly connector: SourceConnector<unknown>;
  readonly signal: CancelSignal;
  /** Called when a batch is there that was waited for, or could not be had. */
  readonly onSettled: () => void;
}

export class SplitReading {
  readonly split: AssignedSplit["split"];
  /** Which of the splits that this subtask was given, from 0. */
  readonly nth: number;
  readonly records: unknown[] = [];
  /** Bad records that stand before the batch that is read now, in order. */
  badRecords: BadRecord[] = [];
  position: JsonValue | null;
  private reader: SourceReader<unknown> | null = null;
  private isPending = false;
  private outcome: { readonly count: number } | { readonly thrown: unknown } | null = null;
  private readonly options: SplitOpening;
  private opening: Promise<SourceReader<unknown>> | null = null;

  constructor({ split, position }: AssignedSplit, nth: number, options: SplitOpening) {
    this.split = split;
    this.position = position;
    this.nth = nth;
    this.options = options;
  }

  async open(): Promise<void> {
    const { connector, signal } = this.options;
    this.opening = connector.open(this.split, this.position, { signal, onBadRecord: (bad) => this.badRecords.push(bad) });
    this.reader = await this.opening;
  }

  /** A batch was asked for and is not there. */
  get isWaiting(): boolean {
    return this.isPending;
  }

  /** Of the split's size hint, how much has been read. */
  progress(): number {
    return this.reader?.progress() ?? 0;
  }

  /** The batch that was taken is done with. */
  passed(): void {
    if (this.reader !== null && !this.isPending && this.outcome === null) this.position = this.reader.position();
  }

  /** The number of records of the next batch, 0 at the end; null: they are waited for. Throws what the reader does. `limit` is of a batch that is not asked for yet. */
  take(limit: number): number | null {
    if (this.isPending || this.reader === null) return null;
    const { outcome } = this;
    if (outcome !== null) {
      this.outcome = null;
      if ("thrown" in outcome) throw outcome.thrown;
      return outcome.count;
    }
    const reading = this.reader.next(this.records, limit);
    if (typeof reading === "number") return reading;
    this.isPending = true;
    reading.then(
      (count) => this.settled({ count }),
      (thrown: unknown) => this.settled({ thrown }),
    );
    return null;
  }

  /** Also of a reader that is still being opened: it is waited for, and closed. */
  async close(): Promise<void> {
    const { opening } = this;
    this.opening = null;
    this.reader = null;
    const reader = await opening?.catch(() => null);
    await reader?.close();
  }

  private settled(outcome: NonNullable<SplitReading["outcome"]>): void {
    this.isPending = false;
    this.outcome = outcome;
    this.options.onSettled();
  }
}
