/**
 * Event time as users say it: when a record happened, how much records are out of order, and which windows they are gathered in.
 *
 * Times are milliseconds since 1970 (`Date.getTime()`); durations as everywhere.
 */
import type { Windows } from "../dataflow/time/windows.js";
import { MAX_WINDOWS_OF_A_RECORD, type TimeWindow } from "../dataflow/time/windows.js";
import { planFailed } from "./builder.js";
import type { MaybePromise } from "./built.js";
import type { OperatorContext } from "./context.js";
import { type Duration, durationMs, signedDurationMs } from "./durations.js";
import { DEFAULT_JOIN_LIMIT, type Keyed } from "./operators.js";

/** Each watermark ends a part-filled batch of every channel: more of them would cost throughput. */
const WATERMARK_EVERY_MS = 50;

export interface EventTimeOptions<T> {
  /** When the record happened, in milliseconds since 1970. */
  readonly time: (record: T) => number;
  /** A record may come so much later than records that happened after it; what comes later still is late. Default 0. */
  readonly outOfOrderness?: Duration;
  /** A subtask to which nothing came for so long holds event time back no more. Default: it is waited for. */
  readonly idleAfter?: Duration;
  /** Event time goes on at most so often: rarer costs less, and windows are given later. Default `"50ms"`; 0: after each batch that is read. */
  readonly watermarkEvery?: Duration;
  /**
   * Whether records of later splits (files, parts of files) happened later. `any-order` (default of a bounded source): no split is late; event time stands still
   * until the last split is being read. `in-order` (of an unbounded one): event time goes on with each split, and windows of the past are given meanwhile.
   */
  readonly splits?: "in-order" | "any-order";
}

/** How records are gathered; made by `windows`. */
export interface WindowKind {
  readonly holdfast: "windows";
  readonly windows: Windows;
}

interface Aligned {
  /** Windows start so much after full minutes, days (UTC) and so on: `"-2h"` for days of a zone that is two hours ahead. Default 0. */
  readonly offset?: Duration;
}

function made(windows: Windows): WindowKind {
  return { holdfast: "windows", windows };
}

/** Windows that follow each other: `windows.tumbling("1m")`. */
function tumbling(size: Duration, options: Aligned = {}): WindowKind {
  const sizeMs = durationMs(size, "size of windows.tumbling");
  return made({ kind: "tumbling", sizeMs, offsetMs: signedDurationMs(options.offset ?? 0, "offset of windows.tumbling") });
}

/** Windows that overlap, one starting `every` so long: `windows.sliding("1m", "10s")`. */
function sliding(size: Duration, every: Duration, options: Aligned = {}): WindowKind {
  const sizeMs = durationMs(size, "size of windows.sliding");
  const everyMs = durationMs(every, "every of windows.sliding");
  return made({ kind: "sliding", sizeMs, everyMs, offsetMs: signedDurationMs(options.offset ?? 0, "offset of windows.sliding") });
}

/** For each key, records that are not further apart than `gap`: `windows.session("30s")`. */
function session(gap: Duration): WindowKind {
  return made({ kind: "session", gapMs: durationMs(gap, "gap of windows.session") });
}

export const windows = { tumbling, sliding, session } as const;

/** What a window gives for a key. `start` belongs to the window, `end` does not. */
export interface Windowed<K, V> extends Keyed<K, V> {
  readonly window: TimeWindow;
}

export interface WindowOptions<K, T, A, R> {
  readonly window: WindowKind;
  /** When the record happened, in milliseconds since 1970. Usually the same as of the source. */
  readonly time: (record: T) => number;
  /** The accumulator of a key in a new window. */
  readonly init: (key: K) => A;
  /** The accumulator with a record in it; it may change and return the one it was given. */
  readonly add: (accumulator: A, record: T, context: OperatorContext) => A;
  /** Joins two accumulators: needed for sessions. */
  readonly merge?: (left: A, right: A) => A;
  /** What is emitted as `value`; default: the accumulator. */
  readonly result?: (accumulator: A, key: K, window: TimeWindow) => MaybePromise<R>;
  /**
   * After its result was given, a window takes late records for so long, and gives its new result for each. Later ones go to the side output `late` and are counted
   * (`UID.late`). Default 0.
   */
  readonly allowedLateness?: Duration;
}

export interface IntervalJoinOptions<L, R, V> {
  /** Pairs have `leftTime + lower <= rightTime <= leftTime + upper`; `"-5m"` is five minutes before. */
  readonly lower: Duration;
  readonly upper: Duration;
  readonly leftTime: (record: L) => number;
  readonly rightTime: (record: R) => number;
  readonly select: (left: L, right: R, context: OperatorContext) => V;
  /** The most records of both streams that one subtask holds; more fail the job. Default 2,000,000. */
  readonly maxRecords?: number;
}

/** What the graph keeps of it. */
export function eventTimeConfig(uid: string, options: EventTimeOptions<never>, bounded: boolean) {
  const { time, outOfOrderness = 0, idleAfter, splits = bounded ? "any-order" : "in-order" } = options;
  if (typeof time !== "function")
    throw planFailed(uid, "has an eventTime without `time`", "Give a function of a record that returns milliseconds since 1970.");
  if (splits !== "in-order" && splits !== "any-order")
    throw planFailed(uid, `has splits ${JSON.stringify(splits)} in its eventTime`, 'Say "in-order" or "any-order".');
  if (!bounded && splits === "any-order")
    throw planFailed(uid, "never ends, and its splits are in any order: event time would stand still", 'Say splits: "in-order".');
  const idleAfterMs = idleAfter === undefined ? null : durationMs(idleAfter, `idleAfter of source '${uid}'`);
  if (idleAfterMs === 0) throw planFailed(uid, "has an idleAfter of 0", "Leave it out, or say how long nothing has to come.");
  return {
    outOfOrdernessMs: durationMs(outOfOrderness, `outOfOrderness of source '${uid}'`),
    idleAfterMs,
    everyMs: durationMs(options.watermarkEvery ?? WATERMARK_EVERY_MS, `watermarkEvery of source '${uid}'`),
    splits,
  };
}

/** Checks what a window was given; returns its config. */
export function windowConfig<K, T, A, R>(uid: string, options: WindowOptions<K, T, A, R>, timed: boolean) {
  requireTime(uid, "gathers windows of event time", timed);
  if (options.window?.holdfast !== "windows")
    throw planFailed(uid, "has no windows", 'Make them with `windows`, such as window: windows.tumbling("1m").');
  for (const name of ["time", "init", "add"] as const)
    if (typeof options[name] !== "function")
      throw planFailed(uid, `has no function '${name}'`, "A window needs time, init and add.");
  const { windows } = options.window;
  checkWindows(uid, windows);
  if (windows.kind === "session" && options.merge === undefined) {
    throw planFailed(
      uid,
      "has session windows and no merge",
      "A record may join two sessions into one: give merge: (left, right) => ...",
      "missing merge",
    );
  }
  return { windows: { ...windows }, latenessMs: durationMs(options.allowedLateness ?? 0, `allowedLateness of window '${uid}'`) };
}

function checkWindows(uid: string, windows: Windows): void {
  const lengthMs = windows.kind === "session" ? windows.gapMs : windows.sizeMs;
  if (lengthMs < 1) throw planFailed(uid, `has windows of ${lengthMs} ms`, "Give them at least one millisecond.");
  if (windows.kind !== "sliding") return;
  const { sizeMs, everyMs } = windows;
  if (everyMs < 1 || everyMs > sizeMs) {
    throw planFailed(
      uid,
      `has sliding windows of ${sizeMs} ms, one every ${everyMs} ms`,
      "Let one start at least every size, so that each record is in one; with gaps between them, filter and use tumbling windows.",
    );
  }
  if (sizeMs / everyMs > MAX_WINDOWS_OF_A_RECORD) {
    const most = `at most ${MAX_WINDOWS_OF_A_RECORD}`;
    throw planFailed(
      uid,
      `puts each record into ${Math.ceil(sizeMs / everyMs)} windows; ${most} are allowed`,
      "Let them start less often.",
    );
  }
}

/** Checks what an interval join was given; returns its config. */
export function intervalConfig<L, R, V>(uid: string, options: IntervalJoinOptions<L, R, V>, timed: boolean) {
  requireTime(uid, "joins by event time", timed);
  for (const name of ["leftTime", "rightTime", "select"] as const)
    if (typeof options[name] !== "function")
      throw planFailed(uid, `has no function '${name}'`, "An interval join needs leftTime, rightTime and select.");
  const lowerMs = signedDurationMs(options.lower, `lower of interval join '${uid}'`);
  const upperMs = signedDurationMs(options.upper, `upper of interval join '${uid}'`);
  if (lowerMs > upperMs)
    throw planFailed(uid, `joins from ${lowerMs} to ${upperMs} ms, which is no interval`, "Let lower be at most upper.");
  return { lowerMs, upperMs, maxRecords: options.maxRecords ?? DEFAULT_JOIN_LIMIT };
}

function requireTime(uid: string, what: string, timed: boolean): void {
  if (timed) return;
  throw planFailed(
    uid,
    `${what}, and its input has no event time`,
    "Give `eventTime` with job.from to every source above it; behind a sort, or an aggregation that emits at the end, there is none.",
    "no event time",
  );
}
