/**
 * Session windows: for each key, records that are not further apart than the gap. A record may join two sessions into one, whose accumulators are merged.
 *
 * A session that has given its result and then grows or is joined with another one (late records, within the allowed lateness) gives the whole of it again.
 */
import type { WindowFunctions } from "../../../api/built.js";
import { hashKey } from "../../../dataflow/hash.js";
import { keyGroupOf } from "../../../dataflow/key-groups.js";
import { MinHeap } from "../../../dataflow/time/min-heap.js";
import { type Session, type SessionSpan, spanOf } from "../../../dataflow/time/sessions.js";
import { dueAt, overAt, type SessionWindows } from "../../../dataflow/time/windows.js";
import type { Chain } from "../chain.js";
import type { ChainNode, Unit } from "../chain-nodes.js";
import type { KeyedState, StateEntry } from "../keyed-state.js";
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

export class SessionWindowUnit extends WindowUnit implements Unit, KeyedState {
  private readonly gapMs: number;
  private readonly byKey = new Map<unknown, KeySessions>();
  /** A session that grows stays where it is: when its turn comes it is put back, if it is too early. */
  private readonly agenda = new MinHeap<LiveSession>((session) => session.at);

  constructor(chain: Chain, node: ChainNode, functions: WindowFunctions, { gapMs }: SessionWindows) {
    super(chain, node, functions);
    this.gapMs = gapMs;
  }

  element(record: unknown, key: unknown, id: unknown): boolean {
    const timeMs = this.timeOf(record);
    const known = this.byKey.get(id);
    const span = spanOf(known?.sessions ?? [], timeMs, this.gapMs);
    if (overAt(span.end, this.latenessMs) <= this.watermarkMs) {
      this.late(record);
      return true;
    }
    const ofKey = known ?? { key, sessions: [] };
    if (known === undefined) this.byKey.set(id, ofKey);
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
    }
    await this.given();
  }

  get size(): number {
    return this.byKey.size;
  }

  *entries(maxParallelism: number): Iterable<StateEntry> {
    for (const [id, { key, sessions }] of this.byKey) {
      const value = sessions.map(({ start, end, accumulator }) => [start, end, accumulator]);
      yield { keyGroup: keyGroupOf(hashKey(id), maxParallelism), key, value };
    }
  }

  restore(entries: Iterable<StateEntry>): void {
    for (const { key, value } of entries) {
      const id = this.rememberedId(key);
      const sessions = (value as readonly (readonly [number, number, unknown])[]).map(([start, end, accumulator]) =>
        this.planned({ id, start, end, accumulator, given: false, gone: false, at: 0 }),
      );
      this.byKey.set(id, { key, sessions });
    }
  }

  override startAt(ms: number): void {
    super.startAt(ms);
    this.agenda.clear();
    for (const { sessions } of this.byKey.values()) for (const session of sessions) this.planned(session);
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
    const ofKey = this.byKey.get(id);
    if (ofKey === undefined) return;
    if (!session.given) await this.give(ofKey.key, { start, end }, session.accumulator);
    session.given = true;
    if (overAt(end, this.latenessMs) > ms) {
      this.planned(session);
      return;
    }
    session.gone = true;
    ofKey.sessions.splice(ofKey.sessions.indexOf(session), 1);
    if (ofKey.sessions.length === 0) this.byKey.delete(id);
  }
}
