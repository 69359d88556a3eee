/**
 * One connection to one server: it asks for the session, sends calls, pings, notices silence, and ends.
 *
 * Boundary: the protocol over one wire. What outlives a connection (session, watches, credentials) belongs to the client, which hears of
 * everything through `ConnectionListener`. Invariants:
 *   1. Nothing is sent before the session is established but the request for it. Then `prime` (credentials, watches) goes first, calls after it.
 *   2. Silence: without an answer for two thirds of the session's timeout the connection ends. Something is always unanswered by then, because
 *      a ping is sent whenever nothing else was for a third. Notifications are no answers: they come also when what we send is lost.
 *   3. Bytes that are not the protocol end it; nothing of it is kept for the next connection.
 *   4. `over` is called once, and nothing else after it.
 */
import type { Call, CallQueue } from "./call-queue.js";
import type { ZooKeeperClock } from "./clock.js";
import type { ServerAddress } from "./connect-string.js";
import { addressText } from "./connect-string.js";
import type { Dial, Wire } from "./dial.js";
import { codeOf, ZooKeeperError } from "./errors.js";
import { FrameSplitter } from "./frames.js";
import { JuteError, JuteReader } from "./jute.js";
import { connectRequest, pingRequest, XID } from "./requests.js";
import { type Notification, type ReplyHeader, readConnectResponse, readNotification, readReplyHeader } from "./responses.js";
import type { Session } from "./session.js";

export interface ConnectionListener {
  /** The server has attached this connection to the session. Returns what goes out before all calls. */
  established(server: ServerAddress): readonly Buffer[];
  notified(notification: Notification): void;
  /** Answers to what `established` or `sendNow` sent, in order for each xid. */
  ownAnswer(header: ReplyHeader): void;
  over(error: ZooKeeperError): void;
}

export interface ConnectionParts {
  readonly dial: Dial;
  readonly clock: ZooKeeperClock;
  readonly session: Session;
  readonly queue: CallQueue;
  readonly maxResponseBytes: number;
  readonly server: ServerAddress;
  /** For everything until the session is established. */
  readonly attemptMs: number;
  readonly listener: ConnectionListener;
}

export class Connection {
  readonly #parts: ConnectionParts;
  readonly #frames: FrameSplitter;
  readonly #wire: Wire;
  #phase: "opening" | "asking" | "ready" | "over" = "opening";
  #timer: { cancel(): void } | null = null;
  #askedAt = 0;
  #lastSentAt = 0;
  #lastAnswerAt = 0;
  #pingsSentAt: number[] = [];
  #flushing = false;
  #outgoing: Buffer[] = [];
  /** When the session was established; undefined before. */
  readySince: number | undefined;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
    this.#frames = new FrameSplitter(parts.maxResponseBytes);
    const { clock, attemptMs } = parts;
    this.#timer = clock.at(clock.now() + attemptMs, () => this.#lose(`it did not answer within ${Math.round(attemptMs)} ms`));
    this.#wire = parts.dial(parts.server, {
      opened: () => this.#ask(),
      received: (chunk) => this.#receive(chunk),
      ended: (reason) =>
        this.#lose(this.#phase === "asking" ? `${reason} instead of answering (it may lag behind, or have no quorum)` : reason),
    });
  }

  get ready(): boolean {
    return this.#phase === "ready";
  }

  /** Something waits in the queue: it goes out at the end of this turn, with everything else that is called in it. */
  flushSoon(): void {
    if (this.#flushing || this.#phase !== "ready") return;
    this.#flushing = true;
    process.nextTick(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  /** A message of our own, whose answers are told by `ownAnswer`. */
  sendNow(frame: Buffer): void {
    this.#outgoing.push(frame);
    this.flushSoon();
  }

  /** Ends it without a word to the listener. */
  drop(): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    this.#timer?.cancel();
    this.#wire.destroy();
  }

  #ask(): void {
    if (this.#phase !== "opening") return;
    this.#phase = "asking";
    this.#askedAt = this.#parts.clock.now();
    this.#wire.write(connectRequest(this.#parts.session.connectRequest()));
  }

  #receive(chunk: Buffer): void {
    if (this.#phase === "over") return;
    const now = this.#parts.clock.now();
    try {
      this.#frames.push(chunk, (message) => {
        if (this.#phase !== "over") this.#message(new JuteReader(message), now);
      });
    } catch (thrown) {
      if (!(thrown instanceof JuteError)) throw thrown;
      this.#fail(new ZooKeeperError("PROTOCOL", `${this.#name} does not speak ZooKeeper's protocol: ${thrown.message}`));
    }
    // Answers make room for calls that wait.
    this.flushSoon();
  }

  #message(reader: JuteReader, now: number): void {
    if (this.#phase === "opening") throw new JuteError("a message before the session was asked for");
    if (this.#phase === "asking") this.#establish(reader, now);
    else this.#answer(reader, now);
  }

  #establish(reader: JuteReader, now: number): void {
    const { session, listener, server } = this.#parts;
    const asked = session.exists;
    const response = readConnectResponse(reader);
    if (response.timeoutMs > 0 && (response.sessionId === 0n || response.password.length > MAX_PASSWORD_BYTES))
      throw new JuteError("a session without an id");
    if (!session.established(response, this.#askedAt)) {
      // A server that refuses a new session, or names another one, is no ZooKeeper server; one that refuses ours says that it is over.
      if (!asked || response.timeoutMs > 0) throw new JuteError("a session that was not asked for");
      const text = `The ZooKeeper session ${session.idText} has expired: ${this.#name} does not know it any more`;
      this.#fail(new ZooKeeperError("SESSION_EXPIRED", text));
      return;
    }
    this.#phase = "ready";
    this.readySince = now;
    this.#lastSentAt = now;
    this.#lastAnswerAt = now;
    this.#outgoing.push(...listener.established(server));
    this.#watchSilence();
    this.#flush();
  }

  #answer(reader: JuteReader, now: number): void {
    const { session, queue, listener } = this.#parts;
    const header = readReplyHeader(reader);
    session.sawZxid(header.zxid);
    if (header.xid === XID.notification) {
      listener.notified(readNotification(reader));
      return;
    }
    this.#lastAnswerAt = now;
    if (header.xid === XID.ping) {
      const sentAt = this.#pingsSentAt.shift();
      if (sentAt === undefined) throw new JuteError("an answer to a ping that was not sent");
      session.answered(sentAt);
    } else if (header.xid === XID.auth || header.xid === XID.setWatches) {
      listener.ownAnswer(header);
    } else {
      const call = queue.answered(header.xid);
      session.answered(call.sentAt);
      this.#settle(call, header, reader);
      this.#heed(header);
    }
  }

  #settle(call: Call, header: ReplyHeader, reader: JuteReader): void {
    if (call.state === "settled") return;
    try {
      call.answered(header, reader);
      call.state = "settled";
    } catch (thrown) {
      const detail = thrown instanceof Error ? thrown.message : String(thrown);
      call.state = "settled";
      call.failed(lostCall(call, new ZooKeeperError("PROTOCOL", `${this.#name} answered what cannot be read: ${detail}`)));
      throw new JuteError(`the answer to ${call.name} cannot be read: ${detail}`);
    }
  }

  /** Answers that say something of the session rather than of the call. */
  #heed({ errorNumber }: ReplyHeader): void {
    const code = errorNumber === 0 ? null : codeOf(errorNumber);
    if (code === "SESSION_MOVED") this.#lose("the session is attached to another server");
    const id = this.#parts.session.idText;
    if (code === "SESSION_EXPIRED")
      this.#fail(new ZooKeeperError(code, `The ZooKeeper session ${id} has expired: ${this.#name} says so`));
  }

  #flush(): void {
    if (this.#phase !== "ready") return;
    const now = this.#parts.clock.now();
    const frames = this.#outgoing;
    this.#outgoing = [];
    for (let call = this.#parts.queue.next(now); call !== undefined; call = this.#parts.queue.next(now)) frames.push(call.frame);
    if (frames.length === 0) return;
    this.#lastSentAt = now;
    this.#wire.write(frames.length === 1 && frames[0] !== undefined ? frames[0] : Buffer.concat(frames));
  }

  get #pingAt(): number {
    return this.#lastSentAt + this.#parts.session.timeoutMs / 3;
  }

  get #silentAt(): number {
    return this.#lastAnswerAt + (this.#parts.session.timeoutMs * 2) / 3;
  }

  #watchSilence(): void {
    this.#timer?.cancel();
    const { clock } = this.#parts;
    this.#timer = clock.at(Math.min(this.#pingAt, this.#silentAt), () => {
      const now = clock.now();
      // When this process itself was stopped, the answer may lie unread in the socket: it is read before anybody is judged.
      if (now >= this.#silentAt) this.#timer = clock.at(now, () => this.#judgeSilence());
      else {
        if (now >= this.#pingAt) this.#ping(now);
        this.#watchSilence();
      }
    });
  }

  #judgeSilence(): void {
    const { clock, session } = this.#parts;
    const now = clock.now();
    if (now < this.#silentAt) this.#watchSilence();
    else
      this.#lose(
        `it has answered nothing for ${Math.round(now - this.#lastAnswerAt)} ms (the session's timeout is ${session.timeoutMs} ms)`,
      );
  }

  #ping(now: number): void {
    this.#lastSentAt = now;
    this.#pingsSentAt.push(now);
    this.#wire.write(pingRequest());
  }

  get #name(): string {
    return `The ZooKeeper server ${addressText(this.#parts.server)}`;
  }

  #lose(reason: string): void {
    const kind = this.#phase === "ready" ? "was lost" : "could not be made";
    const text = `The connection to ${addressText(this.#parts.server)} ${kind}: ${reason}`;
    this.#fail(new ZooKeeperError("CONNECTION_LOST", text));
  }

  #fail(error: ZooKeeperError): void {
    if (this.#phase === "over") return;
    this.drop();
    this.#parts.listener.over(error);
  }
}

const MAX_PASSWORD_BYTES = 1_024;

/** What the caller of a sent call is told when its answer will not come. */
export function lostCall(call: Call, cause: ZooKeeperError): ZooKeeperError {
  const detail = call.changes ? "whether it was done is unknown" : "there is no answer";
  return new ZooKeeperError("CONNECTION_LOST", `${call.name} ${call.path}: ${detail}. ${cause.message}`, {
    outcome: call.changes ? "unknown" : "none",
    path: call.path,
    cause,
    ...(call.changes ? { hint: "Read back what is there before you try again." } : {}),
  });
}
