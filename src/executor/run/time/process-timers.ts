/** The timers of one `process` operator's subtask: of event time and of the clock, by key. */
import type { Timer, Timers } from "../../../api/context.js";
import { TimerQueue } from "../../../dataflow/time/timers.js";
import type { Clock } from "../../../env/clock.js";

/** `id`: of the key that it belongs to. */
export interface KeyedTimer {
  readonly id: unknown;
  readonly timer: Timer;
}

export class ProcessTimers {
  /** What handlers use; it acts for the key of `enter`. */
  readonly handle: Timers;
  private readonly event = new TimerQueue<unknown>();
  private readonly processing = new TimerQueue<unknown>();
  private id: unknown;
  private closed = false;
  private taken: KeyedTimer | null = null;

  /** `hasEventTime`: all sources above have. */
  constructor(clock: Clock, hasEventTime: boolean) {
    this.handle = {
      eventTime: (at) => {
        if (!hasEventTime)
          throw new TypeError("it sets a timer of event time, and a source above it has none: give eventTime with job.from");
        this.set(this.event, at);
      },
      deleteEventTime: (at) => this.event.delete(this.id, at),
      processingTime: (at) => this.set(this.processing, at),
      deleteProcessingTime: (at) => this.processing.delete(this.id, at),
      now: () => clock.wallNow(),
    };
  }

  /** What is set from here on belongs to this key. */
  enter(id: unknown): void {
    this.id = id;
  }

  takeEvent(watermarkMs: number): KeyedTimer | null {
    const due = this.event.take(watermarkMs);
    return due === null ? null : { id: due.key, timer: { kind: "event", at: due.at } };
  }

  takeProcessing(wallMs: number): KeyedTimer | null {
    const due = this.processing.take(wallMs);
    return due === null ? null : { id: due.key, timer: { kind: "processing", at: due.at } };
  }

  /** While `run` runs, what `of` says is as if the timer had not been taken. */
  asBefore(taken: KeyedTimer, run: () => void): void {
    this.taken = taken;
    run();
    this.taken = null;
  }

  has(id: unknown): boolean {
    return this.event.of(id).length > 0 || this.processing.of(id).length > 0;
  }

  forget(id: unknown): void {
    for (const queue of [this.event, this.processing]) for (const at of queue.of(id)) queue.delete(id, at);
  }

  nextProcessing(): number | null {
    return this.processing.next();
  }

  of(id: unknown): { readonly event: readonly number[]; readonly processing: readonly number[] } {
    const { taken } = this;
    const more = (kind: Timer["kind"]) => (taken !== null && taken.id === id && taken.timer.kind === kind ? [taken.timer.at] : []);
    return { event: [...this.event.of(id), ...more("event")], processing: [...this.processing.of(id), ...more("processing")] };
  }

  restore(id: unknown, instants: ReturnType<ProcessTimers["of"]>): void {
    for (const at of instants.event) this.event.set(id, at);
    for (const at of instants.processing) this.processing.set(id, at);
  }

  /** The input has ended: nothing is set any more. */
  close(): void {
    this.closed = true;
  }

  private set(queue: TimerQueue<unknown>, at: number): void {
    if (!Number.isFinite(at)) throw new TypeError(`it sets a timer to ${String(at)}, not to milliseconds since 1970`);
    if (!this.closed) queue.set(this.id, at);
  }
}

const refuse = (): never => {
  throw new TypeError("it uses timers, and has no onTimer");
};

/** Of a process without `onTimer`. */
export const noTimers: Timers = {
  eventTime: refuse,
  deleteEventTime: refuse,
  processingTime: refuse,
  deleteProcessingTime: refuse,
  now: refuse,
};
