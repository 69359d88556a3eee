/**
 * The event time of one source's subtask: watermarks from the times of the records that it reads.
 *
 * The watermark is that of the split that is being read. Splits that follow may hold any times unless they are said to be in order: until the last of them is
 * given to somebody, event time stands still.
 *
 * Invariants: a watermark follows the records that it was made from; a source that was idle says that it is not before its next record.
 */
import { BEGINNING, SourceWatermark } from "../../../dataflow/time/watermarks.js";
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

export class SourceTime {
  private readonly options: SourceTimeOptions;
  private watermark: SourceWatermark;
  private idle = false;
  private madeAt = Number.NEGATIVE_INFINITY;

  constructor(options: SourceTimeOptions) {
    this.options = options;
    this.watermark = new SourceWatermark(options.config.outOfOrdernessMs);
  }

  /** What it says of time must not outlive it: with the next split, which may hold any times, it may become known that there are no further ones. */
  splitEnded(): void {
    const { splits, outOfOrdernessMs } = this.options.config;
    if (splits === "any-order") this.watermark = new SourceWatermark(outOfOrdernessMs);
  }

  /** Before the records are given to the chain. */
  async read(records: readonly unknown[], count: number): Promise<void> {
    if (this.idle) await this.tell(false);
    const { time, uid } = this.options;
    let latest = BEGINNING;
    for (let i = 0; i < count; i++) {
      const timeMs = time(records[i]);
      if (!Number.isFinite(timeMs)) throw sourceFailed(uid, new TypeError(`the event time of a record is ${String(timeMs)}`));
      if (timeMs > latest) latest = timeMs;
    }
    if (count > 0) this.watermark.saw(latest);
  }

  /** Between two batches. */
  async advance(): Promise<void> {
    const now = this.options.driver.clock.now();
    if (now - this.madeAt < this.options.config.everyMs) return;
    this.madeAt = now;
    await this.tell(this.idle);
  }

  /** Waits for the promise; what was read meanwhile makes its watermark, and after a while the source is idle. */
  async during<T>(promise: Promise<T>): Promise<T> {
    const { driver, clock, config } = this.options;
    const { idleAfterMs, everyMs } = config;
    const since = clock.now();
    const wake = () => driver.chain.wakeup.notify();
    const watermark = driver.clock.at(this.madeAt + everyMs, wake);
    const idleness = idleAfterMs === null ? null : clock.at(since + idleAfterMs, wake);
    try {
      return await driver.meanwhile(promise, async () => {
        await this.advance();
        if (idleAfterMs !== null && !this.idle && clock.now() - since >= idleAfterMs) await this.tell(true);
      });
    } finally {
      watermark.cancel();
      idleness?.cancel();
    }
  }

  private async tell(idle: boolean): Promise<void> {
    const { driver, config, hasMore } = this.options;
    this.idle = idle;
    const isHeld = config.splits === "any-order" && hasMore();
    await driver.chain.time.advance({ ms: isHeld ? BEGINNING : this.watermark.current, idle });
  }
}
