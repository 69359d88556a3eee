/**
 * Aligns the barriers of one subtask's input channels: a snapshot is due when every channel that is still open has given the barrier of the
 * same checkpoint. Pure; whoever feeds the subtask stops taking from a channel that has given its barrier until it is named in a release.
 *
 * Invariants:
 *   1. Between a channel's barrier and the snapshot nothing more is taken from that channel, so the snapshot holds exactly what came before the
 *      barriers (I16).
 *   2. A checkpoint that is over (`off`), or older than the one under way, stops nothing: its barriers are passed over.
 *   3. Channels end for good; an end counts as every later barrier.
 */
import { assert } from "../base/assert.js";

export interface Alignment<C> {
  /** Channels that may be taken from again. */
  readonly release: readonly C[];
  /** The checkpoint whose snapshot is due now; null: none. After it `done` is to be called. */
  readonly aligned: number | null;
}

export class BarrierAlignment<C> {
  private open: number;
  /** The checkpoint whose barriers come now. */
  current: number | null = null;
  private arrived = new Set<C>();
  /** Checkpoints up to this one are over. */
  private off = 0;

  constructor(channels: number) {
    this.open = channels;
  }

  /** A barrier has come, and others of the same checkpoint have not. */
  get isWaiting(): boolean {
    return this.current !== null && this.arrived.size < this.open;
  }

  barrier(channel: C, id: number): Alignment<C> {
    if (id <= this.off || (this.current !== null && id < this.current)) return { release: [channel], aligned: null };
    let release: readonly C[] = [];
    if (this.current !== id) {
      release = [...this.arrived];
      this.arrived = new Set();
      this.current = id;
    }
    assert(!this.arrived.has(channel), "a channel gives a barrier once");
    this.arrived.add(channel);
    return { release, aligned: this.due() };
  }

  ended(): Alignment<C> {
    this.open -= 1;
    assert(this.open >= 0, "a channel ends once");
    return { release: [], aligned: this.due() };
  }

  /** The snapshot is taken. */
  done(id: number): readonly C[] {
    this.off = Math.max(this.off, id);
    return this.current === id ? this.clear() : [];
  }

  /** Checkpoints up to this one are over, however they ended. */
  over(id: number): readonly C[] {
    this.off = Math.max(this.off, id);
    return this.current !== null && this.current <= id ? this.clear() : [];
  }

  private due(): number | null {
    return this.current !== null && this.open > 0 && this.arrived.size === this.open ? this.current : null;
  }

  private clear(): readonly C[] {
    const release = [...this.arrived];
    this.arrived = new Set();
    this.current = null;
    return release;
  }
}
