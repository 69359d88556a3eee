/**
 * inbox -> step -> commit -> act: the one loop of every role.
 *
 * Invariants:
 *   1. While a commit is under way events gather in the inbox; the next turn takes all of them (group commit), bounded by MAX_TURN_EVENTS.
 *      What waits there is bounded per link (inbox.ts).
 *   2. Effects run in order, after the commit of their turn and of all earlier turns, and never after a failed one.
 *   3. After `close`, a failed commit or an exception of the core, nothing is stepped or acted on again.
 */

import type { Core, RecordChange, Turn } from "../../base/core.js";
import { CodedError } from "../../base/errors.js";
import type { Clock, Timer } from "../../env/clock.js";
import { type From, Inbox } from "./inbox.js";

export const MAX_TURN_EVENTS = 4096;
/**
 * A turn is cut when its steps have taken so long, and what else the process has to do comes before the next one: thousands of workers that come back
 * at once must not keep a master from its session, nor make its parent believe that it hangs.
 */
export const MAX_TURN_MS = 50;
/** A turn is cut when it has gathered this many record changes, so that it fits one transaction of every store. */
export const MAX_TURN_WRITES = 100;

export interface TurnsOptions<Event, Effect> {
  readonly core: Core<Event, Effect>;
  readonly clock: Clock;
  /** Durable when it resolves. Roles without records pass `null`. */
  readonly commit: ((writes: readonly RecordChange[]) => Promise<void>) | null;
  readonly act: (effect: Effect) => void;
  /** The event that tells the core that its deadline has come. */
  readonly wakeUp: Event;
}

export interface Turns<Event> {
  /**
   * Queues an event. Never throws; dropped after the end. `from`: the link it came over. False: too much of that link waits already, the event
   * was not taken, and the link has to be ended.
   */
  post(event: Event, from?: From): boolean;
  /** Resolves with null after `close`, or with what went wrong: the core is then to be discarded. */
  readonly ended: Promise<CodedError | null>;
  /** Resolves when the turn under way has committed and acted, if there is one; none follows it, and what waits is dropped. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

export function runTurns<Event, Effect>(options: TurnsOptions<Event, Effect>): Turns<Event> {
  const { core, clock } = options;
  const inbox = new Inbox<Event>();
  let timer: Timer | null = null;
  let timerAt = Number.POSITIVE_INFINITY;
  let running = false;
  let over = false;
  let last = false;
  let idle: Promise<void> = Promise.resolve();
  let settle: (reason: CodedError | null) => void = () => {};
  const ended = new Promise<CodedError | null>((resolve) => {
    settle = resolve;
  });

  const end = (reason: CodedError | null) => {
    if (over) return;
    over = true;
    timer?.cancel();
    inbox.clear();
    settle(reason);
  };

  const post = (event: Event, from: From | null = null): boolean => {
    if (over || last) return true;
    if (!inbox.push(event, from)) return false;
    if (running) return true;
    running = true;
    idle = drain();
    return true;
  };

  /** True: the turn was cut because it took long. */
  const gather = (turn: Turn<Effect>): boolean => {
    const until = clock.now() + MAX_TURN_MS;
    let taken = 0;
    while (taken < inbox.length && taken < MAX_TURN_EVENTS && turn.writes.length < MAX_TURN_WRITES && clock.now() < until) {
      const waiting = inbox.peek(taken);
      if (waiting === undefined) break;
      taken += 1;
      core.step(waiting.event, { instant: clock.now(), wall: clock.wallNow() }, turn);
    }
    inbox.drop(taken);
    return clock.now() >= until;
  };

  const armTimer = () => {
    const at = core.nextWakeAt() ?? Number.POSITIVE_INFINITY;
    if (at === timerAt) return;
    timer?.cancel();
    timer = null;
    timerAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    timer = clock.at(at, () => {
      timerAt = Number.POSITIVE_INFINITY;
      timer = null;
      post(options.wakeUp);
    });
  };

  async function drain(): Promise<void> {
    // The first await lets a burst of events that arrive in one go share one turn.
    await Promise.resolve();
    try {
      while (inbox.length > 0 && !over) {
        const turn: Turn<Effect> = { writes: [], effects: [] };
        const tookLong = gather(turn);
        if (turn.writes.length > 0) {
          if (options.commit === null)
            throw new CodedError("INTERNAL", "invariant broken: a role without records asked to persist");
          await options.commit(turn.writes);
        }
        for (const effect of turn.effects) {
          if (over) return;
          options.act(effect);
        }
        if (!over && !last) armTimer();
        if (last) inbox.clear();
        if (tookLong && !over && !last) await new Promise<void>((resolve) => void clock.at(clock.now(), resolve));
      }
    } catch (thrown) {
      end(CodedError.from(thrown));
    } finally {
      running = false;
    }
  }

  return {
    post: (event, from) => post(event, from),
    ended,
    finish: async () => {
      last = true;
      timer?.cancel();
      await idle;
    },
    close: async () => {
      end(null);
      await idle;
    },
  };
}
