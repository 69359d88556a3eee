/**
 * What each worker has left, as an index that finds a worker for a process in logarithmic time (a tree of maxima over the workers in the
 * order of their ids).
 *
 * Invariants:
 *   1. `find` never names a worker with less free than asked for, in any dimension (I11).
 *   2. Equal histories give equal answers; ties go to the smallest id.
 *   3. Cores are counted in whole thousandths, so that sums are exact.
 */
export interface Amount {
  readonly milliCores: number;
  readonly memoryBytes: number;
}

export const PLACEMENTS = ["spread", "pack"] as const;
/** spread: the worker with the most free cores. pack: the first worker (by id) that has room. */
export type Placement = (typeof PLACEMENTS)[number];

export const amountOf = (resources: { readonly cores: number; readonly memoryBytes: number }): Amount => ({
  milliCores: Math.round(resources.cores * 1000),
  memoryBytes: resources.memoryBytes,
});

interface Entry {
  readonly id: string;
  total: Amount;
  freeCores: number;
  freeMemory: number;
  /** Position among the leaves; set when the tree is built. */
  leaf: number;
}

export class Capacity {
  readonly #entries = new Map<string, Entry>();
  #leaves: Entry[] = [];
  #width = 0;
  #cores = new Float64Array(0);
  #memory = new Float64Array(0);
  #stale = false;

  get size(): number {
    return this.#entries.size;
  }

  /** True when the next `find` has to rebuild the tree, which costs in proportion to the number of workers. */
  get stale(): boolean {
    return this.#stale;
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** Adds a worker, or replaces what it has. */
  put(id: string, total: Amount, used: Amount): void {
    const entry = this.#entries.get(id);
    const freeCores = total.milliCores - used.milliCores;
    const freeMemory = total.memoryBytes - used.memoryBytes;
    if (entry !== undefined) {
      entry.total = total;
      this.#setFree(entry, freeCores, freeMemory);
      return;
    }
    this.#entries.set(id, { id, total, freeCores, freeMemory, leaf: -1 });
    this.#stale = true;
  }

  remove(id: string): void {
    if (this.#entries.delete(id)) this.#stale = true;
  }

  take(id: string, amount: Amount): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#setFree(entry, entry.freeCores - amount.milliCores, entry.freeMemory - amount.memoryBytes);
  }

  give(id: string, amount: Amount): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#setFree(entry, entry.freeCores + amount.milliCores, entry.freeMemory + amount.memoryBytes);
  }

  free(id: string): Amount | null {
    const entry = this.#entries.get(id);
    return entry === undefined ? null : { milliCores: entry.freeCores, memoryBytes: entry.freeMemory };
  }

  total(id: string): Amount | null {
    return this.#entries.get(id)?.total ?? null;
  }

  ids(): IterableIterator<string> {
    return this.#entries.keys();
  }

  /** A worker with room for the amount, or null. */
  find(amount: Amount, placement: Placement): string | null {
    if (this.#stale) this.#build();
    if (this.#leaves.length === 0) return null;
    const leaf = placement === "pack" ? this.#first(1, amount) : this.#emptiest(1, 0, this.#width, amount, -1);
    return leaf < 0 ? null : (this.#leaves[leaf]?.id ?? null);
  }

  /** The same workers, each with `left(total, free)` of it free. */
  derive(left: (total: Amount, free: Amount) => Amount): Capacity {
    const derived = new Capacity();
    for (const entry of this.#entries.values()) {
      const free = left(entry.total, { milliCores: entry.freeCores, memoryBytes: entry.freeMemory });
      derived.#entries.set(entry.id, {
        id: entry.id,
        total: entry.total,
        freeCores: free.milliCores,
        freeMemory: free.memoryBytes,
        leaf: -1,
      });
    }
    derived.#stale = true;
    return derived;
  }

  #build(): void {
    this.#leaves = [...this.#entries.values()].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
    let width = 1;
    while (width < this.#leaves.length) width *= 2;
    this.#width = width;
    this.#cores = new Float64Array(2 * width).fill(-1);
    this.#memory = new Float64Array(2 * width).fill(-1);
    this.#leaves.forEach((entry, leaf) => {
      entry.leaf = leaf;
      this.#cores[width + leaf] = entry.freeCores;
      this.#memory[width + leaf] = entry.freeMemory;
    });
    for (let node = width - 1; node >= 1; node--) this.#pull(node);
    this.#stale = false;
  }

  #pull(node: number): void {
    this.#cores[node] = Math.max(this.#cores[2 * node] as number, this.#cores[2 * node + 1] as number);
    this.#memory[node] = Math.max(this.#memory[2 * node] as number, this.#memory[2 * node + 1] as number);
  }

  #setFree(entry: Entry, cores: number, memory: number): void {
    entry.freeCores = cores;
    entry.freeMemory = memory;
    if (this.#stale || entry.leaf < 0) return;
    let node = this.#width + entry.leaf;
    this.#cores[node] = cores;
    this.#memory[node] = memory;
    for (node >>= 1; node >= 1; node >>= 1) this.#pull(node);
  }

  #fits(node: number, amount: Amount): boolean {
    return (this.#cores[node] as number) >= amount.milliCores && (this.#memory[node] as number) >= amount.memoryBytes;
  }

  /** Leftmost leaf with room; a subtree whose maxima fit may still hold no single leaf that does, so the search may come back. */
  #first(node: number, amount: Amount): number {
    if (!this.#fits(node, amount)) return -1;
    if (node >= this.#width) return node - this.#width;
    const left = this.#first(2 * node, amount);
    return left >= 0 ? left : this.#first(2 * node + 1, amount);
  }

  /** Leaf with the most free cores that has room, the leftmost of equals; `best` is the best one found so far. */
  #emptiest(node: number, start: number, span: number, amount: Amount, best: number): number {
    if (!this.#fits(node, amount)) return best;
    if (best >= 0) {
      const bestCores = this.#cores[this.#width + best] as number;
      const here = this.#cores[node] as number;
      if (here < bestCores || (here === bestCores && start > best)) return best;
    }
    if (node >= this.#width) return node - this.#width;
    const half = span / 2;
    const leftFirst = (this.#cores[2 * node] as number) >= (this.#cores[2 * node + 1] as number);
    if (leftFirst)
      return this.#emptiest(2 * node + 1, start + half, half, amount, this.#emptiest(2 * node, start, half, amount, best));
    return this.#emptiest(2 * node, start, half, amount, this.#emptiest(2 * node + 1, start + half, half, amount, best));
  }
}
