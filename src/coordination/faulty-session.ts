/**
 * A session behind a connection that can break: see faulty-store.ts.
 *
 * Model of the connection: requests of a session reach the store one after another (`lane`), and each connection has a number; a
 * request or an answer that was under way when the connection broke is lost. While connected, pings are answered all the time.
 */
import { CodedError } from "../base/errors.js";
import type { Timer } from "../env/clock.js";
import type {
  CallOptions,
  CommitResult,
  CoordinationSession,
  Page,
  StoredRecord,
  Transaction,
  Watch,
  WatchEvent,
} from "../env/coordination-store.js";
import { type FaultyProcess, outcomeUnknown, type StoreCall, type StoreFault } from "./faulty-store.js";
import { untilAborted } from "./until-aborted.js";

/** A leader stops acting this part of the session's time after the last answered ping (design.md, leadership). */
const DEADLINE_FRACTION = 2 / 3;

const NEVER = new Promise<never>(() => {});

export class FaultySession implements CoordinationSession {
  readonly id: string;
  readonly ended: Promise<CodedError>;
  private readonly inner: CoordinationSession;
  private readonly ttlMs: number;
  private readonly process: FaultyProcess;
  private readonly watches = new Set<(event: WatchEvent) => void>();
  private readonly never = new AbortController().signal;
  private lane: Promise<unknown> = Promise.resolve();
  /** Counts broken connections. */
  private connection = 0;
  /** Each loses one request or answer that travels. */
  private readonly underWay = new Set<() => void>();
  private lastAnsweredAt: number | undefined;
  private expiry: Timer | undefined;
  private expiredAtStore = false;
  private watchesBlind = false;
  private end: CodedError | undefined;
  private resolveEnded: (reason: CodedError) => void = () => {};

  constructor(inner: CoordinationSession, ttlMs: number, process: FaultyProcess) {
    this.inner = inner;
    this.id = inner.id;
    this.ttlMs = ttlMs;
    this.process = process;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    void inner.ended.then((reason) => {
      if (!this.expiredAtStore) this.finish(reason);
    });
  }

  deadline(): number {
    return (this.lastAnsweredAt ?? this.process.clock.now()) + this.ttlMs * DEADLINE_FRACTION;
  }

  get(key: string, { signal }: CallOptions): Promise<StoredRecord | undefined> {
    return this.call({ kind: "get", sessionId: this.id }, signal, () => this.inner.get(key, { signal: this.never }));
  }

  list(
    request: { readonly prefix: string; readonly after?: string; readonly limit: number },
    { signal }: CallOptions,
  ): Promise<Page> {
    return this.call({ kind: "list", sessionId: this.id }, signal, () => this.inner.list(request, { signal: this.never }));
  }

  commit(transaction: Transaction, { signal }: CallOptions): Promise<CommitResult> {
    const call = { kind: "commit", sessionId: this.id, transaction } as const;
    return this.call(call, signal, () => this.inner.commit(transaction, { signal: this.never }));
  }

  watch(prefix: string, listener: (event: WatchEvent) => void): Watch {
    let open = true;
    const deliver = (event: WatchEvent) => {
      if (open && this.end === undefined) listener(event);
    };
    const inner = this.inner.watch(prefix, (event) => this.onWatchEvent(event, deliver));
    this.watches.add(deliver);
    return {
      close: () => {
        open = false;
        this.watches.delete(deliver);
        inner.close();
      },
    };
  }

  async close(): Promise<void> {
    if (this.process.state() === "crashed") return NEVER;
    this.finish(new CodedError("CLOSED", "the session was closed"));
    // Without a connection the store does not hear of it and lets the session expire.
    if (this.process.state() === "connected") await this.inner.close();
  }

  /** The connection broke: what is under way is lost, and the store waits `expireAfterMs` before it gives the session up. */
  disconnected(expireAfterMs = this.ttlMs): void {
    this.lastAnsweredAt ??= this.process.clock.now();
    this.breakConnection();
    this.expiry ??= this.process.storeClock.at(this.process.storeClock.now() + expireAfterMs, () => void this.expire());
  }

  reconnected(): void {
    if (this.expiredAtStore) {
      this.finish(expired());
      return;
    }
    this.expiry?.cancel();
    this.expiry = undefined;
    this.lastAnsweredAt = undefined;
    this.tellLost();
  }

  async expire(): Promise<void> {
    this.expiredAtStore = true;
    this.expiry?.cancel();
    if (this.process.state() === "connected") this.finish(expired());
    await this.inner.close();
  }

  loseWatches(afterMs: number): void {
    this.watchesBlind = true;
    const { storeClock } = this.process;
    storeClock.at(storeClock.now() + afterMs, () => {
      this.watchesBlind = false;
      this.tellLost();
    });
  }

  private call<T>(call: StoreCall, signal: AbortSignal, request: () => Promise<T>): Promise<T> {
    return untilAborted(this.exchange(call, signal, request), signal);
  }

  private async exchange<T>(call: StoreCall, signal: AbortSignal, request: () => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    this.throwIfOver();
    const sent = this.lane.then(() => this.send(call, signal, request));
    // The next request leaves when this one has reached the store, whatever became of it.
    this.lane = sent.then(
      () => {},
      () => {},
    );
    const { answer, replyDelayMs } = await sent;
    if (replyDelayMs > 0) await this.travel(replyDelayMs, call);
    return answer;
  }

  /** Until the store has applied the request. A request whose caller gave up before it left never leaves. */
  private async send<T>(
    call: StoreCall,
    signal: AbortSignal,
    request: () => Promise<T>,
  ): Promise<{ readonly answer: T; readonly replyDelayMs: number }> {
    while (this.process.state() !== "connected") {
      this.throwIfOver();
      signal.throwIfAborted();
      if (this.process.state() === "reject")
        throw new CodedError("CONNECTION_LOST", "there is no connection to the coordination store");
      await this.process.connected();
    }
    this.throwIfOver();
    signal.throwIfAborted();
    const fault = this.process.decide(call) ?? {};
    if (fault.requestDelayMs !== undefined && fault.requestDelayMs > 0) await this.travel(fault.requestDelayMs, call);
    this.throwIfOver();
    const answer = await this.applyWith(fault, request);
    return { answer, replyDelayMs: fault.replyDelayMs ?? 0 };
  }

  /** A way through the network, broken off when the connection breaks or the session ends. */
  private async travel(delayMs: number, call: StoreCall): Promise<void> {
    const { storeClock } = this.process;
    const arrived = await new Promise<boolean>((resolve) => {
      const timer = storeClock.at(storeClock.now() + delayMs, () => {
        this.underWay.delete(lose);
        resolve(true);
      });
      const lose = () => {
        timer.cancel();
        resolve(false);
      };
      this.underWay.add(lose);
    });
    if (arrived) return;
    const state = this.process.state();
    if (state === "hang" || state === "crashed") await this.process.connected();
    if (call.kind === "commit") throw outcomeUnknown();
    this.throwIfOver();
    throw new CodedError("CONNECTION_LOST", "the connection to the coordination store broke");
  }

  private async applyWith<T>(fault: StoreFault, request: () => Promise<T>): Promise<T> {
    const { outcome } = fault;
    if (outcome === undefined) return request();
    if (outcome === "connection-lost") throw new CodedError("CONNECTION_LOST", "the connection to the coordination store broke");
    if (outcome.endsWith("-applied") && !outcome.endsWith("-not-applied")) await request();
    if (outcome.startsWith("unknown-")) throw outcomeUnknown();
    if (outcome.startsWith("expired-")) {
      await this.expire();
      throw outcome === "expired-applied" ? outcomeUnknown() : expired();
    }
    const failed = new CodedError("DISK_FAILED", "the coordination store could not write to its disk");
    this.finish(failed);
    await this.inner.close();
    throw failed;
  }

  private onWatchEvent(event: WatchEvent, deliver: (event: WatchEvent) => void): void {
    const passes = () => !this.watchesBlind && this.process.state() === "connected";
    const delayMs = this.process.decide({ kind: "watch-event", sessionId: this.id })?.replyDelayMs ?? 0;
    if (delayMs === 0) {
      if (passes()) deliver(event);
      return;
    }
    const { storeClock } = this.process;
    const connection = this.connection;
    storeClock.at(storeClock.now() + delayMs, () => {
      if (passes() && connection === this.connection) deliver(event);
    });
  }

  private tellLost(): void {
    for (const deliver of this.watches) queueMicrotask(() => deliver({ kind: "lost" }));
  }

  private breakConnection(): void {
    this.connection++;
    for (const lose of this.underWay) lose();
    this.underWay.clear();
  }

  private finish(reason: CodedError): void {
    if (this.end !== undefined) return;
    this.end = reason;
    this.process.forget(this);
    this.breakConnection();
    this.watches.clear();
    this.resolveEnded(reason);
  }

  private throwIfOver(): void {
    if (this.end === undefined) return;
    if (this.end.code === "CLOSED") throw this.end;
    throw new CodedError("SESSION_ENDED", `the session has ended: ${this.end.message}`, { cause: this.end });
  }
}

function expired(): CodedError {
  return new CodedError(
    "SESSION_ENDED",
    "the coordination store gave the session up: it had not heard of this process for too long",
  );
}
