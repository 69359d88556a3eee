/** User functions may be sync or async: the engine looks at what they return, and waits only when it has a `then`. */

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { readonly then?: unknown }).then === "function";
}

/** An iterable that is not an array, sync or async: read lazily, one record at a time. */
export function iteratorOf(value: unknown): AsyncIterator<unknown> | Iterator<unknown> | null {
  if (value === null || value === undefined) return null;
  const iterable = value as {
    readonly [Symbol.iterator]?: () => Iterator<unknown>;
    readonly [Symbol.asyncIterator]?: () => AsyncIterator<unknown>;
  };
  return iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]?.() ?? null;
}
