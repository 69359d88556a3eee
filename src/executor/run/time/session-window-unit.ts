/**
 * Session windows: for each key, records that are not further apart than the gap. A record may join two sessions into one, whose accumulators are merged.
 *
 * A key's sessions are the value of its slot in a table, which is written down while they change; whatever changes one of them says so first.
 *
 * A session that has given its result and then grows or is joined with another one (late records, within the allowed lateness) gives the whole of it again.
 */
import type { WindowFunctions } from "../../../api/built.js";
import { MinHeap } from "../../../dataflow/time/min-heap.js";
import { type Session, type SessionSpan, spanOf } from "../../../dataflow/time/sessions.js";
import { dueAt, overAt, type SessionWindows } from "../../../dataflow/time/windows.js";
import type { Chain } from "../chain.js";
import type { ChainNode, Unit } from "../chain-nodes.js";
import type { StateEntry } from "../keyed-state.js";
import { KeyedTable } from "../state/keyed-table.js";
import type { OpenSnapshot, SnapshotState } from "../state/open-snapshot.js";
import { sync, WindowUnit } from "./window-results.js";

interface LiveSession extends Session {
  readonly id: unknown;
  accumulator: unknown;
  given: boolean;
  /** Joined to another one, or over. */
  gone: boolean;
  /** The watermark at which it was to be looked at when it was put into the agenda. */
  at: number;
}

interface KeySessions {
  readonly key: unknown;
  readonly sessions: LiveSession[];
}

export class SessionWindowUnit extends WindowUnit implements Unit, SnapshotState {
  private readonly gapMs: number;
  /** Values are `KeySessions`. */
  private readonly table: KeyedTable;
  /** A session that grows stays where it is: when its turn comes it is put back, if it is too early. */
  private readonly agenda = new MinHeap<LiveSession>((session) => session.at);

  constructor(chain: Chain, node: ChainNode, functions: WindowFunctions, { gapMs }: SessionWindows) {
    super(chain, node, functions);
    this.gapMs = gapMs;
    this.table = new KeyedTable((drained) => chain.waitFor(drained));
  }

  element(record: unknown, key: unknown, id: unknown): boolean {
    const timeMs = this.timeOf(record);
    const slot = this.table.slots.get(id);
    const known = slot?.value as KeySessions | undefined;
    const span = spanOf(known?.sessions ?? [], timeMs, this.gapMs);
    if (overAt(span.end, this.latenessMs) <= this.watermarkMs) {
      this.late(record);
      return true;
    }
    const ofKey = known ?? { key, sessions: [] };
    if (slot === undefined) this.table.insert(id, ofKey);
    else this.table.beforeChange(slot);
    const session = this.joined(ofKey, id, span);
    session.accumulator = this.added(session.accumulator, record, key);
    if (session.given) this.update(key, { start: session.start, end: session.end }, session.accumulator);
    return true;
  }

  async onWatermark(ms: number): Promise<void> {
    this.watermarkMs = ms;
    for (let least = this.agenda.least(); least !== null && least <= ms; least = this.agenda.least()) {
      const session = this.agenda.take();
      if (session !== undefined && !session.gone) await this.advance(session, ms);
      // Copies wait for a snapshot.
      if (this.chain.stop) await this.chain.settle();
    }
    await this.given();
  }

  get size(): number {
    return this.table.slots.size;
  }

  /** Also when more has gone than is there: then all is less than the changes. */
  get needsFull(): boolean {
    return this.table.needsFull || this.table.removals > this.size;
  }

  track(): void {
    this.table.track();
  }

  settle(isComplete: boolean): void {
    this.table.settle(isComplete);
  }

  snapshot(isFull: boolean, maxParallelism: number): OpenSnapshot {
    const entryOf = this.entriesOf(maxParallelism);
    const row = (id: unknown, value: unknown): StateEntry => {
      const { key, sessions } = value as KeySessions;
      const spans = sessions.map(({ start, end, accumulator }) => [start, end, accumulator]);
      return { ...entryOf(id, spans), key };
    };
    // Of a key that went nothing is known but its id, which restores as well as it does.
    return this.table.snapshot(isFull, row, (id) => ({ ...entryOf(id, undefined), removed: true }));
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value, removed } of entries) {
      const id = this.rememberedId(key);
      const before = this.table.slots.get(id)?.value as KeySessions | undefined;
      for (const session of before?.sessions ?? []) session.gone = true;
      if (removed === true) {
        this.table.restoreRemoved(id);
        continue;
      }
      const sessions = (value as readonly (readonly [number, number, unknown])[]).map(([start, end, accumulator]) =>
        this.planned({ id, start, end, accumulator, given: false, gone: false, at: 0 }),
      );
      this.table.restore(id, { key, sessions });
    }
  }

  override startAt(ms: number): void {
    super.startAt(ms);
    this.agenda.clear();
    for (const { value } of this.table.slots.values()) for (const session of (value as KeySessions).sessions) this.planned(session);
  }

  /** The session of the span, with the accumulators of those that it joins; of a new one the accumulator is undefined. */
  private joined({ sessions }: KeySessions, id: unknown, { first, count, start, end }: SessionSpan): LiveSession {
    const [survivor, ...others] = sessions.slice(first, first + count);
    if (survivor === undefined) {
      const session = this.planned({ id, start, end, accumulator: undefined, given: false, gone: false, at: 0 });
      sessions.splice(first, 0, session);
      return session;
    }
    for (const other of others) {
      survivor.accumulator = this.merged(survivor.accumulator, other.accumulator);
      other.gone = true;
    }
    sessions.splice(first + 1, others.length);
    const wasGiven = survivor.given;
    survivor.start = start;
    survivor.end = end;
    survivor.given = dueAt(end) <= this.watermarkMs;
    // It stands in the agenda at a later instant than that at which it is due again.
    if (wasGiven && !survivor.given) this.planned(survivor);
    return survivor;
  }

  private merged(left: unknown, right: unknown): unknown {
    return sync(this.functions.merge?.(left, right), "merge");
  }

  private planned(session: LiveSession): LiveSession {
    session.given = dueAt(session.end) <= this.watermarkMs;
    session.at = session.given ? overAt(session.end, this.latenessMs) : dueAt(session.end);
    this.agenda.put(session);
    return session;
  }

  private async advance(session: LiveSession, ms: number): Promise<void> {
    const { id, start, end } = session;
    if (dueAt(end) > ms) {
      this.planned(session);
      return;
    }
    const slot = this.table.slots.get(id);
    if (slot === undefined) return;
    // Also what is handed on as it is: whoever gets it may change it.
    this.table.beforeChange(slot);
    const ofKey = slot.value as KeySessions;
    if (!session.given) await this.give(ofKey.key, { start, end }, session.accumulator);
    session.given = true;
    if (overAt(end, this.latenessMs) > ms) {
      this.planned(session);
      return;
    }
    session.gone = true;
    ofKey.sessions.splice(ofKey.sessions.indexOf(session), 1);
    if (ofKey.sessions.length === 0) this.table.remove(slot);
  }
}
