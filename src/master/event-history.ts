/**
 * The history of events: this leader's own and, from the records, those of the leaders before it.
 *
 * Invariants:
 *   1. With records nothing is in `after` before it is in a record of the same turn, so whoever has seen an event finds it, and all before
 *      it, at every later leader (bounded: the oldest are forgotten, MAX_EVENT_BATCHES and `maxEvents`).
 *   2. Events are in the order of (epoch, seq).
 *   3. What earlier leaders left is decoded only when somebody asks for it: a take-over does not wait for it.
 */
import type { RecordChange, Turn } from "../base/core.js";
import { decodeEvents, encodeEvents, eventsKey } from "../wire/event-records.js";
import type { EventView } from "../wire/views.js";

/** Records of events that are kept. A busy leader puts many events into each, an idle one a single one. */
export const MAX_EVENT_BATCHES = 1024;
export const MAX_BATCH_EVENTS = 32;

/** A batch of events as it was read. */
export interface StoredEvents {
  readonly batch: number;
  readonly value: Uint8Array;
}

export interface EventCursor {
  readonly epoch: number;
  readonly seq: number;
}

/** The record of a turn's events, encoded when the turn is committed: until then further steps of the turn add theirs. */
class OpenBatch implements RecordChange {
  readonly key: string;
  readonly events: EventView[] = [];
  readonly turn: object;
  #encoded: Uint8Array | null = null;

  constructor(batch: number, turn: object) {
    this.key = eventsKey(batch);
    this.turn = turn;
  }

  get isClosed(): boolean {
    return this.#encoded !== null;
  }

  get value(): Uint8Array {
    this.#encoded ??= encodeEvents(this.events);
    return this.#encoded;
  }
}

export class EventHistory {
  readonly #maxEvents: number;
  readonly #recorded: boolean;
  /** Of earlier leaders, not decoded yet, oldest first. */
  readonly #older: StoredEvents[];
  /** Numbers of the batches in the store, from the first to before the next. */
  #firstBatch: number;
  #nextBatch: number;
  #ring: EventView[] = [];
  /** Emitted, and not in a record yet. */
  #pending: EventView[] = [];
  #open: OpenBatch | null = null;
  #unreadable: string[] = [];

  constructor(options: {
    readonly maxEvents: number;
    /** Whether events are records; otherwise they end with this leader. */
    readonly recorded: boolean;
    readonly stored: readonly StoredEvents[];
  }) {
    this.#maxEvents = options.maxEvents;
    this.#recorded = options.recorded;
    this.#older = [...options.stored].sort((a, b) => a.batch - b.batch);
    this.#nextBatch = (this.#older.at(-1)?.batch ?? 0) + 1;
    this.#firstBatch = this.#older[0]?.batch ?? this.#nextBatch;
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  emit(event: EventView): void {
    if (this.#recorded) this.#pending.push(event);
    else this.#show(event);
  }

  /** What was emitted becomes a record of this turn, and is shown from then on. */
  write(turn: Turn<unknown>): void {
    for (const event of this.#pending) {
      this.#batchOf(turn).events.push(event);
      this.#show(event);
    }
    this.#pending = [];
  }

  /** Those after the cursor (null: from the oldest one), at most `limit`. */
  after(cursor: EventCursor | null, limit: number): EventView[] {
    this.#decodeBack(cursor);
    const ring = this.#ring;
    if (cursor === null) return ring.slice(0, limit);
    let low = 0;
    let high = ring.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const event = ring[middle];
      if (event !== undefined && isAfter(event, cursor)) high = middle;
      else low = middle + 1;
    }
    return ring.slice(low, low + limit);
  }

  /** Records that turned out to be unreadable since the last call: their events are missing. */
  takeUnreadable(): readonly string[] {
    const found = this.#unreadable;
    if (found.length > 0) this.#unreadable = [];
    return found;
  }

  /** At the end of the turn's writes, so that a record never comes after the event that tells of it. */
  #batchOf({ writes }: Turn<unknown>): OpenBatch {
    const open = this.#open;
    if (open !== null && open.turn === writes && !open.isClosed && open.events.length < MAX_BATCH_EVENTS) {
      if (writes.at(-1) !== open) {
        writes.splice(writes.lastIndexOf(open), 1);
        writes.push(open);
      }
      return open;
    }
    const batch = new OpenBatch(this.#nextBatch, writes);
    this.#nextBatch += 1;
    this.#open = batch;
    for (; this.#nextBatch - this.#firstBatch > MAX_EVENT_BATCHES; this.#firstBatch += 1) {
      writes.push({ key: eventsKey(this.#firstBatch), value: null });
      if (this.#older[0]?.batch === this.#firstBatch) this.#older.shift();
    }
    writes.push(batch);
    return batch;
  }

  #show(event: EventView): void {
    this.#ring.push(event);
    // Cutting a tenth at a time keeps the cost of a full ring constant per event. What is older than the ring's first one goes before it.
    if (this.#ring.length <= this.#maxEvents * 1.1) return;
    this.#ring.splice(0, this.#ring.length - this.#maxEvents);
    this.#older.length = 0;
  }

  /** Decodes from the newest on, until the cursor is reached. */
  #decodeBack(cursor: EventCursor | null): void {
    const found: (readonly EventView[])[] = [];
    let count = this.#ring.length;
    let first = this.#ring[0];
    while (count < this.#maxEvents && (cursor === null || first === undefined || isAfter(first, cursor))) {
      const stored = this.#older.pop();
      if (stored === undefined) break;
      const decoded = decodeEvents(stored.value);
      if (!decoded.ok) {
        this.#unreadable.push(`${eventsKey(stored.batch)} (${decoded.reason})`);
        continue;
      }
      found.push(decoded.record);
      count += decoded.record.length;
      first = decoded.record[0] ?? first;
    }
    if (found.length > 0) this.#ring = [...found.reverse().flat(), ...this.#ring];
  }
}

const isAfter = (event: EventCursor, cursor: EventCursor): boolean =>
  event.epoch > cursor.epoch || (event.epoch === cursor.epoch && event.seq > cursor.seq);
