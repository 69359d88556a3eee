/**
 * The executors of this driver attempt: who is connected, who is expected back, who was given up.
 * Invariant: an executor that was given up (released) never comes back.
 */
import { MAX_PARALLELISM } from "../wire/application.js";

/** The newest are kept; the master has long taken note of older ones. */
export const MAX_RELEASED = 4 * MAX_PARALLELISM;

export interface Executor {
  readonly processId: string;
  readonly pid: number;
  readonly dataAddress: string;
  /** Null: its connection broke, and it may come back until `reconnectUntil`. */
  link: number | null;
  reconnectUntil: number | null;
  /** Since when it is without connection; only while it is. */
  disconnectedAt: number;
}

export class Roster {
  /** In the order in which they first came. */
  private readonly executors = new Map<string, Executor>();
  private readonly released = new Set<string>();

  get(processId: string): Executor | undefined {
    return this.executors.get(processId);
  }

  byLink(link: number): Executor | undefined {
    for (const executor of this.executors.values()) if (executor.link === link) return executor;
    return undefined;
  }

  all(): readonly Executor[] {
    return [...this.executors.values()];
  }

  connected(): readonly Executor[] {
    return this.all().filter((executor) => executor.link !== null);
  }

  isReleased(processId: string): boolean {
    return this.released.has(processId);
  }

  releasedIds(): string[] {
    return [...this.released];
  }

  connect(processId: string, pid: number, dataAddress: string, link: number): void {
    const known = this.executors.get(processId);
    if (known === undefined)
      this.executors.set(processId, { processId, pid, dataAddress, link, reconnectUntil: null, disconnectedAt: 0 });
    else {
      known.link = link;
      known.reconnectUntil = null;
    }
  }

  disconnect(executor: Executor, now: number, reconnectMs: number): void {
    executor.link = null;
    executor.disconnectedAt = now;
    executor.reconnectUntil = now + reconnectMs;
  }

  release(processId: string): void {
    this.executors.delete(processId);
    this.released.add(processId);
    const [oldest] = this.released;
    if (this.released.size > MAX_RELEASED && oldest !== undefined) this.released.delete(oldest);
  }

  overdue(now: number): readonly Executor[] {
    return this.all().filter((executor) => executor.reconnectUntil !== null && executor.reconnectUntil <= now);
  }

  nextDeadline(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.all().map((executor) => executor.reconnectUntil ?? Number.POSITIVE_INFINITY));
  }
}
