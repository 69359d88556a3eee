/**
 * What restart strategies have counted, as it is recorded: instants of this process's clock become wall times, so that the next driver goes on counting.
 *
 * Invariant: reading back what was written changes no count; a calendar that was set back makes no failure lie in the future.
 */
import type { FailureNotes } from "../wire/application.js";
import type { LoopNotes } from "./crash-loop.js";
import { NO_FAILURES, type RestartHistory } from "./restart-strategy.js";

export interface CountedFailures {
  lost: RestartHistory;
  user: RestartHistory;
  loop: LoopNotes | null;
}

export const noFailures = (): CountedFailures => ({ lost: NO_FAILURES, user: NO_FAILURES, loop: null });

interface Clocks {
  readonly now: number;
  readonly wall: number;
}

export function notesOf({ lost, user, loop }: CountedFailures, { now, wall }: Clocks): FailureNotes {
  const toWall = (instant: number): number => wall - (now - instant);
  return {
    lost: historyAt(lost, toWall),
    user: historyAt(user, toWall),
    loop: loop === null ? null : { ...loop, lastAt: toWall(loop.lastAt) },
  };
}

export function countedFailures({ lost, user, loop }: FailureNotes, { now, wall }: Clocks): CountedFailures {
  const toInstant = (at: number): number => now - Math.max(0, wall - at);
  return {
    lost: historyAt(lost, toInstant),
    user: historyAt(user, toInstant),
    loop: loop === null ? null : { ...loop, lastAt: toInstant(loop.lastAt) },
  };
}

function historyAt({ row, lastFailureAt, recent }: RestartHistory, move: (at: number) => number) {
  return { row, lastFailureAt: lastFailureAt === null ? null : move(lastFailureAt), recent: recent.map(move) };
}
