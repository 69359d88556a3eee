/** A token bucket: how many records a subtask may read now, so that all subtasks of a source together keep its rate. */

/** What may be caught up after a pause, in milliseconds of the rate. */
const BURST_MS = 100;
/** Waits are at least so long, so that fast rates read batches instead of single records. */
const MIN_WAIT_MS = 10;

export class RateLimiter {
  private readonly ratePerSecond: number;
  private readonly readers: () => number;
  private tokens = 0;
  private countedAt: number;

  /** `readers`: how many subtasks share the rate now. */
  constructor(ratePerSecond: number, readers: () => number, now: number) {
    this.ratePerSecond = ratePerSecond;
    this.readers = readers;
    this.countedAt = now;
  }

  /** How many records may be read at this instant, at most `limit`; maybe 0. */
  allowed(now: number, limit: number): number {
    const share = this.share();
    this.tokens = Math.min(Math.max(1, (share * BURST_MS) / 1_000), this.tokens + (share * (now - this.countedAt)) / 1_000);
    this.countedAt = now;
    return Math.min(limit, Math.floor(this.tokens));
  }

  taken(count: number): void {
    this.tokens -= count;
  }

  /** How long until at least one record may be read. */
  waitMs(): number {
    return Math.max(MIN_WAIT_MS, ((1 - this.tokens) * 1_000) / this.share());
  }

  private share(): number {
    return this.ratePerSecond / Math.max(1, this.readers());
  }
}
