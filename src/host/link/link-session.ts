/**
 * The link over an authenticated connection: envelopes, requests and replies, heartbeats, the end.
 *
 * Boundary: made by link-handshake.ts only. Bookkeeping of requests is in link-requests.ts.
 * Invariants: those of link.ts.
 */
import type { ErrorShape } from "../../base/errors.js";
import { CodedError } from "../../base/errors.js";
import type { Timer } from "../../env/clock.js";
import { parseControlJson } from "../../wire/control-json.js";
import type { Envelope, MessageTable } from "../../wire/envelope.js";
import { envelope, MAX_CONTROL_FRAME_BYTES, MAX_OPEN_REQUESTS } from "../../wire/envelope.js";
import { factsSchema } from "../../wire/handshake.js";
import type { Link, LinkMessage, LinkPace, LinkPeer, LinkSettings, RequestOptions, TableFor } from "./link.js";
import { Announcement } from "./link.js";
import type { Channel } from "./link-channel.js";
import { decodeText, encodeText, shorten } from "./link-channel.js";
import { createRequests } from "./link-requests.js";

/** Messages kept until a listener is set. */
export const MAX_KEPT_MESSAGES = 1024;
export const MAX_KEPT_BYTES = 16 * 1024 * 1024;

const HEARTBEAT = "link.heartbeat";
const REPLY = "link.reply";
/** What its sender is has changed: the facts of the handshake anew. */
const FACTS = "link.facts";
/** The last word of a side that ends the link: why. */
const BYE = "link.bye";

let nextLinkId = 1;

export function createLink(channel: Channel, peer: LinkPeer, settings: LinkSettings): Link {
  return new LinkSession(channel, peer, settings);
}

/** Facts are bounded (wire/handshake.ts), so their frame is. */
export function prepareAnnouncement(facts: LinkPeer["facts"], epoch: number): Announcement {
  return new Announcement(encodeText(JSON.stringify({ kind: FACTS, body: facts, epoch } satisfies Envelope)));
}

const tableOf = (table: TableFor | undefined, peer: LinkPeer): MessageTable =>
  table === undefined ? {} : typeof table === "function" ? table(peer) : table;

class LinkSession implements Link {
  readonly id = nextLinkId++;
  readonly remote: string;
  readonly ended: Promise<CodedError>;
  readonly #settings: LinkSettings;
  readonly #channel: Channel;
  readonly #incoming: MessageTable;
  readonly #onlyRequests: MessageTable;
  readonly #requests;
  /** Requests of the other side that we have not answered. */
  readonly #unanswered = new Set<number>();
  #peer: LinkPeer;
  #listener: ((message: LinkMessage) => void) | null = null;
  #onAnnounced: () => void = () => {};
  #kept: LinkMessage[] = [];
  #keptBytes = 0;
  #over: CodedError | null = null;
  #settle: (reason: CodedError) => void = () => {};
  #timer: Timer | null = null;
  #pace: LinkPace;
  #lastHeard: number;
  /** Silence counts from here: as `#lastHeard`, or later when this process itself was stopped in between. */
  #judgedFrom: number;
  #lastSent: number;

  constructor(channel: Channel, peer: LinkPeer, settings: LinkSettings) {
    this.#channel = channel;
    this.#settings = settings;
    this.#peer = peer;
    this.#pace = settings;
    this.remote = channel.connection.remote;
    this.#incoming = tableOf(settings.incoming, peer);
    this.#onlyRequests = tableOf(settings.requests, peer);
    this.#requests = createRequests(settings.env.clock);
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#lastHeard = settings.env.clock.now();
    this.#judgedFrom = this.#lastHeard;
    this.#lastSent = this.#lastHeard;
    channel.limit(MAX_CONTROL_FRAME_BYTES);
    channel.connection.ended.then((reason) => this.#end(reason));
    this.#armTimer();
    channel.listen((frame) => this.#receive(frame));
  }

  get peer(): LinkPeer {
    return this.#peer;
  }

  lastHeardAt(): number {
    return this.#lastHeard;
  }

  send(kind: string, body: unknown): void {
    const problem = this.#transmit({ kind, body });
    // A message that is left out would be a hole in the conversation, which its contract excludes.
    if (problem !== null) this.fail(problem);
  }

  request<T = unknown>(kind: string, body: unknown, options: RequestOptions<T>): Promise<T> {
    if (this.#over !== null) return Promise.reject(outcomeUnknown(kind, this.#over, false));
    const opened = this.#requests.open(kind, options);
    if (opened.id === null) return opened.reply;
    const problem = this.#transmit({ kind, body, id: opened.id });
    if (problem !== null) this.#requests.fail(opened.id, problem);
    return opened.reply;
  }

  reply(requestId: number, body: unknown): void {
    if (!this.#unanswered.delete(requestId)) return;
    const problem = this.#transmit({ kind: REPLY, re: requestId, body });
    if (problem !== null) this.#transmit({ kind: REPLY, re: requestId, error: problem.toShape() });
  }

  replyError(requestId: number, error: ErrorShape): void {
    if (!this.#unanswered.delete(requestId)) return;
    this.#transmit({ kind: REPLY, re: requestId, error });
  }

  onMessage(listener: (message: LinkMessage) => void): void {
    this.#listener = listener;
    const kept = this.#kept;
    this.#kept = [];
    this.#keptBytes = 0;
    for (const message of kept) {
      if (this.#over !== null) return;
      listener(message);
    }
  }

  announce(facts: LinkPeer["facts"] | Announcement): void {
    if (!(facts instanceof Announcement)) this.#transmit({ kind: FACTS, body: facts });
    else if (this.#over === null) this.#write(facts.bytes);
  }

  onAnnounced(listener: () => void): void {
    this.#onAnnounced = listener;
  }

  pace(pace: LinkPace): void {
    if (this.#over !== null) return;
    this.#pace = pace;
    this.#judgedFrom = this.#settings.env.clock.now();
    this.#timer?.cancel();
    this.#armTimer();
  }

  close(): void {
    if (this.#over !== null) return;
    this.#transmit({ kind: BYE });
    this.#end(new CodedError("CLOSED", `the link to ${this.#name()} was closed by this side`));
    this.#channel.connection.close();
  }

  destroy(): void {
    this.#end(new CodedError("CLOSED", `the link to ${this.#name()} was destroyed by this side`));
    this.#channel.connection.destroy();
  }

  #name(): string {
    return `${this.peer.role} ${this.peer.id} at ${this.remote}`;
  }

  /** Null when sent (or dropped after the end), else why it cannot be sent. */
  #transmit(message: Omit<Envelope, "epoch">): CodedError | null {
    if (this.#over !== null) return null;
    let bytes: Uint8Array;
    try {
      bytes = encodeText(JSON.stringify({ ...message, epoch: this.#settings.epoch() }));
    } catch (thrown) {
      return new CodedError("INTERNAL", `${message.kind} cannot be written as JSON`, { cause: thrown });
    }
    if (bytes.length > MAX_CONTROL_FRAME_BYTES) {
      return new CodedError(
        "LIMIT_EXCEEDED",
        `${message.kind} to ${this.#name()} has ${bytes.length} bytes, the limit is ${MAX_CONTROL_FRAME_BYTES}`,
      );
    }
    this.#write(bytes);
    return null;
  }

  #write(bytes: Uint8Array): void {
    this.#channel.connection.send(bytes);
    this.#lastSent = this.#settings.env.clock.now();
  }

  #receive(frame: Uint8Array): void {
    if (this.#over !== null) return;
    this.#lastHeard = this.#settings.env.clock.now();
    this.#judgedFrom = this.#lastHeard;
    try {
      this.#take(envelope.parse(parseControlJson(decodeText(frame))), frame.length);
    } catch (thrown) {
      this.fail(violation(this.#name(), thrown));
    }
  }

  #take(message: Envelope, sizeBytes: number): void {
    if (message.re !== undefined) {
      this.#requests.settle(message.re, message);
      return;
    }
    if (message.kind === HEARTBEAT) return;
    if (message.kind === FACTS) {
      this.#peer = { ...this.#peer, facts: factsSchema.parse(message.body), epoch: message.epoch };
      this.#onAnnounced();
      return;
    }
    if (message.kind === BYE) {
      const why = message.error === undefined ? "" : `: ${shorten(message.error.message)}`;
      const details = message.error === undefined ? {} : { details: { code: message.error.code } };
      this.#end(new CodedError("CONNECTION_LOST", `${this.#name()} closed the link${why}`, details));
      this.#channel.connection.close();
      return;
    }
    const requestId = message.id ?? null;
    const schema = this.#schemaOf(message.kind, requestId);
    if (requestId !== null) {
      if (this.#unanswered.has(requestId)) throw new CodedError("PROTOCOL_VIOLATION", `request ${requestId} was sent twice`);
      if (this.#unanswered.size >= MAX_OPEN_REQUESTS)
        throw new CodedError("PROTOCOL_VIOLATION", `more than ${MAX_OPEN_REQUESTS} requests are open`);
      this.#unanswered.add(requestId);
    }
    const parsed = schema.safeParse(message.body);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      const field = issue === undefined || issue.path.length === 0 ? "its input" : issue.path.map(String).join(".");
      const problem = `${message.kind}: ${shorten(field)}: ${shorten(issue?.message ?? "is malformed")}`;
      if (requestId === null) throw new CodedError("PROTOCOL_VIOLATION", problem);
      this.replyError(requestId, new CodedError("INVALID_ARGUMENT", problem).toShape());
      return;
    }
    this.#deliver({ kind: message.kind, body: parsed.data, epoch: message.epoch, requestId, sizeBytes });
  }

  #schemaOf(kind: string, requestId: number | null) {
    if (Object.hasOwn(this.#incoming, kind)) return this.#incoming[kind] as MessageTable[string];
    if (Object.hasOwn(this.#onlyRequests, kind)) {
      if (requestId === null) throw new CodedError("PROTOCOL_VIOLATION", `${kind} must be a request`);
      return this.#onlyRequests[kind] as MessageTable[string];
    }
    throw new CodedError("PROTOCOL_VIOLATION", `a ${this.peer.role} may not send ${shorten(JSON.stringify(kind), 80)} here`);
  }

  #deliver(message: LinkMessage): void {
    if (this.#listener !== null) {
      this.#listener(message);
      return;
    }
    this.#kept.push(message);
    this.#keptBytes += message.sizeBytes;
    if (this.#kept.length > MAX_KEPT_MESSAGES || this.#keptBytes > MAX_KEPT_BYTES) {
      throw new CodedError("LIMIT_EXCEEDED", "too many messages came before anybody listened");
    }
  }

  fail(reason: CodedError): void {
    if (this.#over !== null) return;
    this.#transmit({ kind: BYE, error: { code: reason.code, message: reason.message, hint: reason.hint } });
    this.#end(reason);
    this.#channel.connection.close();
  }

  #end(reason: CodedError): void {
    if (this.#over !== null) return;
    this.#over = reason;
    this.#timer?.cancel();
    this.#kept = [];
    this.#unanswered.clear();
    this.#settle(reason);
    this.#requests.endAll((kind) => outcomeUnknown(kind, reason, true));
  }

  #armTimer(): void {
    const { clock } = this.#settings.env;
    const at = Math.min(this.#lastSent + this.#pace.heartbeatMs, this.#judgedFrom + this.#pace.silenceMs);
    this.#timer = clock.at(at, () => this.#onTimer(at));
  }

  #onTimer(plannedAt: number): void {
    if (this.#over !== null) return;
    const { heartbeatMs, silenceMs } = this.#pace;
    const now = this.#settings.env.clock.now();
    // A timer that is this late means that this process itself was stopped: frames may wait unread, so the other side is judged from now on.
    if (now - plannedAt > silenceMs / 4) this.#judgedFrom = Math.max(this.#judgedFrom, now - silenceMs / 2);
    // Compared as the timer was armed: with fractions of milliseconds a difference may be rounded below its own limit, for ever.
    if (now >= this.#judgedFrom + silenceMs) {
      this.#end(
        new CodedError("CONNECTION_LOST", `nothing was heard from ${this.#name()} for ${Math.round(now - this.#lastHeard)} ms`),
      );
      this.#channel.connection.destroy();
      return;
    }
    if (now >= this.#lastSent + heartbeatMs) this.#transmit({ kind: HEARTBEAT });
    this.#armTimer();
  }
}

/** An open request's end when the link ends. `sent: false`: it was never sent. */
function outcomeUnknown(kind: string, reason: CodedError, sent: boolean): CodedError {
  const message = sent
    ? `the link ended before ${kind} was answered; whether it was done is unknown`
    : `${kind} was not sent: the link has ended`;
  return new CodedError("CONNECTION_LOST", `${message} (${reason.message})`, { cause: reason });
}

function violation(name: string, thrown: unknown): CodedError {
  if (thrown instanceof CodedError && thrown.code !== "PROTOCOL_VIOLATION") return thrown;
  const what = thrown instanceof CodedError ? thrown.message : "a frame is not an envelope";
  return new CodedError("PROTOCOL_VIOLATION", `${name} broke the protocol: ${shorten(what)}`, { cause: thrown });
}
