/** Waiting for a promise and for a signal at once. */

interface Waiters {
  readonly onAbort: () => void;
  readonly rejects: Set<(reason: unknown) => void>;
}

/** One listener a signal for any number of waits: hundreds of calls may wait with the same signal, and platforms warn from the 11th on. */
const waitersOf = new WeakMap<AbortSignal, Waiters>();

/** The promise's outcome, or the signal's reason as soon as it aborts. What the promise stands for goes on. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const waiters = waitersOf.get(signal) ?? listen(signal);
    waiters.rejects.add(reject);
    promise.then(resolve, reject).finally(() => {
      waiters.rejects.delete(reject);
      if (waiters.rejects.size > 0 || waitersOf.get(signal) !== waiters) return;
      signal.removeEventListener("abort", waiters.onAbort);
      waitersOf.delete(signal);
    });
  });
}

function listen(signal: AbortSignal): Waiters {
  const rejects = new Set<(reason: unknown) => void>();
  const onAbort = () => {
    waitersOf.delete(signal);
    for (const reject of rejects) reject(signal.reason);
  };
  const waiters = { onAbort, rejects };
  signal.addEventListener("abort", onAbort, { once: true });
  waitersOf.set(signal, waiters);
  return waiters;
}
