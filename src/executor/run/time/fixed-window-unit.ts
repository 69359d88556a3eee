/**
 * Tumbling and sliding windows: one accumulator for each key of each window.
 *
 * State is by window, then by key, so that a window is given and forgotten as a whole, in one pass. In checkpoints it is by key.
 */
import type { WindowFunctions } from "../../../api/built.js";
import { MinHeap } from "../../../dataflow/time/min-heap.js";
import { dueAt, eachStartOf, type FixedWindows, lastStartOf, overAt, type TimeWindow } from "../../../dataflow/time/windows.js";
import type { Chain } from "../chain.js";
import type { ChainNode, Unit } from "../chain-nodes.js";
import { type KeyedState, type StateEntry, stateEntries } from "../keyed-state.js";
import { WindowUnit } from "./window-results.js";

/** A window, and what it holds. */
interface Open {
  readonly window: TimeWindow;
  readonly accumulators: Map<unknown, unknown>;
  /** Of the keys that are objects, by id. */
  readonly objectKeys: Map<unknown, unknown>;
  /** Its results were given; what comes now changes them. */
  given: boolean;
  /** The watermark at which something is to be done with it. */
  at: number;
}

export class FixedWindowUnit extends WindowUnit implements Unit, KeyedState {
  private readonly windows: FixedWindows;
  private readonly open = new Map<number, Open>();
  private readonly agenda = new MinHeap<Open>((open) => open.at);
  /** Where the last record went: the next one often goes there, too. */
  private latest: Open | null = null;

  constructor(chain: Chain, node: ChainNode, functions: WindowFunctions, windows: FixedWindows) {
    super(chain, node, functions);
    this.windows = windows;
  }

  element(record: unknown, key: unknown, id: unknown): boolean {
    const timeMs = this.timeOf(record);
    let taken = false;
    if (this.windows.kind === "tumbling") taken = this.take(lastStartOf(this.windows, timeMs), record, key, id);
    else {
      eachStartOf(this.windows, timeMs, (start) => {
        if (this.take(start, record, key, id)) taken = true;
      });
    }
    if (!taken) this.late(record);
    return true;
  }

  async onWatermark(ms: number): Promise<void> {
    this.watermarkMs = ms;
    for (let least = this.agenda.least(); least !== null && least <= ms; least = this.agenda.least()) {
      const open = this.agenda.take();
      if (open !== undefined) await this.advance(open, ms);
    }
    await this.given();
  }

  get size(): number {
    let size = 0;
    for (const { accumulators } of this.open.values()) size += accumulators.size;
    return size;
  }

  *entries(maxParallelism: number): Iterable<StateEntry> {
    for (const { window, accumulators, objectKeys } of this.open.values()) {
      for (const entry of stateEntries(accumulators, (id) => objectKeys.get(id) ?? id, maxParallelism))
        yield { ...entry, value: [window.start, entry.value] };
    }
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value } of entries) {
      const [start, accumulator] = value as readonly [number, unknown];
      this.put(this.open.get(start) ?? this.begin(start), key, this.rememberedId(key), accumulator);
    }
  }

  /** Windows whose results were given, and which still take late records: told from the watermark of the checkpoint. */
  override startAt(ms: number): void {
    super.startAt(ms);
    this.agenda.clear();
    for (const open of this.open.values()) this.plan(open);
  }

  /** False: the window is over. */
  private take(start: number, record: unknown, key: unknown, id: unknown): boolean {
    let open = this.latest;
    if (open === null || open.window.start !== start) {
      const known = this.open.get(start);
      if (known === undefined && overAt(start + this.windows.sizeMs, this.latenessMs) <= this.watermarkMs) return false;
      open = known ?? this.begin(start);
      this.latest = open;
    }
    const before = open.accumulators.get(id);
    const after = this.added(before, record, key);
    if (after !== before) this.put(open, key, id, after);
    if (open.given) this.update(key, open.window, after);
    return true;
  }

  private put(open: Open, key: unknown, id: unknown, accumulator: unknown): void {
    if (typeof key === "object" && key !== null && !open.objectKeys.has(id)) open.objectKeys.set(id, key);
    open.accumulators.set(id, accumulator);
  }

  private begin(start: number): Open {
    const window = { start, end: start + this.windows.sizeMs };
    const open: Open = { window, accumulators: new Map(), objectKeys: new Map(), given: false, at: 0 };
    this.open.set(start, open);
    this.plan(open);
    return open;
  }

  private plan(open: Open): void {
    const { end } = open.window;
    open.given = dueAt(end) <= this.watermarkMs;
    open.at = open.given ? overAt(end, this.latenessMs) : dueAt(end);
    this.agenda.put(open);
  }

  private async advance(open: Open, ms: number): Promise<void> {
    const { window, accumulators, objectKeys } = open;
    if (!open.given) for (const [id, accumulator] of accumulators) await this.give(objectKeys.get(id) ?? id, window, accumulator);
    if (overAt(window.end, this.latenessMs) > ms) return this.plan(open);
    this.open.delete(window.start);
    if (this.latest === open) this.latest = null;
  }
}
