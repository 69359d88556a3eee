/**
 * Timers of keys: each an instant at which a key wants to be called. `K` identifies a key by `===`.
 *
 * Invariants: a key has at most one timer for an instant; timers come in the order of their instants (of equal ones in the order in which they were set); what
 * was deleted never comes, and takes no more room than the timers that live.
 */
import { MinHeap } from "./min-heap.js";

export interface Timer<K> {
  readonly key: K;
  readonly at: number;
}

/** Deleted timers stay in the heap until their instant, or until they are more than these and than those that live. */
const MAX_STALE = 64;

export class TimerQueue<K> {
  private readonly heap = new MinHeap<Timer<K>>((timer) => timer.at);
  /** Most keys have one timer: a set for each would be dear. */
  private readonly instants = new Map<K, number | Set<number>>();
  private count = 0;

  /** Timers that live. */
  get size(): number {
    return this.count;
  }

  /** Again the same is no second one. */
  set(key: K, at: number): void {
    const known = this.instants.get(key);
    if (known === at || (known instanceof Set && known.has(at))) return;
    if (known === undefined) this.instants.set(key, at);
    else if (known instanceof Set) known.add(at);
    else this.instants.set(key, new Set([known, at]));
    this.count++;
    this.heap.put({ key, at });
  }

  delete(key: K, at: number): void {
    if (!this.forget(key, at)) return;
    if (this.heap.size - this.count > Math.max(MAX_STALE, this.count)) this.rebuild();
  }

  /** The instants of a key, in no order. */
  of(key: K): readonly number[] {
    return instantsOf(this.instants.get(key));
  }

  /** Not after the next timer; null: there is none. */
  next(): number | null {
    return this.count === 0 ? null : this.heap.least();
  }

  /** Takes out the first timer whose instant is not after `now`. */
  take(now: number): Timer<K> | null {
    for (;;) {
      const least = this.heap.least();
      if (least === null || least > now) return null;
      const timer = this.heap.take();
      if (timer !== undefined && this.forget(timer.key, timer.at)) return timer;
    }
  }

  clear(): void {
    this.heap.clear();
    this.instants.clear();
    this.count = 0;
  }

  /** False: there is no such timer. */
  private forget(key: K, at: number): boolean {
    const known = this.instants.get(key);
    if (known instanceof Set ? !known.has(at) : known !== at) return false;
    if (known instanceof Set && known.size > 1) known.delete(at);
    else this.instants.delete(key);
    this.count--;
    return true;
  }

  private rebuild(): void {
    this.heap.clear();
    for (const [key, instants] of this.instants) for (const at of instantsOf(instants)) this.heap.put({ key, at });
  }
}

function instantsOf(instants: number | Set<number> | undefined): readonly number[] {
  if (instants === undefined) return [];
  return typeof instants === "number" ? [instants] : [...instants];
}
