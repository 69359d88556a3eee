/**
 * What a slice has to tell a driver attempt that would take its try over: which splits it was given since the last checkpoint that may be complete, and
 * where its sources stood at it.
 *
 * Invariants:
 *   1. A split is noted before the slice has it, and in the order in which it was given.
 *   2. A mark is kept for the newest checkpoint that is known to be complete, and for the newest one that was answered: no other one can be the
 *      last complete checkpoint of the try.
 *   3. Splits are forgotten only behind the older of these marks, or when there are more than MAX_OFFERED_SPLITS: what is missing shows in `before`.
 */
import type { SourceMark } from "../../wire/checkpoint.js";
import { MAX_OFFERED_SPLITS, type OfferedSlice } from "../../wire/executor-messages.js";
import type { Progress } from "../../wire/progress.js";
import type { SliceOrder } from "./executor-events.js";

interface Mark {
  readonly id: number;
  readonly sources: Readonly<Record<string, SourceMark>>;
}

interface Given {
  asks: number;
  isEnded: boolean;
  /** Splits that were given before those in `splits`. */
  before: number;
  splits: unknown[];
}

export class SliceLedger {
  readonly order: SliceOrder;
  private readonly sources = new Map<string, Given>();
  private answered: Mark | null = null;
  private complete: Mark | null = null;
  private confirmed = 0;
  private progress: Progress | null = null;

  constructor(order: SliceOrder) {
    this.order = order;
  }

  /** Null: the source has no more. An ask is noted once. */
  given(source: string, ask: number, split: unknown): void {
    const given = this.sources.get(source) ?? { asks: 0, isEnded: false, before: 0, splits: [] };
    this.sources.set(source, given);
    if (ask <= given.asks) return;
    given.asks = ask;
    if (split === null) {
      given.isEnded = true;
      return;
    }
    given.splits.push(split);
    if (given.splits.length > MAX_OFFERED_SPLITS) forget(given, given.before + 1);
  }

  /** Its part of this checkpoint is durable. */
  took(id: number, sources: Readonly<Record<string, SourceMark>>): void {
    if (this.answered === null || this.answered.id < id) this.answered = { id, sources };
  }

  /** The driver says that this checkpoint of the try, and all before it, are complete. */
  confirm(id: number): void {
    if (id <= this.confirmed) return;
    this.confirmed = id;
    if (this.answered?.id !== id) return;
    this.complete = this.answered;
    for (const [source, { taken, reading }] of Object.entries(this.complete.sources)) {
      const given = this.sources.get(source);
      // What was not read to its end at the barrier is read on from there.
      if (given !== undefined) forget(given, Math.min(taken, ...reading.map(({ nth }) => nth)));
    }
  }

  count(progress: Progress): void {
    this.progress = progress;
  }

  offer(driver: number, isDone: boolean): OfferedSlice {
    const marks = [this.complete, this.answered].filter((mark): mark is Mark => mark !== null);
    const sources = [...this.sources].map(([source, { asks, isEnded, before, splits }]) => [
      source,
      { asks, isEnded, before, given: [...splits] },
    ]);
    return {
      driver,
      order: this.order,
      isDone,
      sources: Object.fromEntries(sources),
      marks: marks
        .filter(({ id }, index) => index === 0 || id !== marks[0]?.id)
        .map(({ id, sources }) => ({ id, sources: { ...sources } })),
      ...(this.progress === null ? {} : { progress: this.progress }),
      confirmed: this.confirmed,
    };
  }
}

/** So that at least `before` of all splits are forgotten. */
function forget(given: Given, before: number): void {
  const count = Math.min(before - given.before, given.splits.length);
  if (count <= 0) return;
  given.splits.splice(0, count);
  given.before += count;
}
