/**
 * Which splits of each source are still to be read in the present try, and who got what.
 *
 * A reader is a subtask, whichever executor runs it. Splits that end are read one after the other, by whoever is free. Those of an endless source are read
 * together: each reader is given its share of them, and no further one.
 *
 * A reader that restarts alone goes back to the last complete checkpoint (`checkpointed`), or to its own start. What it was given since, or was reading, is
 * given to it again, before anything else and to nobody else: another reader's event time may have come further, and its share is its own anyway.
 *
 * Invariants: a split is handed to one reader, once a try; the same ask of the same reader gets the same answer, however often; of an endless source every
 * split is handed out as soon as all readers have asked for theirs.
 */
import { assert } from "../base/assert.js";
import type { JsonValue } from "../base/json.js";
import type { Split } from "../dataflow/connector.js";

export interface EnumeratedSource {
  readonly uid: string;
  /** Subtasks that may read it. */
  readonly subtasks: number;
  readonly splits: readonly Split[];
  /** Of a restored source, by split: where to begin. Absent: each at its start. */
  readonly positions?: ReadonlyMap<string, JsonValue>;
  readonly totalRecords: number | null;
  /** Its splits may never end. Absent: they do. */
  readonly isEndless?: boolean;
  /** Of a try that is taken over: who has which of them, by reader; all others are still to be given. */
  readonly given?: ReadonlyMap<string, GivenSplits>;
}

/** What one reader was given in a try: these, in order, behind `before` others that are read to their ends, as some of these may be. */
export interface GivenSplits {
  readonly before: number;
  readonly splits: readonly Split[];
  /** Asks that were answered, the last one with null if `isEnded`. */
  readonly asks: number;
  readonly isEnded: boolean;
}

export interface SplitAnswer {
  readonly split: Split | null;
  /** Null: at its start. */
  readonly position: JsonValue | null;
  /** How many subtasks read the source now, or will as soon as they ask: its rate is theirs together. */
  readonly readers: number;
  /** Splits are left that nobody was given. */
  readonly more: boolean;
  /** Whether one of these two is another one than before this ask. */
  readonly isNews: boolean;
}

/** How far a reader has come with what it was given of a source. */
export interface SourceMark {
  /** Splits that it had been given. */
  readonly taken: number;
  /** Those of them that are not read to their end: which (from 0, in the order in which they were given), and where it stands. */
  readonly reading: readonly { readonly nth: number; readonly position: JsonValue | null }[];
}

export interface RemainingSplit {
  readonly split: Split;
  readonly position: JsonValue | null;
}

export interface RemainingSource {
  readonly subtasks: number;
  readonly totalRecords: number | null;
  readonly splits: readonly RemainingSplit[];
}

interface SourceSplits {
  readonly subtasks: number;
  readonly splits: readonly Split[];
  readonly positions: Map<string, JsonValue>;
  readonly totalRecords: number | null;
  readonly isEndless: boolean;
  /** By split: where it stands among them. */
  readonly order: ReadonlyMap<string, number>;
  /** By reader: what it was given, in that order, behind `before` others. */
  readonly given: Map<string, { readonly before: number; readonly splits: Split[] }>;
  /** By reader: where it stood in them at the last complete checkpoint. */
  readonly marks: Map<string, SourceMark>;
  /** By reader: what was given to it before it restarted, and is only its. */
  readonly own: Map<string, Split[]>;
  next: number;
  /** By reader: its latest ask and what it was told. A reader asks one after the other. */
  readonly answers: Map<string, { readonly ask: number; readonly split: Split | null }>;
}

const NOTHING_TAKEN: SourceMark = { taken: 0, reading: [] };

export class SplitAssignment {
  readonly totalRecords: number | null;
  private readonly sources = new Map<string, SourceSplits>();

  constructor(sources: readonly EnumeratedSource[]) {
    let total: number | null = 0;
    for (const source of sources) {
      const { uid, subtasks, totalRecords, isEndless = false } = source;
      const order = new Map(source.splits.map(({ id }, index) => [id, index]));
      const positions = new Map(source.positions);
      const begun = { marks: new Map(), own: new Map(), ...handedOut(source) };
      this.sources.set(uid, { subtasks, positions, totalRecords, isEndless, order, ...begun });
      total = total === null || source.totalRecords === null ? null : total + source.totalRecords;
    }
    this.totalRecords = sources.length === 0 ? null : total;
  }

  /** Undefined: the job has no such source. */
  answer(source: string, reader: string, ask: number): SplitAnswer | undefined {
    const state = this.sources.get(source);
    if (state === undefined) return undefined;
    const last = state.answers.get(reader);
    if (last !== undefined && last.ask >= ask)
      return {
        split: last.split,
        position: positionOf(state, last.split),
        readers: readersOf(state),
        more: hasMoreFor(state, reader),
        isNews: false,
      };
    const before = { readers: readersOf(state), more: hasMore(state) };
    const own = state.own.get(reader)?.shift() ?? null;
    const split = own ?? (hasShare(state, reader) ? null : (state.splits[state.next] ?? null));
    if (split !== null) {
      if (own === null) state.next += 1;
      const given = state.given.get(reader);
      if (given === undefined) state.given.set(reader, { before: 0, splits: [split] });
      else given.splits.push(split);
    }
    state.answers.set(reader, { ask, split });
    const readers = readersOf(state);
    const isNews = readers !== before.readers || hasMore(state) !== before.more;
    return { split, position: positionOf(state, split), readers, more: hasMoreFor(state, reader), isNews };
  }

  /** Splits of the source are left that nobody has been given, or that are this reader's. */
  hasMore(source: string, reader = ""): boolean {
    const state = this.sources.get(source);
    return state !== undefined && hasMoreFor(state, reader);
  }

  /** A checkpoint is complete in which readers stood there; as `at` of `remaining`. */
  checkpointed(at: (source: string, reader: string) => SourceMark | undefined): void {
    for (const [uid, state] of this.sources) {
      for (const [reader, { before, splits }] of state.given)
        state.marks.set(reader, at(uid, reader) ?? { taken: before + splits.length, reading: [] });
    }
  }

  /** The reader begins again where it stood at the last complete checkpoint, with asks that are numbered from 1. */
  restart(reader: string): void {
    for (const state of this.sources.values()) {
      const { before, splits: given } = state.given.get(reader) ?? { before: 0, splits: [] };
      assert(before === 0, "a slice restarts alone in a try that its own driver has begun");
      const { taken, reading } = state.marks.get(reader) ?? NOTHING_TAKEN;
      const begun = reading.flatMap(({ nth, position }) => {
        const split = given[nth];
        if (split !== undefined && position !== null) state.positions.set(split.id, position);
        return split ?? [];
      });
      state.own.set(reader, [...begun, ...given.slice(taken), ...(state.own.get(reader) ?? [])]);
      state.given.delete(reader);
      state.answers.delete(reader);
      state.marks.delete(reader);
    }
  }

  /**
   * What is still to be read of each source, at a checkpoint: `at` says of a reader how many splits it had been given before the barrier, and where it stood
   * in those that it had not read to their end; undefined: it had read all that it was given.
   */
  remaining(at: (source: string, reader: string) => SourceMark | undefined): ReadonlyMap<string, RemainingSource> {
    const remaining = new Map<string, RemainingSource>();
    for (const [uid, state] of this.sources) {
      const { subtasks, totalRecords, splits, next } = state;
      const begun: RemainingSplit[] = [];
      const fresh: Split[] = [];
      for (const [reader, { before, splits: given }] of state.given) {
        const mark = at(uid, reader);
        if (mark === undefined) continue;
        const taken = mark.taken - before;
        assert(taken <= given.length, `${reader} was given ${before + given.length} splits of ${uid}, not ${mark.taken}`);
        for (const { nth, position } of mark.reading) {
          const split = nth < mark.taken ? given[nth - before] : undefined;
          assert(split !== undefined, `${reader} reads what it was given of ${uid}`);
          begun.push({ split, position: position ?? positionOf(state, split) });
        }
        fresh.push(...given.slice(Math.max(0, taken)));
      }
      for (const own of state.own.values()) fresh.push(...own);
      const untouched = fresh.map((split) => ({ split, position: positionOf(state, split) }));
      const rest = splits.slice(next).map((split) => ({ split, position: positionOf(state, split) }));
      // In the order of the source, which may be that of event time; those that nobody was given come behind all others anyway.
      const given = [...begun, ...untouched].sort((a, b) => orderOf(state, a.split) - orderOf(state, b.split));
      remaining.set(uid, { subtasks, totalRecords, splits: [...given, ...rest] });
    }
    return remaining;
  }
}

/** Those that somebody has come first, as they do when they are handed out one by one. */
function handedOut({ splits, given = new Map() }: EnumeratedSource): Pick<SourceSplits, "splits" | "given" | "next" | "answers"> {
  const held = new Set([...given.values()].flatMap((one) => one.splits.map(({ id }) => id)));
  const first = splits.filter(({ id }) => held.has(id));
  return {
    splits: [...first, ...splits.filter(({ id }) => !held.has(id))],
    next: first.length,
    given: new Map([...given].map(([reader, one]) => [reader, { before: one.before, splits: [...one.splits] }])),
    answers: new Map(
      [...given].flatMap(([reader, { asks, isEnded, splits: own }]) =>
        asks === 0 ? [] : [[reader, { ask: asks, split: isEnded ? null : (own.at(-1) ?? null) }] as const],
      ),
    ),
  };
}

function positionOf({ positions }: SourceSplits, split: Split | null): JsonValue | null {
  return split === null ? null : (positions.get(split.id) ?? null);
}

function orderOf({ order }: SourceSplits, split: Split): number {
  return order.get(split.id) ?? 0;
}

function hasMoreFor(state: SourceSplits, reader: string): boolean {
  return hasMore(state) || (state.own.get(reader)?.length ?? 0) > 0;
}

function hasMore({ splits, next }: SourceSplits): boolean {
  return next < splits.length;
}

/** Of an endless source a reader gets so many that all are read, and that no other one has two more. */
function hasShare(state: SourceSplits, reader: string): boolean {
  const { isEndless, splits, subtasks, given, own, order } = state;
  if (!isEndless) return false;
  // Of a try that was taken over some may have come to their end before.
  const held = (one: string): number => (given.get(one)?.splits ?? []).filter(({ id }) => order.has(id)).length;
  const shareOf = (one: string): number => held(one) + (own.get(one)?.length ?? 0);
  const share = shareOf(reader);
  const each = Math.floor(splits.length / subtasks);
  if (share !== each) return share > each;
  let larger = 0;
  for (const one of new Set([...given.keys(), ...own.keys()])) if (shareOf(one) > each) larger++;
  return larger >= splits.length % subtasks;
}

/** Those that have a split, or had one and restart, and of the others as many as there are splits left for. */
function readersOf({ subtasks, splits, next, answers, isEndless, given, own }: SourceSplits): number {
  let reading = 0;
  let ended = 0;
  for (const [reader, { split }] of answers) split !== null || (isEndless && given.has(reader)) ? reading++ : ended++;
  for (const [reader, left] of own) if (left.length > 0 && !answers.has(reader)) reading++;
  return reading + Math.max(0, Math.min(splits.length - next, subtasks - reading - ended));
}
