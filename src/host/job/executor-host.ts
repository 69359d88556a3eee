/**
 * The host of the executor's core: the link to the driver in, slices out.
 *
 * Boundary: what a slice is and how it runs is handed in (`startSlice`); its asks for splits and its collected records go through here.
 * Invariants:
 *   1. An ask or a collected batch that a broken link left open is sent again, with the same number, on the next link.
 *   2. After `ended` no slice runs and the link is closed.
 *   3. An answer counts only while its link is the present one, and the core knows of a split before the slice does: what is offered to another
 *      driver is all that the slice was given.
 */
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { Split } from "../../dataflow/connector.js";
import { sleep } from "../../env/clock.js";
import type { Env } from "../../env/env.js";
import { createExecutorCore } from "../../executor/core/executor-core.js";
import {
  EXECUTOR_LIMITS,
  type ExecutorEffect,
  type ExecutorEvent,
  type ExecutorLimits,
  type SliceOrder,
} from "../../executor/core/executor-events.js";
import type { SliceSnapshot } from "../../wire/checkpoint.js";
import { driverToExecutor, splitReply } from "../../wire/executor-messages.js";
import { applicationScope } from "../../wire/handshake.js";
import { parseProcessId } from "../../wire/ids.js";
import type { Progress } from "../../wire/progress.js";
import type { DriverPlace } from "../../wire/runner-start.js";
import { DEFAULT_HEARTBEAT_MS, DEFAULT_SILENCE_MS, type Link, type LinkMessage } from "../link/link.js";
import { dialLink } from "../link/link-handshake.js";
import { runTurns } from "../turns/turns.js";

const PROGRESS_EVERY_MS = 250;
const DIAL_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 30_000;
const FLUSH_MS = 1_000;
/** So often an executor that has a driver looks whether it belongs to another one by now. */
const SUCCESSOR_LOOK_MS = 1_000;

/** What the driver says of who reads a source. */
interface ReadersSaid {
  readonly readers: number;
  readonly more: boolean;
}

/** What a slice may ask of the host. */
export interface SliceCalls {
  /** The next split for this source, null at its end. Rejects when the signal aborts, or when the try is over. */
  nextSplit(source: string, signal: AbortSignal): Promise<{ readonly split: Split; readonly position: JsonValue | null } | null>;
  /** How many subtasks read the source now, as far as the driver has said; null: it has not yet. */
  readers(source: string): number | null;
  /** Whether the source has splits left that nobody was given; true while the driver has not said so. */
  hasMore(source: string): boolean;
  /** Records of a `collect` sink; resolves when the driver has them. */
  collect(sink: string, records: readonly unknown[]): Promise<void>;
  /** The slice's part of a checkpoint is durable, or can't be made so. */
  checkpointed(id: number, outcome: SliceSnapshot | CodedError): void;
}

export interface StartedSlice {
  readonly done: Promise<{ readonly committables: Readonly<Record<string, readonly unknown[]>>; readonly progress: Progress }>;
  progress(): Progress;
  /** Absent: it takes no checkpoints. */
  checkpoint?(order: CheckpointOrder): void;
  /** Resolves when nothing of it runs; `done` has then rejected. */
  cancel(reason: CodedError): Promise<void>;
}

/** As executor/run has it. */
export interface CheckpointOrder {
  readonly id: number;
  readonly order: "begin" | "abort";
  readonly completed: number;
}

export interface ExecutorHostOptions {
  readonly env: Env;
  readonly applicationId: string;
  readonly applicationKey: Uint8Array;
  readonly processId: string;
  readonly pid: number;
  readonly driverAddress: string;
  /** Where the driver listens that this executor belongs to by now, as its worker was told; null: where it was. */
  readonly successor?: () => Promise<DriverPlace | null>;
  readonly dataAddress: string;
  readonly graphHash: string;
  readonly startSlice: (order: SliceOrder, calls: SliceCalls) => StartedSlice;
  readonly limits?: Partial<ExecutorLimits>;
  /** Of the link to the driver. */
  readonly heartbeatMs?: number;
  readonly silenceMs?: number;
}

export interface ExecutorEnd {
  readonly exitCode: 0 | 1;
  readonly reason: string;
}

export interface RunningExecutor {
  readonly ended: Promise<ExecutorEnd>;
  /** User code threw where nobody could catch it. */
  crashed(error: CodedError): void;
  terminate(reason: string): void;
}

export function startExecutor(options: ExecutorHostOptions): RunningExecutor {
  const host = new ExecutorHost(options);
  return {
    ended: host.ended,
    crashed: (error) => host.post({ kind: "crashed", error: error.toShape() }),
    terminate: (reason) => host.post({ kind: "terminate", reason }),
  };
}

interface Running {
  readonly order: SliceOrder;
  readonly slice: StartedSlice;
}

class ExecutorHost {
  readonly ended: Promise<ExecutorEnd>;
  private readonly options: ExecutorHostOptions;
  private readonly work = new AbortController();
  private readonly turns;
  private driver: Link | null = null;
  /** The same once the driver has answered the registration: before that it would not know who asks. */
  private ready: Link | null = null;
  private running: Running | null = null;
  /** Of the newest try, by source. */
  private readers: { readonly try: number; readonly bySource: Map<string, ReadersSaid> } = { try: 0, bySource: new Map() };
  /** Calls that wait for a link to the driver. */
  private waiting: Array<(link: Link) => void> = [];
  private settle: (end: ExecutorEnd) => void = () => undefined;

  constructor(options: ExecutorHostOptions) {
    this.options = options;
    this.ended = new Promise((resolve) => {
      this.settle = resolve;
    });
    const { processId, pid, dataAddress, graphHash, env } = options;
    const core = createExecutorCore({ processId, pid, dataAddress, graphHash, limits: { ...EXECUTOR_LIMITS, ...options.limits } });
    this.turns = runTurns<ExecutorEvent, ExecutorEffect>({
      core,
      clock: env.clock,
      commit: null,
      act: (effect) => this.act(effect),
      wakeUp: { kind: "wake-up" },
    });
    this.turns.ended.then((broken) => {
      if (broken !== null) void this.finish({ exitCode: 1, reason: broken.message });
    });
    this.post({ kind: "started" });
    if (options.successor !== undefined) void this.lookForSuccessor(options.successor);
  }

  post(event: ExecutorEvent): void {
    this.turns.post(event);
  }

  private act(effect: ExecutorEffect): void {
    switch (effect.kind) {
      case "dial":
        void this.dial();
        break;
      case "leave-driver":
        if (this.driver?.id === effect.link) this.leave(this.driver);
        break;
      case "tell-driver":
        if (this.driver?.id === effect.link) this.driver.send(effect.message, effect.body);
        break;
      case "start-slice":
        this.start(effect.order);
        break;
      case "checkpoint-slice":
        if (this.running?.order.try === effect.order.try) this.running.slice.checkpoint?.(effect.order);
        break;
      case "cancel-slice":
        if (this.running?.order.try === effect.try) void this.running.slice.cancel(new CodedError("ABORTED", effect.reason));
        break;
      case "end":
        void this.finish({ exitCode: effect.exitCode, reason: effect.reason });
        break;
    }
  }

  // ------------------------------------------------------------------------------------------------ the driver

  private async dial(): Promise<void> {
    const { env, applicationId, applicationKey, processId, driverAddress } = this.options;
    try {
      const successor = (await this.options.successor?.().catch(() => null)) ?? null;
      const link = await dialLink(successor?.address ?? driverAddress, {
        env,
        role: "executor",
        id: processId,
        scope: applicationScope(applicationId),
        key: applicationKey,
        clusterId: null,
        epoch: () => 0,
        incoming: driverToExecutor,
        heartbeatMs: this.options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS,
        silenceMs: this.options.silenceMs ?? DEFAULT_SILENCE_MS,
        connectTimeoutMs: DIAL_TIMEOUT_MS,
        signal: this.work.signal,
      });
      this.connected(link);
    } catch (thrown) {
      this.post({ kind: "driver.dial-failed", error: CodedError.from(thrown, "CONNECTION_LOST").toShape() });
    }
  }

  private connected(link: Link): void {
    if (this.work.signal.aborted) {
      link.destroy();
      return;
    }
    this.driver = link;
    this.ready = null;
    this.post({ kind: "driver.connected", link: link.id, attempt: parseProcessId(link.peer.id)?.attempt ?? 0 });
    link.onMessage((message) => this.fromDriver(link, message));
    link.ended.then(() => {
      if (this.driver === link) this.driver = null;
      if (this.ready === link) this.ready = null;
      this.post({ kind: "driver.lost", link: link.id });
    });
  }

  /** From here on nothing that still comes from there is heard. */
  private leave(link: Link): void {
    if (this.driver === link) this.driver = null;
    if (this.ready === link) this.ready = null;
    link.destroy();
  }

  /** A driver that is superseded without knowing it keeps its link open. */
  private async lookForSuccessor(successor: () => Promise<DriverPlace | null>): Promise<void> {
    const { signal } = this.work;
    while (!signal.aborted) {
      await sleep(this.options.env.clock, SUCCESSOR_LOOK_MS, signal).catch(() => undefined);
      if (this.driver === null || signal.aborted) continue;
      const place = await successor().catch(() => null);
      if (place !== null) this.post({ kind: "driver.successor", attempt: place.attempt });
    }
  }

  private fromDriver(link: Link, { kind, body }: LinkMessage): void {
    if (this.driver !== link) return;
    if (kind === "executor.registered") {
      this.ready = link;
      const waiting = this.waiting;
      this.waiting = [];
      for (const go of waiting) go(link);
    }
    if (kind === "executor.readers") {
      const said = body as ReadersSaid & { readonly try: number; readonly source: string };
      this.sawReaders(said.try, said.source, said);
      return;
    }
    const event = { ...(body as object), kind: kind.replace("executor.", "driver."), link: link.id };
    this.post(event as unknown as ExecutorEvent);
  }

  private sawReaders(tryNumber: number, source: string, { readers, more }: ReadersSaid): void {
    if (tryNumber > this.readers.try) this.readers = { try: tryNumber, bySource: new Map() };
    if (tryNumber === this.readers.try) this.readers.bySource.set(source, { readers, more });
  }

  /** The link to a driver that knows this executor: now, or when it is back. */
  private linked(signal: AbortSignal): Promise<Link> {
    if (this.ready !== null) return Promise.resolve(this.ready);
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      if (signal.aborted) onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      this.waiting.push((link) => {
        signal.removeEventListener("abort", onAbort);
        resolve(link);
      });
    });
  }

  /** One numbered request, repeated over broken links until it is answered. */
  private async ask<T>(send: (link: Link) => Promise<T>, signal: AbortSignal, accepted?: (answer: T) => void): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      const link = await this.linked(signal);
      try {
        const answer = await send(link);
        // What comes from a driver that was left is another one's to say.
        if (this.ready !== link) continue;
        accepted?.(answer);
        return answer;
      } catch (thrown) {
        if (this.ready !== link && !signal.aborted) {
          await Promise.race([link.ended, sleep(this.options.env.clock, PROGRESS_EVERY_MS, signal)]);
          continue;
        }
        const error = CodedError.from(thrown);
        if (error.code !== "CONNECTION_LOST" && error.code !== "CLOSED" && error.code !== "TIMEOUT") throw thrown;
        // The link's own end arrives a moment later than the request's; without the wait this would spin on a dead link.
        await Promise.race([link.ended, sleep(this.options.env.clock, PROGRESS_EVERY_MS, signal)]);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------ slices

  private start(order: SliceOrder): void {
    let slice: StartedSlice;
    try {
      slice = this.options.startSlice(order, this.calls(order.try));
    } catch (thrown) {
      this.post({ kind: "slice.failed", try: order.try, error: CodedError.from(thrown, "OPERATOR_FAILED").toShape() });
      return;
    }
    const running = { order, slice };
    this.running = running;
    void this.reportProgress(running);
    slice.done.then(
      ({ committables, progress }) =>
        this.sliceEnded(running, { kind: "slice.done", try: order.try, committables: mutable(committables), progress }),
      (thrown: unknown) => {
        const error = CodedError.from(thrown, "OPERATOR_FAILED");
        this.options.env.log.warn(`the slice of try ${order.try} ended: ${error.message}`, { code: error.code });
        this.sliceEnded(running, { kind: "slice.failed", try: order.try, error: error.toShape() });
      },
    );
  }

  private sliceEnded(running: Running, event: ExecutorEvent): void {
    if (this.running === running) this.running = null;
    this.post(event);
  }

  private async reportProgress(running: Running): Promise<void> {
    const { clock } = this.options.env;
    const { signal } = this.work;
    while (this.running === running && !signal.aborted) {
      await sleep(clock, PROGRESS_EVERY_MS, signal).catch(() => undefined);
      if (this.running === running)
        this.post({ kind: "slice.progress", try: running.order.try, progress: running.slice.progress() });
    }
  }

  private calls(tryNumber: number): SliceCalls {
    const asks = new Map<string, number>();
    const batches = new Map<string, number>();
    const next = (counters: Map<string, number>, key: string): number => {
      const number = (counters.get(key) ?? 0) + 1;
      counters.set(key, number);
      return number;
    };
    return {
      nextSplit: async (source, signal) => {
        const ask = next(asks, source);
        const body = { try: tryNumber, source, ask };
        const answer = await this.ask(
          (link) => link.request("executor.split", body, { signal, timeoutMs: REQUEST_TIMEOUT_MS, reply: splitReply }),
          signal,
          ({ split }) => this.post({ kind: "slice.given", try: tryNumber, source, ask, split: split ?? null }),
        );
        this.sawReaders(tryNumber, source, answer);
        if (answer.split === null) return null;
        return { split: answer.split as Split, position: (answer.position ?? null) as JsonValue | null };
      },
      readers: (source) => (this.readers.try === tryNumber ? (this.readers.bySource.get(source)?.readers ?? null) : null),
      hasMore: (source) => this.readers.try !== tryNumber || (this.readers.bySource.get(source)?.more ?? true),
      checkpointed: (id, outcome) => {
        const failed = outcome instanceof CodedError;
        const parts = { snapshot: failed ? null : outcome, error: failed ? outcome.toShape() : null };
        this.post({ kind: "slice.checkpointed", try: tryNumber, id, ...parts });
      },
      collect: async (sink, records) => {
        const body = { try: tryNumber, sink, batch: next(batches, sink), records: [...records] };
        const { signal } = this.work;
        await this.ask((link) => link.request("executor.collected", body, { signal, timeoutMs: REQUEST_TIMEOUT_MS }), signal);
      },
    };
  }

  private async finish(end: ExecutorEnd): Promise<void> {
    const { clock } = this.options.env;
    void this.turns.close();
    const { driver } = this;
    if (driver !== null) {
      driver.close();
      await Promise.race([driver.ended, sleep(clock, FLUSH_MS, this.work.signal)]);
    }
    this.work.abort(new CodedError("CLOSED", "the executor has ended"));
    this.driver?.destroy();
    this.settle(end);
  }
}

function mutable(committables: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown[]> {
  return Object.fromEntries(Object.entries(committables).map(([uid, values]) => [uid, [...values]]));
}
