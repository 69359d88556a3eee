/**
 * A queue of instants, earliest first (a binary heap; ties in the order of insertion).
 *
 * Entries are never removed early: whoever takes one out compares it with the state it was made for, and ignores it when that has changed.
 */
export interface Deadline<T> {
  readonly at: number;
  readonly what: T;
}

export class Deadlines<T> {
  readonly #heap: { readonly at: number; readonly order: number; readonly what: T }[] = [];
  #inserted = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** Null when there is none. */
  earliest(): number | null {
    return this.#heap[0]?.at ?? null;
  }

  add(at: number, what: T): void {
    const heap = this.#heap;
    const entry = { at, order: this.#inserted++, what };
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !before(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  /** Takes out the earliest when it is due. */
  takeDue(now: number): Deadline<T> | null {
    const heap = this.#heap;
    const top = heap[0];
    if (top === undefined || top.at > now) return null;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      const right = heap[child + 1];
      if (left === undefined) break;
      let smallest = left;
      if (right !== undefined && before(right, left)) {
        smallest = right;
        child += 1;
      }
      if (!before(smallest, last)) break;
      heap[index] = smallest;
      index = child;
    }
    heap[index] = last;
    return top;
  }
}

const before = (a: { readonly at: number; readonly order: number }, b: { readonly at: number; readonly order: number }): boolean =>
  a.at < b.at || (a.at === b.at && a.order < b.order);
