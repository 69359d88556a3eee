/**
 * The control side of an executor: follows its driver's orders, one slice at a time. Pure; see base/core.ts.
 *
 *   idle -> running -> done | failed -> idle          (reported; forgotten with the next order)
 *             |-> stopping -> idle                    (`executor.cancelled`; the next order waits until nothing of the slice is open)
 *
 * Invariants:
 *   1. At most one slice runs. Orders of a try before the newest one are stale and ignored; the same order again changes nothing.
 *   2. What a try ended with is told again to a driver that comes back.
 *   3. Without its driver it goes on working until the deadline, and ends itself then; a refused connection shortens the deadline, unless its slice takes
 *      checkpoints: then the next driver attempt may take it over, and is offered it (slice-ledger.ts).
 *   4. It obeys the highest driver attempt that it has been connected to: it is connected to no earlier one again.
 */
import { unreachable } from "../../base/assert.js";
import type { Core, Now, Turn } from "../../base/core.js";
import type { ErrorShape } from "../../base/errors.js";
import type { ExecutorConfig, ExecutorEffect, ExecutorEvent, SliceOrder } from "./executor-events.js";
import { SliceLedger } from "./slice-ledger.js";

type Report =
  Extract<ExecutorEffect, { kind: "tell-driver" }> extends infer T ? (T extends { link: number } ? Omit<T, "link"> : never) : never;

type Slice =
  | { readonly kind: "idle" }
  | { readonly kind: "running"; readonly try: number }
  /** `next`: what the driver ordered meanwhile. */
  | { readonly kind: "stopping"; readonly try: number; readonly next: SliceOrder | null }
  | { readonly kind: "reported"; readonly try: number; readonly report: Report };

export interface ExecutorView {
  readonly slice: Slice["kind"];
  readonly try: number;
  readonly connected: boolean;
}

export interface ExecutorCore extends Core<ExecutorEvent, ExecutorEffect> {
  view(): ExecutorView;
}

export function createExecutorCore(config: ExecutorConfig): ExecutorCore {
  return new Executor(config);
}

class Executor implements ExecutorCore {
  private readonly config: ExecutorConfig;
  private driverDeadlineMs: number;
  private link: number | null = null;
  private dialling = false;
  private redialAt: number | null = null;
  private lostAt = 0;
  private refusedSince: number | null = null;
  private slice: Slice = { kind: "idle" };
  private newestTry = 0;
  /** Of the slice that runs or has ended well, if it takes checkpoints. */
  private ledger: SliceLedger | null = null;
  /** Of the driver at the other end of the link, and the highest that was ever there. */
  private attempt = 0;
  /** Of the driver that last answered the registration; 0: none did. */
  private drivenBy = 0;
  /** Of the last checkpoint that the slice has answered. */
  private told: Extract<Report, { message: "executor.checkpointed" }> | null = null;
  /** Set when it is to end as soon as nothing of the slice is open. */
  private ending: { readonly exitCode: 0 | 1; readonly reason: string } | null = null;
  private over = false;
  private out: ExecutorEffect[] = [];
  private now = 0;

  constructor(config: ExecutorConfig) {
    this.config = config;
    this.driverDeadlineMs = config.limits.driverDeadlineMs;
  }

  step(event: ExecutorEvent, now: Now, turn: Turn<ExecutorEffect>): void {
    if (this.over) return;
    this.out = turn.effects;
    this.now = now.instant;
    this.handle(event);
  }

  nextWakeAt(): number | null {
    if (this.over || this.link !== null || this.ending !== null) return null;
    return Math.min(this.redialAt ?? Number.POSITIVE_INFINITY, this.deadline());
  }

  view(): ExecutorView {
    return { slice: this.slice.kind, try: this.newestTry, connected: this.link !== null };
  }

  private handle(event: ExecutorEvent): void {
    switch (event.kind) {
      case "started":
        this.lostAt = this.now;
        this.dial();
        return;
      case "wake-up":
        this.wakeUp();
        return;
      case "driver.connected":
        this.connected(event.link, event.attempt);
        return;
      case "driver.successor":
        this.successor(event.attempt);
        return;
      case "driver.dial-failed":
        this.dialFailed(event.error);
        return;
      case "driver.lost":
        this.driverLost(event.link);
        return;
      case "driver.registered":
        if (event.link === this.link) this.registered(event.driverDeadlineMs);
        return;
      case "driver.deploy":
        if (event.link === this.link) this.deploy(event);
        return;
      case "driver.cancel":
        if (event.link === this.link) this.cancel(event.try);
        return;
      case "driver.checkpoint":
        if (event.link === this.link) this.checkpoint(event);
        return;
      case "driver.finish":
        if (event.link === this.link) this.endWhenStopped(0, event.reason);
        return;
      case "slice.progress":
        if (!this.runs(event.try)) return;
        this.ledger?.count(event.progress);
        this.tell({ kind: "tell-driver", message: "executor.progress", body: { try: event.try, progress: event.progress } });
        return;
      case "slice.given":
        if (this.ledger?.order.try === event.try) this.ledger.given(event.source, event.ask, event.split);
        return;
      case "slice.checkpointed":
        this.checkpointed(event);
        return;
      case "slice.done":
        this.sliceDone(event);
        return;
      case "slice.failed":
        this.sliceFailed(event.try, event.error);
        return;
      case "crashed":
        this.crashed(event.error);
        return;
      case "terminate":
        this.endWhenStopped(1, event.reason);
        return;
      default:
        unreachable(event, "executor event");
        return;
    }
  }

  // ------------------------------------------------------------------------------------------------ the driver

  private dial(): void {
    this.dialling = true;
    this.redialAt = null;
    this.out.push({ kind: "dial" });
  }

  private wakeUp(): void {
    if (this.link !== null || this.ending !== null) return;
    if (this.now >= this.deadline()) {
      this.endWhenStopped(1, this.whyLost());
      return;
    }
    if (this.redialAt !== null && this.now >= this.redialAt) this.dial();
  }

  private deadline(): number {
    const silent = this.lostAt + this.driverDeadlineMs;
    if (this.refusedSince === null || this.mayBeTakenOver()) return silent;
    return Math.min(silent, this.refusedSince + this.config.limits.refusedGraceMs);
  }

  private whyLost(): string {
    return this.refusedSince === null
      ? `its driver was away for ${this.driverDeadlineMs} ms`
      : "its driver is gone: the connection is refused";
  }

  private connected(link: number, attempt: number): void {
    const { processId, pid, dataAddress, graphHash } = this.config;
    this.dialling = false;
    this.redialAt = null;
    if (attempt < this.attempt) {
      // Only a driver that is superseded can still be there.
      this.out.push({ kind: "leave-driver", link });
      this.redialAt = this.now + this.config.limits.redialMs;
      return;
    }
    this.link = link;
    this.attempt = attempt;
    this.refusedSince = null;
    const slice = this.offer();
    this.out.push({
      kind: "tell-driver",
      link,
      message: "executor.register",
      body: { processId, pid, dataAddress, graphHash, try: this.newestTry, ...(slice === null ? {} : { slice }) },
    });
  }

  /** To a driver that goes on with what another one began. */
  private offer() {
    if (this.drivenBy === 0 || this.drivenBy === this.attempt || !this.mayBeTakenOver()) return null;
    return this.ledger?.offer(this.drivenBy, this.slice.kind === "reported") ?? null;
  }

  /** It runs, or has ended well, and the next driver attempt can know from checkpoints what it did. */
  private mayBeTakenOver(): boolean {
    const { slice } = this;
    if (this.ledger === null || this.ending !== null) return false;
    return slice.kind === "running" || (slice.kind === "reported" && slice.report.message === "executor.done");
  }

  private successor(attempt: number): void {
    if (attempt <= this.attempt || this.link === null) return;
    const { link } = this;
    this.out.push({ kind: "leave-driver", link });
    this.driverLost(link);
  }

  private dialFailed(error: ErrorShape): void {
    if (!this.dialling) return;
    this.dialling = false;
    if (error.code !== "CONNECTION_REFUSED") this.refusedSince = null;
    else this.refusedSince ??= this.now;
    this.redialAt = this.now + this.config.limits.redialMs;
  }

  private driverLost(link: number): void {
    if (link !== this.link) return;
    this.link = null;
    this.lostAt = this.now;
    if (this.ending === null) this.dial();
  }

  private registered(driverDeadlineMs: number): void {
    this.driverDeadlineMs = driverDeadlineMs;
    this.drivenBy = this.attempt;
    if (this.slice.kind === "reported") this.tell(this.slice.report);
  }

  // ------------------------------------------------------------------------------------------------ the slice

  private deploy(order: SliceOrder): void {
    if (order.try <= this.newestTry || this.ending !== null) return;
    this.newestTry = order.try;
    const { slice } = this;
    if (slice.kind === "running") {
      this.slice = { kind: "stopping", try: slice.try, next: order };
      this.out.push({ kind: "cancel-slice", try: slice.try, reason: `try ${order.try} of the job begins` });
    } else if (slice.kind === "stopping") this.slice = { ...slice, next: order };
    else this.start(order);
  }

  private start(order: SliceOrder): void {
    this.slice = { kind: "running", try: order.try };
    this.told = null;
    const { try: tryNumber, subtask, parallelism, peers, name, storage, restore } = order;
    const named = name === undefined ? {} : { name };
    const kept = { ...(storage === undefined ? {} : { storage }), ...(restore === undefined ? {} : { restore }) };
    const whole = { try: tryNumber, ...named, subtask, parallelism, peers, ...kept };
    this.ledger = storage === undefined ? null : new SliceLedger(whole);
    this.out.push({ kind: "start-slice", order: whole });
  }

  private cancel(tryNumber: number): void {
    if (tryNumber < this.newestTry || this.ending !== null) return;
    // A cancel may overtake nothing, but the order that it cancels may have been lost with a connection.
    this.newestTry = tryNumber;
    const { slice } = this;
    if (slice.kind === "running") {
      this.slice = { kind: "stopping", try: slice.try, next: null };
      this.out.push({ kind: "cancel-slice", try: slice.try, reason: "the driver cancelled this try" });
    } else if (slice.kind === "stopping") this.slice = { ...slice, next: null };
    else this.settle({ kind: "tell-driver", message: "executor.cancelled", body: { try: tryNumber } }, tryNumber);
  }

  /** The slice knows what it has done of it: an order that comes again changes nothing. What it has told already is told again, it may have been lost. */
  private checkpoint({ try: tryNumber, id, order, completed }: Extract<ExecutorEvent, { kind: "driver.checkpoint" }>): void {
    if (this.slice.kind !== "running" || this.slice.try !== tryNumber) return;
    this.ledger?.confirm(completed);
    const told = this.told?.body;
    if (order === "begin" && told?.id === id && told.try === tryNumber && this.told !== null) this.tell(this.told);
    else this.out.push({ kind: "checkpoint-slice", order: { try: tryNumber, id, order, completed } });
  }

  private checkpointed({ try: tryNumber, id, snapshot, error }: Extract<ExecutorEvent, { kind: "slice.checkpointed" }>): void {
    if (this.slice.kind !== "running" || this.slice.try !== tryNumber) return;
    if (snapshot !== null) this.ledger?.took(id, snapshot.sources);
    this.told = { kind: "tell-driver", message: "executor.checkpointed", body: { try: tryNumber, id, snapshot, error } };
    this.tell(this.told);
  }

  private sliceDone(event: Extract<ExecutorEvent, { kind: "slice.done" }>): void {
    if (this.ended(event.try)) return;
    if (this.slice.kind === "stopping") {
      this.stopped(this.slice);
      return;
    }
    const { committables, progress } = event;
    this.ledger?.count(progress);
    this.settle({ kind: "tell-driver", message: "executor.done", body: { try: event.try, committables, progress } }, event.try);
  }

  private sliceFailed(tryNumber: number, error: ErrorShape): void {
    if (this.ended(tryNumber)) return;
    if (this.slice.kind === "stopping") {
      // It had failed by itself before it was told to stop: what its neighbours reported were symptoms of this.
      if (error.code !== "ABORTED") this.tell({ kind: "tell-driver", message: "executor.failed", body: { try: tryNumber, error } });
      this.stopped(this.slice);
      return;
    }
    this.settle({ kind: "tell-driver", message: "executor.failed", body: { try: tryNumber, error } }, tryNumber);
  }

  /** Whether this end of a slice is to be ignored; when the process itself waits for it, it ends now. */
  private ended(tryNumber: number): boolean {
    if (!this.runs(tryNumber)) return true;
    if (this.ending === null) return false;
    this.slice = { kind: "idle" };
    this.end(this.ending.exitCode, this.ending.reason);
    return true;
  }

  private stopped(slice: Extract<Slice, { kind: "stopping" }>): void {
    this.settle({ kind: "tell-driver", message: "executor.cancelled", body: { try: this.newestTry } }, this.newestTry);
    if (slice.next !== null) this.start(slice.next);
  }

  private settle(report: Report, tryNumber: number): void {
    this.slice = { kind: "reported", try: tryNumber, report };
    this.tell(report);
  }

  private runs(tryNumber: number): boolean {
    return (this.slice.kind === "running" || this.slice.kind === "stopping") && this.slice.try === tryNumber;
  }

  private tell(report: Report): void {
    if (this.link !== null) this.out.push({ ...report, link: this.link });
  }

  // ------------------------------------------------------------------------------------------------ the end

  private crashed(error: ErrorShape): void {
    const tryNumber = this.slice.kind === "idle" ? null : this.slice.try;
    if (tryNumber !== null) this.tell({ kind: "tell-driver", message: "executor.failed", body: { try: tryNumber, error } });
    this.end(1, error.message);
  }

  private endWhenStopped(exitCode: 0 | 1, reason: string): void {
    if (this.ending !== null) return;
    this.ending = { exitCode, reason };
    const { slice } = this;
    if (slice.kind === "running") this.out.push({ kind: "cancel-slice", try: slice.try, reason });
    else if (slice.kind !== "stopping") this.end(exitCode, reason);
  }

  private end(exitCode: 0 | 1, reason: string): void {
    this.over = true;
    this.out.push({ kind: "end", exitCode, reason });
  }
}
