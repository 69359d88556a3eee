/**
 * Shares the event loop between the subtasks of a process and everything else in it: after every PAUSE_EVERY_MS of work all of them let the
 * loop turn once. One pacer per slice (or per test run), so that subtasks that hand batches to each other can't starve the rest.
 */
import type { Clock } from "../../env/clock.js";

export const PAUSE_EVERY_MS = 5;

export class Pacer {
  private readonly clock: Clock;
  private readonly yieldToLoop: () => Promise<void>;
  private pausedAt: number;

  constructor(clock: Clock, yieldToLoop: () => Promise<void>) {
    this.clock = clock;
    this.yieldToLoop = yieldToLoop;
    this.pausedAt = clock.now();
  }

  now(): number {
    return this.clock.now();
  }

  isDue(now: number): boolean {
    return now - this.pausedAt >= PAUSE_EVERY_MS;
  }

  async pause(): Promise<void> {
    await this.yieldToLoop();
    this.pausedAt = this.clock.now();
  }
}
