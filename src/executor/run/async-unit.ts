/**
 * mapAsync: several calls under way, in order or as they come, with retries and a time limit for each try.
 *
 * Invariants: at most `concurrency` calls are under way; ordered, at most ORDERED_WINDOW x concurrency records are held, so that one slow
 * call delays those behind it only so far; beyond that the chain stops.
 */
import type { OperatorContext } from "../../api/context.js";
import { CodedError } from "../../base/errors.js";
import { type Clock, sleep } from "../../env/clock.js";
import type { Chain } from "./chain.js";
import type { ChainNode, Unit } from "./chain-nodes.js";
import { isThenable } from "./thenable.js";

/** Results that may wait behind a slow one, in multiples of the concurrency. */
const ORDERED_WINDOW = 4;
const MAX_BACKOFF_MS = 30_000;

interface Call {
  readonly record: unknown;
  done: boolean;
  result: unknown;
}

interface MapAsyncConfig {
  readonly concurrency: number;
  readonly ordered: boolean;
  readonly retries: number;
  readonly backoffMs: number;
  readonly timeoutMs: number | null;
}

export class AsyncUnit implements Unit {
  private readonly chain: Chain;
  private readonly node: ChainNode;
  private readonly run: (record: unknown, context: OperatorContext) => unknown;
  private readonly clock: Clock;
  private readonly config: MapAsyncConfig;
  private readonly maxHeld: number;
  /** Records that were taken while there was no room: what one record of the chain gave too many. */
  private readonly queue: unknown[] = [];
  /** Ordered: all calls whose results were not emitted, oldest first. Unordered: those that are done. */
  private calls: Call[] = [];
  private active = 0;
  private failure: CodedError | null = null;
  private onProgress: (() => void) | null = null;

  constructor(chain: Chain, node: ChainNode, run: (record: unknown, context: OperatorContext) => unknown, clock: Clock) {
    this.chain = chain;
    this.node = node;
    this.run = run;
    this.clock = clock;
    this.config = node.spec.config as unknown as MapAsyncConfig;
    this.maxHeld = this.config.concurrency * ORDERED_WINDOW;
  }

  take(record: unknown): void {
    this.queue.push(record);
    this.start();
    if (this.isFull()) this.chain.checkFull();
  }

  isFull(): boolean {
    return this.queue.length > 0 || this.active >= this.config.concurrency;
  }

  isBusy(): boolean {
    return this.active > 0 || this.calls.length > 0 || this.queue.length > 0;
  }

  /** Resolves when a call has ended (or there was a result anyway). */
  relieve(): Promise<void> {
    if (this.failure !== null || this.ready() || this.active === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.onProgress = resolve;
    });
  }

  async pump(): Promise<void> {
    if (this.failure !== null) throw this.failure;
    while (this.ready()) {
      const results = this.takeReady();
      this.start();
      await this.chain.emitBatch(this.node.main, results, results.length);
      if (this.failure !== null) throw this.failure;
    }
    this.start();
  }

  async end(): Promise<void> {
    await this.pump();
    while (this.isBusy()) {
      await this.relieve();
      this.chain.signal.throwIfAborted();
      await this.pump();
    }
  }

  beforeBarrier(): Promise<void> {
    return this.end();
  }

  /** It may not overtake the records of the calls that are under way. */
  onWatermark(): Promise<void> {
    return this.end();
  }

  async resume(): Promise<void> {}

  private ready(): boolean {
    return this.calls[0]?.done === true;
  }

  private takeReady(): unknown[] {
    let count = 0;
    while (this.calls[count]?.done === true) count++;
    return this.calls.splice(0, count).map((call) => call.result);
  }

  private start(): void {
    while (
      this.queue.length > 0 &&
      this.active < this.config.concurrency &&
      this.calls.length < this.maxHeld &&
      this.failure === null
    ) {
      const call: Call = { record: this.queue.shift(), done: false, result: undefined };
      if (this.config.ordered) this.calls.push(call);
      this.begin(call);
    }
  }

  private begin(call: Call): void {
    this.active++;
    this.attempt(call).then(
      (result) => this.finish(call, result),
      (thrown) => {
        this.active--;
        this.failure ??= this.chain.failed(this.node.index, thrown);
        this.progressed();
      },
    );
  }

  private finish(call: Call, result: unknown): void {
    this.active--;
    call.result = result;
    call.done = true;
    if (!this.config.ordered) this.calls.push(call);
    this.progressed();
  }

  private progressed(): void {
    this.onProgress?.();
    this.onProgress = null;
    this.chain.wakeup.notify();
  }

  private async attempt(call: Call): Promise<unknown> {
    const { retries, backoffMs } = this.config;
    for (let tries = 0; ; tries++) {
      try {
        return await this.once(call.record);
      } catch (thrown) {
        if (tries >= retries || this.chain.signal.aborted) throw thrown;
        await sleep(this.clock, Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** tries), this.chain.signal);
      }
    }
  }

  private once(record: unknown): Promise<unknown> {
    const { timeoutMs } = this.config;
    if (timeoutMs === null) return new Promise((resolve) => resolve(this.run(record, this.node.context)));
    return new Promise((resolve, reject) => {
      const controller = new AbortController();
      const onAbort = () => controller.abort(this.chain.signal.reason);
      this.chain.signal.addEventListener("abort", onAbort, { once: true });
      const timer = this.clock.at(this.clock.now() + timeoutMs, () => {
        const error = new CodedError("TIMEOUT", `a call took longer than ${timeoutMs} ms`);
        controller.abort(error);
        reject(error);
      });
      const settle = () => {
        timer.cancel();
        this.chain.signal.removeEventListener("abort", onAbort);
      };
      const result = attemptSync(() => this.run(record, { ...this.node.context, signal: controller.signal }));
      Promise.resolve(result).then(resolve, reject).finally(settle);
    });
  }
}

function attemptSync(run: () => unknown): unknown {
  try {
    const result = run();
    return isThenable(result) ? result : Promise.resolve(result);
  } catch (thrown) {
    return Promise.reject(thrown);
  }
}
