/** A binary heap: the least value first. Of equal values the one that was put in first comes first, so that what follows from the order is repeatable. */

interface Entry<T> {
  readonly value: T;
  readonly rank: number;
  readonly sequence: number;
}

export class MinHeap<T> {
  private readonly rankOf: (value: T) => number;
  private entries: Entry<T>[] = [];
  private puts = 0;

  /** `rankOf` is asked once for each value, when it is put in. */
  constructor(rankOf: (value: T) => number) {
    this.rankOf = rankOf;
  }

  get size(): number {
    return this.entries.length;
  }

  /** The rank of the least value; null: it is empty. */
  least(): number | null {
    return this.entries[0]?.rank ?? null;
  }

  put(value: T): void {
    const entry = { value, rank: this.rankOf(value), sequence: this.puts++ };
    let at = this.entries.length;
    this.entries.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = this.entries[parent];
      if (above === undefined || !isBefore(entry, above)) break;
      this.entries[at] = above;
      at = parent;
    }
    this.entries[at] = entry;
  }

  /** Takes the least value out. */
  take(): T | undefined {
    const [first] = this.entries;
    const last = this.entries.pop();
    if (first === undefined || last === undefined) return undefined;
    if (this.entries.length > 0) this.sink(last);
    return first.value;
  }

  clear(): void {
    this.entries = [];
  }

  private sink(entry: Entry<T>): void {
    const { entries } = this;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const [left, right] = [entries[child], entries[child + 1]];
      if (left === undefined) break;
      let below = left;
      if (right !== undefined && isBefore(right, left)) {
        below = right;
        child += 1;
      }
      if (!isBefore(below, entry)) break;
      entries[at] = below;
      at = child;
    }
    entries[at] = entry;
  }
}

function isBefore<T>(one: Entry<T>, other: Entry<T>): boolean {
  return one.rank < other.rank || (one.rank === other.rank && one.sequence < other.sequence);
}
