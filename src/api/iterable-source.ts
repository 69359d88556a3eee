/**
 * The short form of a custom source: one endless or finite (async) iterable, read by one subtask. Boundary: nothing is split and a
 * position is a count, so resuming reads the iterable again and passes over what was given out before.
 */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { CancelSignal, OpenSourceOptions, SourceConnector, SourceReader, Split } from "../dataflow/connector.js";

export interface IterableSourceOptions {
  /** Default true. False: the iterable never ends, and the job is unbounded. */
  readonly bounded?: boolean;
}

/** `make` is called once per reader. An async iterable costs a promise per record; batch upstream, or write a SourceConnector, when that matters. */
export function fromAsyncIterable<T>(
  make: (options: { readonly signal: CancelSignal }) => AsyncIterable<T> | Iterable<T>,
  options: IterableSourceOptions = {},
): SourceConnector<T> {
  const split: Split = { id: "iterable", sizeHint: 1 };
  return {
    bounded: options.bounded ?? true,
    enumerate: () => Promise.resolve({ splits: [split], totalRecords: null, totalBytes: null }),
    open: (_split, position, open) => openIterable(make, position, open),
  };
}

async function openIterable<T>(
  make: (options: { readonly signal: CancelSignal }) => AsyncIterable<T> | Iterable<T>,
  position: JsonValue | null,
  { signal }: OpenSourceOptions,
): Promise<SourceReader<T>> {
  const iterable = make({ signal });
  const iterator = Symbol.asyncIterator in iterable ? iterable[Symbol.asyncIterator]() : iterable[Symbol.iterator]();
  const reader = new IterableReader<T>(iterator, signal);
  await reader.pass(typeof position === "number" ? position : 0);
  return reader;
}

/** What a pull gave: a record, the end, or (only when the caller would rather have the batch now) nothing yet. */
const NOT_YET = Symbol("not yet");

class IterableReader<T> implements SourceReader<T> {
  private given = 0;
  private ended = false;
  /** A pull that was begun and not yet awaited to its end. An iterator is never asked twice at once. */
  private pulling: Promise<IteratorResult<T>> | null = null;
  private readonly iterator: AsyncIterator<T> | Iterator<T>;
  private readonly signal: CancelSignal;

  constructor(iterator: AsyncIterator<T> | Iterator<T>, signal: CancelSignal) {
    this.iterator = iterator;
    this.signal = signal;
  }

  async pass(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const pulled = await this.abortable(this.pull());
      if (pulled.done === true) {
        this.ended = true;
        return;
      }
      this.given++;
    }
  }

  /** Waits for the first record only; then takes what comes without a real wait, so that a slow stream is not held back. */
  async next(out: T[], limit: number): Promise<number> {
    if (this.ended) return 0;
    let count = 0;
    while (count < limit) {
      const pulled = count === 0 ? await this.abortable(this.pull()) : await this.soon(this.pull());
      if (pulled === NOT_YET) break;
      if (pulled.done === true) {
        this.ended = true;
        break;
      }
      out[count++] = pulled.value;
    }
    this.given += count;
    return count;
  }

  position(): JsonValue {
    return this.given;
  }

  progress(): number {
    return this.ended ? 1 : 0;
  }

  /** Does not wait for an iterator that hangs: its `signal` is the way to end such a one. */
  close(): Promise<void> {
    if (!this.ended) {
      this.ended = true;
      const returned = this.iterator.return?.();
      if (returned instanceof Promise) returned.catch(() => undefined);
    }
    return Promise.resolve();
  }

  private pull(): Promise<IteratorResult<T>> {
    this.pulling ??= Promise.resolve(this.iterator.next()).catch((thrown: unknown) => {
      throw CodedError.from(thrown, "SOURCE_FAILED");
    });
    return this.pulling;
  }

  private async abortable(pull: Promise<IteratorResult<T>>): Promise<IteratorResult<T>> {
    this.signal.throwIfAborted();
    let stop: () => void = () => undefined;
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(new CodedError("ABORTED", "reading the source was cancelled", { cause: this.signal.reason }));
      this.signal.addEventListener("abort", stop, { once: true });
    });
    try {
      const pulled = await Promise.race([pull, aborted]);
      this.pulling = null;
      return pulled;
    } finally {
      this.signal.removeEventListener("abort", stop);
    }
  }

  /** A few turns of the microtask queue are given to an iterator that has its record at hand; one that waits for the world is NOT_YET. */
  private async soon(pull: Promise<IteratorResult<T>>): Promise<IteratorResult<T> | typeof NOT_YET> {
    let pulled: IteratorResult<T> | typeof NOT_YET = NOT_YET;
    let failed = false;
    let failure: unknown;
    pull.then(
      (result) => {
        pulled = result;
      },
      (thrown: unknown) => {
        failed = true;
        failure = thrown;
      },
    );
    for (let turn = 0; turn < 8 && pulled === NOT_YET && !failed; turn++) await undefined;
    if (failed) throw failure;
    if (pulled !== NOT_YET) this.pulling = null;
    return pulled;
  }
}
