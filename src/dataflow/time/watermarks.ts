/**
 * Watermarks: how far event time has come. A watermark of W says that no record with a time of W or before follows, but late ones.
 *
 * Boundary: pure bookkeeping of one subtask; whoever feeds the subtask calls it in the order in which the channels give things.
 *
 * Invariants:
 *   1. The watermark of an input is the least of its channels that are open and not idle, and it never goes back: a channel that comes back from
 *      being idle, or one that was restored, may stand behind it, and then what it gives is late.
 *   2. A channel that has ended counts no more; when all have, event time is at its end, and whoever ends the subtask says so.
 *   3. An input is idle when all its open channels are: then it holds nobody up, and its own watermark stays where it is.
 */
import { assert } from "../../base/assert.js";

/** Before any record: nothing is known. */
export const BEGINNING = Number.NEGATIVE_INFINITY;
/** After the last record: everything is due. */
export const END_OF_TIME = Number.POSITIVE_INFINITY;

export interface Watermark {
  /** Milliseconds since 1970, as the records' times are; never END_OF_TIME: the end of a channel says that. */
  readonly ms: number;
  /** Nothing comes from there for now: it is not to be waited for. */
  readonly idle: boolean;
}

/** Joins the watermarks of a subtask's channels into its own. `C` identifies a channel. */
export class WatermarkMerge<C> {
  private readonly channels: Map<C, Watermark>;
  private ms: number;
  private idle = false;

  /** `from`: what the subtask had reached when the checkpoint was taken that it goes on from. */
  constructor(channels: Iterable<C>, from = BEGINNING) {
    this.channels = new Map([...channels].map((channel) => [channel, { ms: BEGINNING, idle: false }]));
    this.ms = from;
  }

  get current(): Watermark {
    return { ms: this.ms, idle: this.idle };
  }

  /** The channel gave this watermark. Returns the subtask's own when that changes, null when it doesn't. */
  advance(channel: C, watermark: Watermark): Watermark | null {
    const known = this.channels.get(channel);
    assert(known !== undefined, "a watermark comes from a channel that is open");
    this.channels.set(channel, { ms: Math.max(known.ms, watermark.ms), idle: watermark.idle });
    return this.joined();
  }

  /** Nothing follows from the channel. */
  ended(channel: C): Watermark | null {
    assert(this.channels.delete(channel), "a channel ends once");
    return this.joined();
  }

  private joined(): Watermark | null {
    if (this.channels.size === 0) return null;
    let least = END_OF_TIME;
    let idle = true;
    for (const channel of this.channels.values()) {
      if (channel.idle) continue;
      idle = false;
      least = Math.min(least, channel.ms);
    }
    const ms = idle ? this.ms : Math.max(this.ms, least);
    if (ms === this.ms && idle === this.idle) return null;
    this.ms = ms;
    this.idle = idle;
    return { ms, idle };
  }
}

/** The watermark of what is read from one source by one subtask, split after split. */
export class SourceWatermark {
  private readonly outOfOrdernessMs: number;
  private ms: number;

  constructor(outOfOrdernessMs: number, from = BEGINNING) {
    this.outOfOrdernessMs = outOfOrdernessMs;
    this.ms = from;
  }

  get current(): number {
    return this.ms;
  }

  /** A record of this time was read, the latest so far: later ones may be older by `outOfOrdernessMs`, and of the same instant. */
  saw(timeMs: number): void {
    const reached = timeMs - this.outOfOrdernessMs - 1;
    if (reached > this.ms) this.ms = reached;
  }
}
