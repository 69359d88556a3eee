/**
 * Slots of keyed state by id, in the order in which they came: what a Map does, in half of its time for text, without its bound of 16.7 million entries, and without
 * the pause in which a Map moves all of them when it grows (50 ms at a million keys, 0.3 s at five).
 *
 * An open hash table of numbers (for each bucket the place of a slot and its hash) stands beside pages of slots. When it is half full a larger one is begun, to
 * which every slot that is put, and every look-up in vain, moves a few buckets of the old one; until that is done both are looked through.
 *
 * Invariants:
 *   1. An id is in one place: a bucket of `table`, a bucket of `older` that has not been moved, or `spilled`.
 *   2. From the bucket where an id belongs to the one where it is, none is free; they are at most MAX_PROBES. What finds none of these is spilled, so keys that
 *      were made to have equal hashes cost what a Map costs. NaN, which is equal to nothing, is spilled, too.
 *   3. No call takes longer than some hundred buckets, however many slots there are.
 */
import { hashKey } from "../../../dataflow/hash.js";

/** Buckets that are looked at for one id. By chance so many are never in a row while half of the buckets are free. */
export const MAX_PROBES = 256;
const FIRST_BUCKETS = 16;
/** Of the old table, for each slot that is put. Two would be enough for it to be empty before the next one is begun. */
const MOVED_BUCKETS = 8;
const PAGE_BITS = 12;
const PAGE_MASK = (1 << PAGE_BITS) - 1;

/** In place of a place (which are counted from 1). */
const FREE = 0;
const GONE = -1;
const NONE = -1;

interface Identified {
  readonly id: unknown;
}

export class SlotIndex<S extends Identified> {
  private table = new Int32Array(FIRST_BUCKETS * 2);
  private mask = FIRST_BUCKETS - 1;
  /** Buckets of `table` that are not free, or will not be when everything has moved there. */
  private used = 0;
  private older: Int32Array | null = null;
  private olderMask = 0;
  /** Buckets of `older` before this one have moved. */
  private moved = 0;
  private readonly spilled = new Map<unknown, number>();
  private pages: (S | undefined)[][] = [];
  /** Places that were given so far, and those of them that are free again. */
  private end = 0;
  private vacant: number[] = [];
  private count = 0;

  get size(): number {
    return this.count;
  }

  get(id: unknown): S | undefined {
    const hash = hashKey(id);
    const { table, mask, pages } = this;
    let bucket = hash & mask;
    for (let probes = 0; probes < MAX_PROBES; probes++) {
      const place = table[bucket * 2] as number;
      if (place === FREE) break;
      if (place > 0 && table[bucket * 2 + 1] === hash) {
        const slot = (pages[(place - 1) >> PAGE_BITS] as (S | undefined)[])[(place - 1) & PAGE_MASK] as S;
        if (slot.id === id) return slot;
      }
      bucket = (bucket + 1) & mask;
    }
    return this.older === null && this.spilled.size === 0 ? undefined : this.getElsewhere(id, hash);
  }

  has(id: unknown): boolean {
    return this.get(id) !== undefined;
  }

  /** In place of what has the same id, if that is there. */
  put(slot: S): void {
    const { id } = slot;
    const hash = hashKey(id);
    const known = this.placeOf(id, hash);
    if (known !== 0) {
      this.store(known, slot);
      return;
    }
    const place = this.vacant.pop() ?? ++this.end;
    this.store(place, slot);
    this.count += 1;
    // NaN would not be found in any bucket.
    if (Number.isNaN(id)) this.spilled.set(id, place);
    else this.enter(hash, place);
    this.used += 1;
    if (this.older !== null) this.move(this.older, MOVED_BUCKETS);
    if (this.used * 2 > this.mask) this.grow();
  }

  delete(id: unknown): boolean {
    const place = this.forget(id, hashKey(id));
    if (place === 0) return false;
    const page = this.pages[(place - 1) >> PAGE_BITS] as (S | undefined)[];
    page[(place - 1) & PAGE_MASK] = undefined;
    this.vacant.push(place);
    this.count -= 1;
    return true;
  }

  clear(): void {
    this.table = new Int32Array(FIRST_BUCKETS * 2);
    this.mask = FIRST_BUCKETS - 1;
    this.older = null;
    this.spilled.clear();
    this.pages = [];
    this.vacant = [];
    this.used = 0;
    this.end = 0;
    this.count = 0;
  }

  /** So many will be put: the table need not grow for them. Only while it is empty. */
  expect(count: number): void {
    if (this.count > 0) return;
    let buckets = FIRST_BUCKETS;
    while (buckets < count * 2) buckets *= 2;
    this.table = new Int32Array(buckets * 2);
    this.mask = buckets - 1;
  }

  /** In the order in which they came, where none was deleted. What is put meanwhile may be among them. */
  values(): IterableIterator<S> {
    let at = 0;
    const next = (): IteratorResult<S> => {
      while (at < this.end) {
        const slot = this.pages[at >> PAGE_BITS]?.[at & PAGE_MASK];
        at += 1;
        if (slot !== undefined) return { done: false, value: slot };
      }
      return { done: true, value: undefined };
    };
    const iterator: IterableIterator<S> = { next, [Symbol.iterator]: () => iterator };
    return iterator;
  }

  /** Whoever asks helps to move, so that also a table to which nothing more comes is one at last. */
  private getElsewhere(id: unknown, hash: number): S | undefined {
    if (this.older !== null) this.move(this.older, MOVED_BUCKETS);
    const place = this.placeOf(id, hash);
    return place === 0 ? undefined : this.at(place);
  }

  private at(place: number): S | undefined {
    return (this.pages[(place - 1) >> PAGE_BITS] as (S | undefined)[])[(place - 1) & PAGE_MASK];
  }

  private store(place: number, slot: S): void {
    const number = (place - 1) >> PAGE_BITS;
    let page = this.pages[number];
    if (page === undefined) {
      page = [];
      this.pages[number] = page;
    }
    page[(place - 1) & PAGE_MASK] = slot;
  }

  /** 0: it is not there. */
  private placeOf(id: unknown, hash: number): number {
    const bucket = this.bucketOf(this.table, this.mask, id, hash);
    if (bucket !== NONE) return this.table[bucket * 2] as number;
    const { older } = this;
    if (older !== null) {
      const before = this.bucketOf(older, this.olderMask, id, hash);
      if (before !== NONE) return older[before * 2] as number;
    }
    return this.spilled.size === 0 ? 0 : (this.spilled.get(id) ?? 0);
  }

  private bucketOf(table: Int32Array, mask: number, id: unknown, hash: number): number {
    let bucket = hash & mask;
    for (let probes = 0; probes < MAX_PROBES; probes++) {
      const place = table[bucket * 2] as number;
      if (place === FREE) return NONE;
      if (place > 0 && table[bucket * 2 + 1] === hash && this.at(place)?.id === id) return bucket;
      bucket = (bucket + 1) & mask;
    }
    return NONE;
  }

  /** The id is not there. */
  private enter(hash: number, place: number): void {
    const { table, mask } = this;
    let bucket = hash & mask;
    for (let probes = 0; probes < MAX_PROBES; probes++) {
      if (table[bucket * 2] === FREE) {
        table[bucket * 2] = place;
        table[bucket * 2 + 1] = hash;
        return;
      }
      bucket = (bucket + 1) & mask;
    }
    this.spilled.set(this.at(place)?.id, place);
  }

  /** The place that the id had; 0: none. */
  private forget(id: unknown, hash: number): number {
    for (const [table, mask] of [[this.table, this.mask] as const, [this.older, this.olderMask] as const]) {
      const bucket = table === null ? NONE : this.bucketOf(table, mask, id, hash);
      if (table === null || bucket === NONE) continue;
      const place = table[bucket * 2] as number;
      table[bucket * 2] = GONE;
      return place;
    }
    const place = this.spilled.get(id) ?? 0;
    this.spilled.delete(id);
    return place;
  }

  private grow(): void {
    if (this.older !== null) this.move(this.older, this.olderMask + 1);
    this.older = this.table;
    this.olderMask = this.mask;
    this.moved = 0;
    // Where most buckets are of slots that went, the new table is no larger.
    const buckets = this.mask + 1;
    const wanted = this.count * 4 > buckets ? buckets * 2 : buckets;
    this.table = new Int32Array(wanted * 2);
    this.mask = wanted - 1;
    this.used = this.count;
  }

  private move(older: Int32Array, buckets: number): void {
    const end = Math.min(this.olderMask + 1, this.moved + buckets);
    for (let bucket = this.moved; bucket < end; bucket++) {
      const place = older[bucket * 2] as number;
      if (place <= 0) continue;
      older[bucket * 2] = GONE;
      // Slots themselves are not looked at: each would have to be fetched from memory.
      this.enter(older[bucket * 2 + 1] as number, place);
    }
    this.moved = end;
    if (end > this.olderMask) this.older = null;
  }
}
