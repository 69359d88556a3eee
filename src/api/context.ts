/** What user functions are given besides their record. Nothing of it is global: the same function runs in a test, in `run` and on a cluster. */
import type { StateHandle } from "./state.js";

/** Where user code reports what it saw; it becomes a line of the executor's log. */
export interface JobLog {
  debug(message: string, fields?: JobLogFields): void;
  info(message: string, fields?: JobLogFields): void;
  warn(message: string, fields?: JobLogFields): void;
  error(message: string, fields?: JobLogFields): void;
}

export type JobLogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface JobMetrics {
  /** Adds `by` (default 1) to a counter of this operator; at most MAX_COUNTERS names an operator, further ones are dropped. */
  count(name: string, by?: number): void;
}

/** The second argument of every user function. */
export interface OperatorContext {
  /** Aborts when the application is cancelled, fails or restarts. Hand it to everything that waits. */
  readonly signal: AbortSignal;
  readonly log: JobLog;
  readonly metrics: JobMetrics;
  /** uid of the operator. */
  readonly operator: string;
  /** Which of the operator's subtasks this is, from 0, and how many there are. */
  readonly subtask: number;
  readonly parallelism: number;
  /** Id of the application: the same over restarts and failovers, another one for every submission. */
  readonly application: string;
  /** Names this try of the application; it differs after every restart. */
  readonly attempt: string;
  /**
   * A token for other systems: it only grows for a subtask, and for what a split of the input holds, over restarts, failovers of masters and lost drivers. Let
   * them refuse a write whose token is smaller than the largest they have seen for the same key: it comes from a try that is over and doesn't know it. A
   * subtask that restarts alone has a larger one than the others, which go on: tokens of different subtasks are not compared. A safe integer.
   */
  readonly fence: number;
}

/** The context of `process` handlers: also the key, the state of that key and its timers. */
export interface ProcessContext<K = unknown, Handles = Readonly<Record<string, StateHandle<unknown>>>> extends OperatorContext {
  readonly key: K;
  readonly state: Handles;
  readonly timers: Timers;
  /**
   * How far event time has come, in milliseconds since 1970: records that follow are later than this, but for late ones. -Infinity before anything is known
   * (and without event time), Infinity when the input has ended. It never goes back, also not after a restart from a checkpoint.
   */
  readonly watermark: number;
}

/** A timer that is due; it belongs to the key of the context. */
export interface Timer {
  readonly kind: "event" | "processing";
  /** The instant that it was set to, in milliseconds since 1970. */
  readonly at: number;
}

/**
 * Timers of the key of the current record, for `onTimer`. They are in checkpoints. The same instant twice is one timer. Instants are milliseconds since 1970.
 */
export interface Timers {
  /** Calls `onTimer` when event time has come to `at`: when no earlier record follows. Of an instant that has passed: with the next progress of event time. */
  eventTime(at: number): void;
  deleteEventTime(at: number): void;
  /** Calls `onTimer` at or after the instant of the clock. */
  processingTime(at: number): void;
  deleteProcessingTime(at: number): void;
  /** The clock of processing time. */
  now(): number;
}

/** Where a `process` handler puts its output. */
export interface Out<T, Sides = Readonly<Record<string, unknown>>> {
  emit(record: T): void;
  /** To the side output of that name, declared in `sides` and read with `.side(tag)`. */
  side<Tag extends keyof Sides & string>(tag: Tag, record: Sides[Tag]): void;
}
