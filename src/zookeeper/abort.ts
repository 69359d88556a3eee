/** One listener for each signal, however many calls share it: signals are often those of a whole program. */

export class AbortListeners<T> {
  readonly #onAbort: (item: T, reason: unknown) => void;
  readonly #bySignal = new Map<AbortSignal, { readonly items: Set<T>; readonly listener: () => void }>();

  constructor(onAbort: (item: T, reason: unknown) => void) {
    this.#onAbort = onAbort;
  }

  add(signal: AbortSignal, item: T): void {
    const present = this.#bySignal.get(signal);
    if (present !== undefined) {
      present.items.add(item);
      return;
    }
    const items = new Set([item]);
    const listener = (): void => {
      this.#bySignal.delete(signal);
      for (const aborted of items) this.#onAbort(aborted, signal.reason);
    };
    this.#bySignal.set(signal, { items, listener });
    signal.addEventListener("abort", listener, { once: true });
  }

  remove(signal: AbortSignal, item: T): void {
    const present = this.#bySignal.get(signal);
    if (present === undefined || !present.items.delete(item) || present.items.size > 0) return;
    signal.removeEventListener("abort", present.listener);
    this.#bySignal.delete(signal);
  }
}
