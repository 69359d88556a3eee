/**
 * One TCP connection as env/transport.ts describes it.
 *
 * Invariants:
 *   1. Frames sent in one tick leave in one write (corked), in order.
 *   2. Frames are handed out one at a time, never while paused, never after the end; a reader that pauses stops the socket, so the kernel's
 *      window, and then the sender's queue, fill up.
 *   3. `ended` resolves once, with the first cause; the socket is closed by then or within LINGER_MS.
 */
import type net from "node:net";
import { CodedError } from "../../base/errors.js";
import type { Connection } from "../../env/transport.js";
import { encodeFrame, FRAME_HEADER_BYTES, FrameReader, writeFrameHeader } from "../../wire/frames.js";

export interface TcpLimits {
  readonly maxFrameBytes: number;
  readonly highWaterBytes: number;
  readonly maxQueuedBytes: number;
}

/** Frames up to this size are copied behind their header: one buffer is cheaper to write than two. */
const COPY_UP_TO_BYTES = 4096;
/** How long a closed connection may take to send what is queued and to see the other side's end, before it is cut. */
const LINGER_MS = 3_000;

export function createTcpConnection(socket: net.Socket, remote: string, limits: TcpLimits): Connection {
  return new TcpConnection(socket, remote, limits);
}

class TcpConnection implements Connection {
  readonly remote: string;
  readonly ended: Promise<CodedError>;
  readonly #socket: net.Socket;
  readonly #limits: TcpLimits;
  readonly #reader: FrameReader;
  #listener: ((frame: Uint8Array) => void) | null = null;
  #paused = false;
  #delivering = false;
  #corked = false;
  #over: CodedError | null = null;
  #waiters: (() => void)[] = [];
  #settle: (reason: CodedError) => void = () => {};

  constructor(socket: net.Socket, remote: string, limits: TcpLimits) {
    this.#socket = socket;
    this.remote = remote;
    this.#limits = limits;
    this.#reader = new FrameReader(limits.maxFrameBytes);
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    socket.on("data", (chunk: Uint8Array) => this.#onData(chunk));
    socket.on("end", () => this.#end(new CodedError("CONNECTION_LOST", `${remote} closed the connection`)));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#end(
        new CodedError("CONNECTION_LOST", `the connection to ${remote} broke (${error.code ?? error.message})`, { cause: error }),
      );
    });
    socket.on("close", () => this.#end(new CodedError("CONNECTION_LOST", `the connection to ${remote} is closed`)));
    // Listening for data starts the flow; it starts when somebody listens for frames.
    socket.pause();
  }

  send(frame: Uint8Array): boolean {
    if (this.#over !== null) return true;
    const socket = this.#socket;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      process.nextTick(this.#uncork);
    }
    if (frame.length <= COPY_UP_TO_BYTES) {
      socket.write(encodeFrame(frame), this.#onWritten);
    } else {
      const header = new Uint8Array(FRAME_HEADER_BYTES);
      writeFrameHeader(header, 0, frame.length);
      socket.write(header);
      socket.write(frame, this.#onWritten);
    }
    if (socket.writableLength > this.#limits.maxQueuedBytes) {
      this.#end(
        new CodedError(
          "LIMIT_EXCEEDED",
          `${this.remote} takes frames too slowly: more than ${this.#limits.maxQueuedBytes} bytes are queued`,
        ),
      );
      socket.destroy();
      return false;
    }
    return socket.writableLength <= this.#limits.highWaterBytes;
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    this.#listener = listener;
    this.#flow();
  }

  drained(): Promise<void> {
    if (this.#over !== null || this.#socket.writableLength < this.#limits.highWaterBytes) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  pause(): void {
    this.#paused = true;
    if (this.#over === null) this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#flow();
  }

  close(): void {
    if (this.#over !== null) return;
    this.#end(new CodedError("CLOSED", `the connection to ${this.remote} was closed by this side`));
    const socket = this.#socket;
    socket.end();
    // Bytes left unread would make the kernel reset the connection and lose what was queued; so they are read and dropped.
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    timer.unref();
    socket.once("close", () => clearTimeout(timer));
  }

  destroy(): void {
    this.#end(new CodedError("CLOSED", `the connection to ${this.remote} was closed by this side`));
    this.#socket.destroy();
  }

  limitFrames(maxFrameBytes: number): void {
    this.#reader.limit(maxFrameBytes);
  }

  readonly #uncork = (): void => {
    this.#corked = false;
    this.#socket.uncork();
  };

  readonly #onWritten = (): void => {
    if (this.#waiters.length > 0 && this.#socket.writableLength < this.#limits.highWaterBytes) this.#wake();
  };

  #wake(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }

  #onData(chunk: Uint8Array): void {
    if (this.#over !== null) return;
    this.#reader.push(chunk);
    this.#deliver();
  }

  /** Hands out what is there and lets the socket flow again; a listener that changes from inside a delivery changes nothing. */
  #flow(): void {
    if (this.#over !== null || this.#listener === null || this.#paused) return;
    this.#deliver();
    if (this.#over === null && !this.#paused) this.#socket.resume();
  }

  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      while (this.#over === null && !this.#paused && this.#listener !== null) {
        const result = this.#reader.next();
        if (result.kind === "more") break;
        if (result.kind === "too-large") {
          this.#end(
            new CodedError(
              "LIMIT_EXCEEDED",
              `${this.remote} sent a frame of ${result.lengthBytes} bytes, the limit is ${result.maxFrameBytes}`,
            ),
          );
          this.#socket.destroy();
          break;
        }
        this.#listener(result.frame);
      }
    } finally {
      this.#delivering = false;
    }
  }

  #end(reason: CodedError): void {
    if (this.#over !== null) return;
    this.#over = reason;
    this.#settle(reason);
    this.#wake();
  }
}
