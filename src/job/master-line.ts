/**
 * What the driver says to whoever leads: registration, desired executors, progress (the latest only) and at most one request that must be
 * answered. Without a master everything waits here, and goes with the same content to the next one.
 *
 * Invariant: a leader of a lower epoch than one seen before is never listened to.
 */
import type { ErrorShape } from "../base/errors.js";
import { ERROR_CODES } from "../base/errors.js";
import type { driverToMaster } from "../wire/driver-messages.js";
import type { BodyOf } from "../wire/envelope.js";
import type { Progress } from "../wire/progress.js";
import type { DriverEffect, RequestToMaster } from "./driver-events.js";

type Request = Extract<DriverEffect, { kind: "request" }>;
type Wanted = RequestToMaster;

export class MasterLine {
  highestEpoch: number;
  private link: number | null = null;
  private registered = false;
  private everRegistered = false;
  private request: Request | null = null;
  private asked = 0;
  private retryAt: number | null = null;
  /** Executors have changed since the registration was sent. */
  private unsaid = false;
  private progress: (() => Progress) | null = null;
  private progressAt = Number.NEGATIVE_INFINITY;
  private readonly limits: { readonly retryMs: number; readonly progressMs: number };

  constructor(limits: { readonly retryMs: number; readonly progressMs: number }, highestEpoch: number) {
    this.limits = limits;
    this.highestEpoch = highestEpoch;
  }

  get isRegistered(): boolean {
    return this.registered;
  }

  /** A master has taken this attempt for the current one. */
  get wasRegistered(): boolean {
    return this.everRegistered;
  }

  /** False: this epoch is over. */
  accepts(epoch: number): boolean {
    if (epoch < this.highestEpoch) return false;
    this.highestEpoch = epoch;
    return true;
  }

  found(link: number, body: BodyOf<typeof driverToMaster, "driver.register">, out: DriverEffect[]): void {
    this.link = link;
    this.registered = false;
    this.unsaid = false;
    out.push({ kind: "register", link, body });
  }

  /** False: the answer of a connection that is over. */
  answered(link: number, out: DriverEffect[]): boolean {
    if (link !== this.link) return false;
    this.registered = true;
    this.everRegistered = true;
    this.retryAt = null;
    if (this.request !== null) out.push(this.request);
    return true;
  }

  lost(link: number): void {
    if (link !== this.link) return;
    this.link = null;
    this.registered = false;
    this.retryAt = null;
  }

  executors(wanted: number, released: string[], out: DriverEffect[]): void {
    this.unsaid = !this.registered;
    if (this.registered) out.push({ kind: "tell-master", message: "driver.executors", body: { wanted, released } });
  }

  get hasUnsaid(): boolean {
    return this.unsaid;
  }

  /** There is something new to tell; asked for when it is due. */
  report(progress: () => Progress): void {
    this.progress = progress;
  }

  /** In place of the one before, if that was not answered. */
  ask(wanted: Wanted, out: DriverEffect[]): void {
    this.asked += 1;
    this.request = { kind: "request", number: this.asked, ...wanted };
    this.retryAt = null;
    if (this.registered) out.push(this.request);
  }

  /** Whether this answer settles the request, or it is asked again. */
  settle(number: number, error: ErrorShape | null, now: number): "done" | "again" | "refused" {
    if (this.request?.number !== number) return "again";
    if (error !== null && ERROR_CODES[error.code].retry !== "no") return this.again(now);
    // A link that was closed by this side says nothing about what the master thinks.
    if (error !== null && (error.code === "ABORTED" || error.code === "CLOSED")) return this.again(now);
    this.request = null;
    return error === null ? "done" : "refused";
  }

  flush(now: number, out: DriverEffect[]): void {
    if (!this.registered) return;
    if (this.retryAt !== null && this.retryAt <= now && this.request !== null) {
      this.retryAt = null;
      out.push(this.request);
    }
    if (now >= this.progressAt + this.limits.progressMs) this.tellProgress(now, out);
  }

  /** Without waiting for its turn: something has changed that people look at. */
  tellProgress(now: number, out: DriverEffect[]): void {
    if (!this.registered || this.progress === null) return;
    out.push({ kind: "tell-master", message: "driver.progress", body: this.progress() });
    this.progress = null;
    this.progressAt = now;
  }

  nextDeadline(): number {
    if (!this.registered) return Number.POSITIVE_INFINITY;
    const progress = this.progress === null ? Number.POSITIVE_INFINITY : this.progressAt + this.limits.progressMs;
    return Math.min(progress, this.retryAt ?? Number.POSITIVE_INFINITY);
  }

  private again(now: number): "again" {
    // When the link is gone too, registering with the next leader sends it again.
    this.retryAt = now + this.limits.retryMs;
    return "again";
  }
}
