/**
 * Windows of event time that do not depend on the records: tumbling ones follow each other, sliding ones overlap. (Sessions: sessions.ts.)
 *
 * Instants are milliseconds; a window holds the times from `start` up to but not including `end`. Windows are aligned with 1970 plus `offsetMs`.
 *
 * Invariants: a time belongs to exactly one tumbling window, and to size / every sliding ones (rounded up or down where that is no whole number); a window is
 * due when no time of it can follow, and over when it is due and lateness has passed: after that its records are late.
 */

export interface TumblingWindows {
  readonly kind: "tumbling";
  readonly sizeMs: number;
  readonly offsetMs: number;
}

export interface SlidingWindows {
  readonly kind: "sliding";
  readonly sizeMs: number;
  /** From the start of one to the start of the next. */
  readonly everyMs: number;
  readonly offsetMs: number;
}

export interface SessionWindows {
  readonly kind: "session";
  /** A session ends when so long nothing came. */
  readonly gapMs: number;
}

export type FixedWindows = TumblingWindows | SlidingWindows;
export type Windows = FixedWindows | SessionWindows;

export interface TimeWindow {
  readonly start: number;
  readonly end: number;
}

/** A record stands in at most so many windows; each of them is updated by it. */
export const MAX_WINDOWS_OF_A_RECORD = 1_000;

/** The start of the last window that holds the time. */
export function lastStartOf(windows: FixedWindows, timeMs: number): number {
  const everyMs = windows.kind === "tumbling" ? windows.sizeMs : windows.everyMs;
  return windows.offsetMs + Math.floor((timeMs - windows.offsetMs) / everyMs) * everyMs;
}

/** Calls `use` with the start of each window that holds the time, the latest first. */
export function eachStartOf(windows: FixedWindows, timeMs: number, use: (start: number) => void): void {
  const last = lastStartOf(windows, timeMs);
  if (windows.kind === "tumbling") use(last);
  else for (let start = last; start + windows.sizeMs > timeMs; start -= windows.everyMs) use(start);
}

/** The watermark at which a window is complete, but for late records. */
export const dueAt = (end: number): number => end - 1;

/** The watermark at which a window is forgotten: what comes for it then is late. */
export const overAt = (end: number, latenessMs: number): number => end - 1 + latenessMs;
