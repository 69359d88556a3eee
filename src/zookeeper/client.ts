/**
 * The client: one session over many connections.
 *
 * Boundary: joins the parts; each rule stands with its noun (session.ts, call-queue.ts, watches.ts, server-ring.ts, connection.ts). Sockets come as a
 * `Dial`. Invariants:
 *   1. At most one connection at a time, or one pause before the next; none after the end.
 *   2. What a new connection is told first: credentials, watches, then calls.
 *   3. Listeners are called in a microtask of their own, after the promises of answers that came before.
 */
import { AbortListeners } from "./abort.js";
import type { Call, CallQueue } from "./call-queue.js";
import type { ZooKeeperClock } from "./clock.js";
import type { ServerAddress } from "./connect-string.js";
import { addressText } from "./connect-string.js";
import { Connection, lostCall } from "./connection.js";
import type { Dial } from "./dial.js";
import { ZooKeeperError } from "./errors.js";
import { JuteError, type JuteReader } from "./jute.js";
import { authRequest, closeSessionRequest, setWatchesRequest, XID } from "./requests.js";
import type { Notification, ReplyHeader } from "./responses.js";
import type { ServerRing } from "./server-ring.js";
import type { Session } from "./session.js";
import { splitWatchPaths, WatchRegistry } from "./watches.js";
import type { DigestAuth, StateEvent } from "./zookeeper.js";

export interface ClientSettings {
  readonly session: Session;
  readonly ring: ServerRing;
  readonly queue: CallQueue;
  readonly dial: Dial;
  readonly clock: ZooKeeperClock;
  readonly auth: readonly DigestAuth[];
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  readonly connectTimeoutMs: number | undefined;
}

/** One call as its maker describes it. */
export interface CallDescription<T> {
  readonly name: string;
  /** The caller's, for error texts. */
  readonly path: string;
  readonly changes: boolean;
  readonly frame: Buffer;
  readonly signal: AbortSignal | undefined;
  /** Gives the value, or the error to reject with. Throws JuteError. */
  read(header: ReplyHeader, reader: JuteReader): T | ZooKeeperError;
  /** Once, whatever happened. */
  settled?(): void;
}

interface Credential extends DigestAuth {
  /** Callers of `addAuth` that wait for the server's word. */
  readonly waiting: Set<(error: ZooKeeperError | null) => void>;
}

interface StateListener {
  readonly listener: (event: StateEvent) => void;
  listens: boolean;
}

const MAX_CLOSE_MS = 5_000;

export class Client {
  readonly watches = new WatchRegistry();
  readonly ended: Promise<ZooKeeperError>;
  readonly session: Session;
  readonly #settings: ClientSettings;
  readonly #queue: CallQueue;
  readonly #credentials: Credential[];
  readonly #listeners = new Set<StateListener>();
  readonly #aborts: AbortListeners<{ abort(reason: unknown): void }>;
  #resolveEnded: (reason: ZooKeeperError) => void = () => {};
  #connection: Connection | null = null;
  #pause: { cancel(): void } | null = null;
  /** Of this connection: credentials that the server has not answered, oldest first, and parts of SetWatches. */
  #unansweredAuth: Credential[] = [];
  #unansweredWatches = 0;
  #wasConnected: boolean;
  #lastFailure: ZooKeeperError | null = null;
  #closing: Promise<void> | null = null;

  constructor(settings: ClientSettings) {
    this.#settings = settings;
    this.session = settings.session;
    this.#wasConnected = settings.session.exists;
    this.#queue = settings.queue;
    this.#credentials = settings.auth.map((auth) => ({ ...auth, waiting: new Set() }));
    this.#aborts = new AbortListeners((item, reason) => item.abort(reason));
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    // The caller gets to listen before anything happens.
    this.#pause = settings.clock.at(settings.clock.now(), () => this.#connect());
  }

  get hasCredentials(): boolean {
    return this.#credentials.length > 0;
  }

  onState(listener: (event: StateEvent) => void): () => void {
    const entry = { listener, listens: true };
    this.#listeners.add(entry);
    return () => {
      entry.listens = false;
      this.#listeners.delete(entry);
    };
  }

  connected(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (run: () => void): void => {
        stopListening();
        if (signal !== undefined) this.#aborts.remove(signal, waiter);
        run();
      };
      const waiter = { abort: (reason: unknown) => settle(() => reject(this.#notConnected(reason))) };
      const stopListening = this.onState((event) => {
        if (event.state === "connected") settle(resolve);
        else if (event.state === "ended") settle(() => reject(event.reason));
      });
      const { state, end } = this.session;
      if (end !== null) settle(() => reject(end));
      else if (state === "connected") settle(resolve);
      else if (signal?.aborted === true) waiter.abort(signal.reason);
      else if (signal !== undefined) this.#aborts.add(signal, waiter);
    });
  }

  #notConnected(cause: unknown): ZooKeeperError {
    const why = this.#lastFailure === null ? "no try has come to an end yet" : this.#lastFailure.message;
    return new ZooKeeperError("ABORTED", `There is no connection to ZooKeeper: ${why}`, { cause });
  }

  call<T>(description: CallDescription<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { name, path, changes, frame, signal } = description;
      const settle = (): void => {
        if (signal !== undefined) this.#aborts.remove(signal, waiter);
        description.settled?.();
      };
      const fail = (error: ZooKeeperError): void => {
        settle();
        reject(error);
      };
      const call: Call = {
        name,
        path,
        changes,
        frame,
        state: "waiting",
        sentAt: 0,
        xid: 0,
        answered: (header, reader) => {
          const value = description.read(header, reader);
          settle();
          if (value instanceof ZooKeeperError) reject(value);
          else resolve(value);
        },
        failed: fail,
      };
      const waiter = { abort: (reason: unknown) => fail(abortedCall(call, this.#queue.abandon(call), reason)) };
      const refusal =
        this.#refusal(call) ?? (signal?.aborted === true ? abortedCall(call, false, signal.reason) : this.#queue.add(call));
      if (refusal !== null) {
        fail(refusal);
        return;
      }
      if (signal !== undefined) this.#aborts.add(signal, waiter);
      this.#connection?.flushSoon();
    });
  }

  #refusal({ name, path, frame }: Call): ZooKeeperError | null {
    const { end } = this.session;
    if (end !== null) return new ZooKeeperError(end.code, `${name} ${path}: ${end.message}`, { path, cause: end });
    if (this.#closing !== null) return new ZooKeeperError("CLOSED", `${name} ${path}: the client was closed`, { path });
    const { maxRequestBytes } = this.#settings;
    const sizeBytes = frame.length - LENGTH_BYTES;
    if (sizeBytes <= maxRequestBytes) return null;
    const text = `${name} ${path}: the request has ${sizeBytes} bytes, and the server takes at most ${maxRequestBytes}`;
    return new ZooKeeperError("TOO_LARGE", text, {
      path,
      hint: "Split it, or raise jute.maxbuffer on all servers and maxRequestBytes here.",
    });
  }

  addAuth(auth: DigestAuth, signal: AbortSignal | undefined): Promise<void> {
    const { end } = this.session;
    if (end !== null) return Promise.reject(end);
    const known = this.#credentials.find((credential) => credential.scheme === auth.scheme && credential.auth === auth.auth);
    const credential: Credential = known ?? { ...auth, waiting: new Set() };
    if (known === undefined) this.#credentials.push(credential);
    return new Promise((resolve, reject) => {
      const settle = (error: ZooKeeperError | null): void => {
        credential.waiting.delete(settle);
        if (signal !== undefined) this.#aborts.remove(signal, waiter);
        if (error === null) resolve();
        else reject(error);
      };
      const waiter = { abort: (cause: unknown) => settle(new ZooKeeperError("ABORTED", "addAuth: the caller gave up", { cause })) };
      credential.waiting.add(settle);
      if (signal?.aborted === true) waiter.abort(signal.reason);
      else if (signal !== undefined) this.#aborts.add(signal, waiter);
      if (this.#connection?.ready === true) this.#connection.sendNow(this.#authFrame(credential));
    });
  }

  #authFrame(credential: Credential): Buffer {
    this.#unansweredAuth.push(credential);
    return authRequest(credential.scheme, credential.auth);
  }

  #connect(): void {
    this.#pause = null;
    const { ring, dial, clock, maxResponseBytes, connectTimeoutMs } = this.#settings;
    const server = ring.next();
    const attemptMs = connectTimeoutMs ?? ring.attemptMs(this.session.timeoutMs, this.session.exists);
    this.#unansweredAuth = [];
    this.#unansweredWatches = 0;
    this.#connection = new Connection({
      dial,
      clock,
      session: this.session,
      queue: this.#queue,
      maxResponseBytes,
      server,
      attemptMs,
      listener: {
        established: (at) => this.#established(at),
        notified: (notification) => this.#notified(notification),
        ownAnswer: (header) => this.#ownAnswer(header),
        over: (error) => this.#over(error),
      },
    });
  }

  #established(server: ServerAddress): readonly Buffer[] {
    const first = this.#credentials.map((credential) => this.#authFrame(credential));
    const parts = splitWatchPaths(this.watches.paths());
    this.#unansweredWatches = parts.length;
    const { lastZxid, idText } = this.session;
    first.push(...parts.map((part) => setWatchesRequest(lastZxid, part)));
    const reattached = this.#wasConnected;
    this.#wasConnected = true;
    this.#tell({ state: "connected", server: addressText(server), sessionId: idText, reattached });
    return first;
  }

  #ownAnswer({ xid, errorNumber }: ReplyHeader): void {
    if (xid === XID.auth) this.#authAnswered(errorNumber);
    else if (errorNumber !== 0) throw new JuteError(`watches are not restored (ZooKeeper's error ${errorNumber})`);
    else if (this.#unansweredWatches > 0 && --this.#unansweredWatches === 0) {
      for (const { heard, path } of this.watches.persistentListeners()) heard("restored", path);
    }
  }

  #authAnswered(errorNumber: number): void {
    const credential = this.#unansweredAuth.shift();
    if (credential === undefined) return;
    if (errorNumber !== 0) {
      this.#end(new ZooKeeperError("AUTH_FAILED", `ZooKeeper does not accept the ${credential.scheme} credentials`));
      return;
    }
    for (const settle of [...credential.waiting]) settle(null);
  }

  #notified(notification: Notification): void {
    const { type, path } = notification;
    if (type === null) return;
    for (const heard of this.watches.heardBy(notification)) heard(type, path);
  }

  #over(error: ZooKeeperError): void {
    const { ring, clock } = this.#settings;
    const since = this.#connection?.readySince;
    this.#connection = null;
    this.#lastFailure = error;
    if (error.code === "SESSION_EXPIRED") {
      this.#end(error);
      return;
    }
    this.session.broken();
    this.watches.forgetConnection();
    if (since !== undefined) {
      if (clock.now() - since >= this.session.timeoutMs / 3) ring.provedGood();
      this.#breakOff(error);
    }
    this.#tell({ state: "connecting", reason: error });
    if (this.session.state === "ended") return;
    this.#pause = clock.at(clock.now() + ring.pauseMs(this.session.timeoutMs), () => this.#connect());
  }

  #breakOff(cause: ZooKeeperError): void {
    const { sent, waiting } = this.#queue.breakOff();
    for (const call of sent) {
      call.state = "settled";
      call.failed(lostCall(call, cause));
    }
    for (const call of waiting) fail(call, "CONNECTION_LOST", `was not sent. ${cause.message}`, cause);
  }

  #end(reason: ZooKeeperError): void {
    if (!this.session.finish(reason)) return;
    this.#pause?.cancel();
    this.#connection?.drop();
    this.#connection = null;
    const { sent, waiting } = this.#queue.breakOff();
    for (const call of sent) {
      call.state = "settled";
      call.failed(endedCall(call, reason));
    }
    for (const call of waiting) fail(call, reason.code, reason.message, reason);
    for (const credential of this.#credentials) for (const settle of [...credential.waiting]) settle(reason);
    this.watches.clear();
    this.#tell({ state: "ended", reason });
    this.#listeners.clear();
    this.#resolveEnded(reason);
  }

  #tell(event: StateEvent): void {
    for (const entry of this.#listeners) queueMicrotask(() => entry.listens && entry.listener(event));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { clock } = this.#settings;
    if (this.session.state === "ended") return;
    for (const call of this.#queue.takeWaiting()) fail(call, "CLOSED", "the client was closed", undefined);
    const limit = clock.at(clock.now() + Math.min(this.session.timeoutMs, MAX_CLOSE_MS), () => this.#end(closedError()));
    if (this.session.exists || this.#connection?.ready === true) this.#sayGoodbye();
    else this.#end(closedError());
    await this.ended;
    limit.cancel();
  }

  /** Until the server has confirmed it, or time is up; a broken connection means to say it again on the next. */
  #sayGoodbye(): void {
    const call: Call = {
      name: "close",
      path: this.session.idText,
      changes: true,
      frame: closeSessionRequest(),
      state: "waiting",
      sentAt: 0,
      xid: 0,
      answered: () => this.#end(closedError()),
      failed: () => {
        if (this.session.state !== "ended") this.#sayGoodbye();
      },
    };
    this.#queue.add(call);
    this.#connection?.flushSoon();
  }
}

const LENGTH_BYTES = 4;

const closedError = (): ZooKeeperError => new ZooKeeperError("CLOSED", "The ZooKeeper client was closed");

function fail(call: Call, code: ZooKeeperError["code"], why: string, cause: ZooKeeperError | undefined): void {
  call.state = "settled";
  call.failed(new ZooKeeperError(code, `${call.name} ${call.path}: ${why}`, { path: call.path, cause }));
}

function endedCall(call: Call, reason: ZooKeeperError): ZooKeeperError {
  const outcome = call.changes ? "unknown" : "none";
  return new ZooKeeperError(reason.code, `${call.name} ${call.path}: ${reason.message}`, {
    outcome,
    path: call.path,
    cause: reason,
  });
}

function abortedCall(call: Call, wasSent: boolean, cause: unknown): ZooKeeperError {
  const unknown = wasSent && call.changes;
  const why = unknown ? "the caller gave up after it was sent; whether it was done is unknown" : "the caller gave up";
  return new ZooKeeperError("ABORTED", `${call.name} ${call.path}: ${why}`, {
    outcome: unknown ? "unknown" : "none",
    path: call.path,
    cause,
  });
}
