/**
 * The time of one chain: how far event time has come in it, and the timers of its clock.
 *
 * Boundary: whoever feeds the chain calls it between two batches, when nothing is in work; units learn of time here only.
 *
 * Invariants:
 *   1. A watermark passes the chain as a record does: each unit has emitted what the watermark makes due before those behind it see the watermark, and outputs
 *      carry it behind all of that. So it overtakes no record.
 *   2. The watermark never goes back, also not over a restore (I17).
 */
import { BEGINNING, type Watermark } from "../../../dataflow/time/watermarks.js";
import type { Clock, Timer } from "../../../env/clock.js";
import type { ChainNode, Unit } from "../chain-nodes.js";
import type { EdgeOutput } from "../edge-output.js";

/** A calendar clock that jumps is noticed after so long. */
const MAX_ALARM_MS = 30_000;

/** The chain, as far as its time needs it. */
export interface TimedChain {
  readonly nodes: readonly ChainNode[];
  readonly edges: readonly EdgeOutput[];
  readonly stop: boolean;
  settle(): Promise<void>;
}

export class ChainTime {
  private readonly chain: TimedChain;
  private readonly clock: Clock;
  private timed: readonly Unit[] = [];
  private clocked: readonly Unit[] = [];
  private ms = BEGINNING;
  private idle = false;

  constructor(chain: TimedChain, clock: Clock) {
    this.chain = chain;
    this.clock = clock;
  }

  /** To be called once all nodes are in. */
  seal(): void {
    const units = this.chain.nodes.flatMap(({ unit }) => (unit === null ? [] : [unit]));
    this.timed = units.filter((unit) => unit.onWatermark !== undefined);
    this.clocked = units.filter((unit) => unit.onClock !== undefined);
  }

  get watermarkMs(): number {
    return this.ms;
  }

  /** Before the first record: what the chain had reached at the checkpoint that it goes on from. */
  restore(ms: number): void {
    this.ms = ms;
    for (const unit of this.timed) unit.startAt?.(ms);
  }

  /** Event time has come so far in what feeds the chain. */
  async advance({ ms, idle }: Watermark): Promise<void> {
    const moves = ms > this.ms;
    if (!moves && idle === this.idle) return;
    if (moves) {
      this.ms = ms;
      for (const unit of this.timed) await unit.onWatermark?.(ms);
    }
    this.idle = idle;
    for (const edge of this.chain.edges) edge.watermark({ ms: this.ms, idle });
    if (this.chain.stop) await this.chain.settle();
  }

  /** Timers of the clock are due. */
  isDue(): boolean {
    const next = this.nextAt();
    return next !== null && next <= this.clock.wallNow();
  }

  /** Calls them. */
  async fireDue(): Promise<void> {
    for (const unit of this.clocked) await unit.onClock?.(this.clock.wallNow());
  }

  /** Calls `run` when the next timer of the clock may be due; null: there is none. */
  alarm(run: () => void): Timer | null {
    const next = this.nextAt();
    if (next === null) return null;
    const waitMs = Math.min(MAX_ALARM_MS, Math.max(0, next - this.clock.wallNow()));
    return this.clock.at(this.clock.now() + waitMs, run);
  }

  private nextAt(): number | null {
    let next: number | null = null;
    for (const unit of this.clocked) {
      const at = unit.nextClockAt?.() ?? null;
      if (at !== null && (next === null || at < next)) next = at;
    }
    return next;
  }
}
