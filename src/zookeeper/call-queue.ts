/**
 * Calls that wait to be sent, and calls that were sent and wait for their answer.
 *
 * Boundary: order and bounds; knows no socket and no clock. Invariants:
 *   1. Calls are sent in the order they were made, and the server answers in the order it was asked: an answer belongs to the oldest call
 *      that was sent, or the connection is at fault.
 *   2. What waits and what is in flight is bounded, in calls and in bytes. A single call may always be sent, however large.
 *   3. A call that was made before a connection broke is never sent after it (`breakOff`), so what was applied is a prefix.
 */
import { ZooKeeperError } from "./errors.js";
import { Fifo } from "./fifo.js";
import { JuteError, type JuteReader } from "./jute.js";
import { setXid } from "./requests.js";
import type { ReplyHeader } from "./responses.js";

export interface Call {
  /** For error texts. */
  readonly name: string;
  readonly path: string;
  /** May change something: then a lost answer leaves its outcome unknown. */
  readonly changes: boolean;
  readonly frame: Buffer;
  /** Reads the answer's body and settles. */
  answered(header: ReplyHeader, reader: JuteReader): void;
  failed(error: ZooKeeperError): void;
  state: "waiting" | "sent" | "settled";
  sentAt: number;
  xid: number;
}

export interface QueueLimits {
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
}

/** Abandoned calls that are kept before the queue is swept. */
const SLACK = 64;
const MAX_XID = 2 ** 31 - 1;

export class CallQueue {
  readonly #limits: QueueLimits;
  readonly #waiting = new Fifo<Call>();
  readonly #sent = new Fifo<Call>();
  #waitingCalls = 0;
  #waitingBytes = 0;
  #sentBytes = 0;
  #xid = 0;
  /** Its answer will not come, though it is no longer in the queue. */
  #lostAnswer: Call | null = null;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get inFlight(): number {
    return this.#sent.length;
  }

  get waiting(): number {
    return this.#waitingCalls;
  }

  /** Why it cannot wait here, or null. */
  add(call: Call): ZooKeeperError | null {
    const { maxWaiting, maxWaitingBytes } = this.#limits;
    const fits = this.#waitingCalls < maxWaiting && this.#waitingBytes + call.frame.length <= maxWaitingBytes;
    if (!fits && this.#waitingCalls > 0) {
      const bounds = `${maxWaiting} calls or ${maxWaitingBytes} bytes`;
      return new ZooKeeperError(
        "LIMIT",
        `${call.name} ${call.path}: ${this.#waitingCalls} calls wait already (at most ${bounds} may)`,
        {
          path: call.path,
          hint: "Wait for answers before you ask for more.",
        },
      );
    }
    this.#waiting.push(call);
    this.#waitingCalls++;
    this.#waitingBytes += call.frame.length;
    return null;
  }

  /** The caller gave up. Returns whether the call had been sent; its answer is then read and dropped. */
  abandon(call: Call): boolean {
    const wasSent = call.state === "sent";
    if (call.state === "waiting") this.#left(call);
    call.state = "settled";
    // Without a connection nothing leaves the queue by itself, so callers who give up must not fill it.
    if (!wasSent && this.#waiting.length > 2 * this.#waitingCalls + SLACK) this.#waiting.retain(({ state }) => state === "waiting");
    return wasSent;
  }

  /** The next call that may be sent now, with its xid in its frame. */
  next(now: number): Call | undefined {
    for (;;) {
      const call = this.#waiting.peek();
      if (call === undefined) return undefined;
      if (call.state === "waiting") {
        const { maxInFlight, maxInFlightBytes } = this.#limits;
        const fits = this.#sent.length < maxInFlight && this.#sentBytes + call.frame.length <= maxInFlightBytes;
        if (!fits && this.#sent.length > 0) return undefined;
        this.#waiting.shift();
        this.#left(call);
        this.#send(call, now);
        return call;
      }
      this.#waiting.shift();
    }
  }

  /** The call that this answer belongs to. Throws JuteError. */
  answered(xid: number): Call {
    const call = this.#sent.shift();
    if (call === undefined) throw new JuteError(`an answer (${xid}) that nothing was asked for`);
    this.#sentBytes -= call.frame.length;
    if (call.xid !== xid) {
      this.#lostAnswer = call;
      throw new JuteError(`an answer (${xid}) out of order: ${call.name} (${call.xid}) is older`);
    }
    return call;
  }

  /** Empties the queue: the calls whose answers are lost, and those that were never sent. */
  breakOff(): { readonly sent: readonly Call[]; readonly waiting: readonly Call[] } {
    const open = (call: Call) => call.state !== "settled";
    const lost = this.#lostAnswer === null ? [] : [this.#lostAnswer];
    const sent = [...lost, ...this.#sent.take()].filter(open);
    this.#lostAnswer = null;
    this.#sentBytes = 0;
    return { sent, waiting: this.takeWaiting() };
  }

  takeWaiting(): readonly Call[] {
    const waiting = this.#waiting.take().filter((call) => call.state === "waiting");
    this.#waitingCalls = 0;
    this.#waitingBytes = 0;
    return waiting;
  }

  #left(call: Call): void {
    this.#waitingCalls--;
    this.#waitingBytes -= call.frame.length;
  }

  #send(call: Call, now: number): void {
    this.#xid = this.#xid === MAX_XID ? 1 : this.#xid + 1;
    call.xid = this.#xid;
    call.state = "sent";
    call.sentAt = now;
    setXid(call.frame, call.xid);
    this.#sent.push(call);
    this.#sentBytes += call.frame.length;
  }
}
