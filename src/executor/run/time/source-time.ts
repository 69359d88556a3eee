/**
 * The event time of one source's subtask: watermarks from the times of the records that it reads.
 *
 * The watermark is the least of the splits that are being read; one that has had nothing for long holds the others up no more. Splits that follow may hold any times unless they are said to be in order: until the last of them is
 * given to somebody, event time stands still.
 *
 * Invariants: a watermark follows the records that it was made from; a source that was idle says that it is not before its next record.
 */
import { assert } from "../../../base/assert.js";
import { BEGINNING, END_OF_TIME, SourceWatermark } from "../../../dataflow/time/watermarks.js";
import type { Clock } from "../../../env/clock.js";
import type { ChainDriver } from "../subtask.js";
import { sourceFailed } from "../user-errors.js";

export interface EventTimeConfig {
  readonly outOfOrdernessMs: number;
  /** Null: never idle. */
  readonly idleAfterMs: number | null;
  /** Watermarks are not made more often. */
  readonly everyMs: number;
  readonly splits: "in-order" | "any-order";
}

export interface SourceTimeOptions {
  readonly uid: string;
  readonly driver: ChainDriver;
  readonly config: EventTimeConfig;
  readonly time: (record: unknown) => number;
  /** Further splits may be given to this subtask. */
  readonly hasMore: () => boolean;
  /** Of `idleAfter`. */
  readonly clock: Clock;
}

/** What is known of an open split. */
interface SplitTime {
  readonly watermark: SourceWatermark;
  /** It has had nothing to read since then; null: it is being read. */
  waitingSinceMs: number | null;
  idle: boolean;
}

/** `S` identifies a split. */
export class SourceTime<S> {
  private readonly options: SourceTimeOptions;
  private readonly splits = new Map<S, SplitTime>();
  /** By the splits that have ended, as far as it holds for later ones. */
  private reached = BEGINNING;
  /** While no split is open. */
  private waitingSinceMs: number | null = null;
  /** As it was told. */
  private idle = false;
  private madeAt = Number.NEGATIVE_INFINITY;

  constructor(options: SourceTimeOptions) {
    this.options = options;
  }

  opened(split: S): void {
    const watermark = new SourceWatermark(this.options.config.outOfOrdernessMs, this.reached);
    this.splits.set(split, { watermark, waitingSinceMs: null, idle: this.idle });
  }

  /** What it says of time must not outlive it: with the next split, which may hold any times, it may become known that there are no further ones. */
  ended(split: S): void {
    const known = this.splits.get(split);
    this.splits.delete(split);
    if (known !== undefined && this.options.config.splits === "in-order")
      this.reached = Math.max(this.reached, known.watermark.current);
  }

  /** The split has nothing to read for now. */
  waits(split: S): void {
    const known = this.splits.get(split);
    if (known !== undefined) known.waitingSinceMs ??= this.options.clock.now();
  }

  /** Before the records are given to the chain. */
  async read(split: S, records: readonly unknown[], count: number): Promise<void> {
    const known = this.splits.get(split);
    assert(known !== undefined, "records come from a split that is open");
    known.waitingSinceMs = null;
    known.idle = false;
    if (this.idle) await this.tell();
    const { time, uid } = this.options;
    let latest = BEGINNING;
    for (let i = 0; i < count; i++) {
      const timeMs = time(records[i]);
      if (!Number.isFinite(timeMs)) throw sourceFailed(uid, new TypeError(`the event time of a record is ${String(timeMs)}`));
      if (timeMs > latest) latest = timeMs;
    }
    if (count > 0) known.watermark.saw(latest);
  }

  /** Between two batches. */
  async advance(): Promise<void> {
    const now = this.options.driver.clock.now();
    if (now - this.madeAt < this.options.config.everyMs) return;
    this.madeAt = now;
    await this.tell();
  }

  /** Waits for the promise; what was read meanwhile makes its watermark, and after a while the source is idle. */
  async during<T>(promise: Promise<T>): Promise<T> {
    const { driver, clock, config } = this.options;
    this.waitingSinceMs = clock.now();
    const wake = () => driver.chain.wakeup.notify();
    const alarms = [driver.clock.at(this.madeAt + config.everyMs, wake), ...this.idleAt().map((atMs) => clock.at(atMs, wake))];
    try {
      return await driver.meanwhile(promise, async () => {
        await this.advance();
        if (!this.idle && this.isIdle()) await this.tell();
      });
    } finally {
      for (const alarm of alarms) alarm.cancel();
      this.waitingSinceMs = null;
    }
  }

  /** When splits that wait become idle. */
  private idleAt(): readonly number[] {
    const { idleAfterMs } = this.options.config;
    if (idleAfterMs === null) return [];
    const waiting = this.splits.size === 0 ? [{ waitingSinceMs: this.waitingSinceMs, idle: this.idle }] : [...this.splits.values()];
    return waiting.flatMap(({ waitingSinceMs, idle }) => (waitingSinceMs === null || idle ? [] : [waitingSinceMs + idleAfterMs]));
  }

  /** Takes note of the splits that have had nothing for long; whether all have. */
  private isIdle(): boolean {
    const { clock, config } = this.options;
    const { idleAfterMs } = config;
    const waitsLong = (sinceMs: number | null) => idleAfterMs !== null && sinceMs !== null && clock.now() - sinceMs >= idleAfterMs;
    if (this.splits.size === 0) return this.idle || waitsLong(this.waitingSinceMs);
    for (const split of this.splits.values()) if (waitsLong(split.waitingSinceMs)) split.idle = true;
    return [...this.splits.values()].every(({ idle }) => idle);
  }

  /** The least of the open splits, but for those that are idle. */
  private least(): number {
    const times = [...this.splits.values()];
    const counting = times.some(({ idle }) => !idle) ? times.filter(({ idle }) => !idle) : times;
    return counting.reduce(
      (least, { watermark }) => Math.min(least, watermark.current),
      times.length === 0 ? this.reached : END_OF_TIME,
    );
  }

  private async tell(): Promise<void> {
    const { driver, config, hasMore } = this.options;
    this.idle = this.isIdle();
    const isHeld = config.splits === "any-order" && hasMore();
    await driver.chain.time.advance({ ms: isHeld ? BEGINNING : this.least(), idle: this.idle });
  }
}
