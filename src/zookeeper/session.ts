/**
 * What the client knows of its session: identity, negotiated timeout, how long it certainly lives, and where it stands.
 *
 *   connecting --established--> connected --broken--> connecting ...      either --end--> ended
 *
 * Boundary: state only; instants are arguments. Invariants:
 *   1. Once a session is established, its id never changes: what follows is the same session, or the end.
 *   2. `ended` is final.
 *   3. The deadline is the send time of the last message that was answered, plus two thirds of the timeout: the server counted the whole timeout
 *      from a later instant, so until the deadline it cannot have expired the session (see docs/zookeeper-client.md for servers that follow).
 */
import type { ZooKeeperError } from "./errors.js";
import type { ConnectRequest } from "./requests.js";
import type { ConnectResponse } from "./responses.js";
import { sessionIdText } from "./stat.js";

export interface SessionIdentity {
  /** As in `Stat.ephemeralOwner` and in ZooKeeper's logs: 0x and hexadecimal digits. */
  readonly id: string;
  /** 16 bytes. Whoever has both can attach to the session, or end it. ZooKeeper derives it from the id, so it protects nothing. */
  readonly password: Uint8Array;
  /** As the server granted it; it may differ from what was asked for. */
  readonly timeoutMs: number;
}

export type SessionState = "connecting" | "connected" | "ended";

const NO_PASSWORD = new Uint8Array(16);

export class Session {
  readonly #askedTimeoutMs: number;
  #id = 0n;
  #password: Uint8Array = NO_PASSWORD;
  #timeoutMs: number;
  #state: SessionState = "connecting";
  #lastZxid = 0n;
  #deadline = Number.NEGATIVE_INFINITY;
  #end: ZooKeeperError | null = null;

  constructor(timeoutMs: number, attachTo?: { readonly id: bigint; readonly password: Uint8Array }) {
    this.#askedTimeoutMs = timeoutMs;
    this.#timeoutMs = timeoutMs;
    if (attachTo !== undefined) {
      this.#id = attachTo.id;
      this.#password = attachTo.password.slice();
    }
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Why it ended. */
  get end(): ZooKeeperError | null {
    return this.#end;
  }

  /** True when there is one to attach to: it was established, or it was given by the caller. */
  get exists(): boolean {
    return this.#id !== 0n;
  }

  get idText(): string {
    return sessionIdText(this.#id);
  }

  /** As negotiated; before that, as asked for. */
  get timeoutMs(): number {
    return this.#timeoutMs;
  }

  get lastZxid(): bigint {
    return this.#lastZxid;
  }

  get deadline(): number {
    return this.#state === "ended" ? Number.NEGATIVE_INFINITY : this.#deadline;
  }

  identity(): SessionIdentity | undefined {
    if (!this.exists) return undefined;
    return { id: this.idText, password: this.#password.slice(), timeoutMs: this.#timeoutMs };
  }

  connectRequest(): ConnectRequest {
    return { lastZxid: this.#lastZxid, timeoutMs: this.#askedTimeoutMs, sessionId: this.#id, password: this.#password };
  }

  /** False when the server says that the session is over. */
  established(response: ConnectResponse, sentAt: number): boolean {
    if (response.timeoutMs <= 0 || (this.exists && response.sessionId !== this.#id)) return false;
    this.#id = response.sessionId;
    this.#password = response.password;
    this.#timeoutMs = response.timeoutMs;
    this.#state = "connected";
    this.answered(sentAt);
    return true;
  }

  /** The server answered something that was sent then. */
  answered(sentAt: number): void {
    this.#deadline = Math.max(this.#deadline, sentAt + (this.#timeoutMs * 2) / 3);
  }

  sawZxid(zxid: bigint): void {
    if (zxid > this.#lastZxid) this.#lastZxid = zxid;
  }

  broken(): void {
    if (this.#state === "connected") this.#state = "connecting";
  }

  /** False when it has ended before. */
  finish(reason: ZooKeeperError): boolean {
    if (this.#state === "ended") return false;
    this.#state = "ended";
    this.#end = reason;
    return true;
  }
}
