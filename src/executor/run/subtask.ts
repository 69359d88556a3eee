/**
 * Feeds a chain: from exchanges (`runInputs`) or from a source (`source-task.ts`), and does between batches what time asks for: results of
 * mapAsync, part-filled batches that got old, giving way to the rest of the process.
 */
import type { CodedError } from "../../base/errors.js";
import type { Clock } from "../../env/clock.js";
import type { Chain } from "./chain.js";
import type { BatchFunction } from "./codegen.js";
import { JoinUnit } from "./join-unit.js";
import { type BatchInput, type ChannelId, FLUSH_AFTER_MS } from "./network.js";
import { InputTime } from "./time/input-time.js";

export class ChainDriver {
  readonly chain: Chain;
  readonly clock: Clock;
  /** Called while the chain waits for its source, and has nothing in work: a checkpoint may be due. */
  attend: (() => Promise<void>) | null = null;
  private flushedAt: number;

  constructor(chain: Chain, clock: Clock) {
    this.chain = chain;
    this.clock = clock;
    this.flushedAt = clock.now();
  }

  /** Runs a batch of input through the chain. */
  async feed(code: BatchFunction, records: readonly unknown[], count: number): Promise<void> {
    const { chain } = this;
    chain.counts[0] = (chain.counts[0] ?? 0) + count;
    await chain.run(code, records, count);
    if (chain.isBusy()) await chain.pump();
    if (chain.time.isDue()) await chain.time.fireDue();
    const now = this.clock.now();
    if (now - this.flushedAt >= FLUSH_AFTER_MS) await this.flush(now, false);
  }

  /** Waits for the promise, and meanwhile keeps the chain going. `onWake`: called each time the chain was woken. */
  async meanwhile<T>(promise: Promise<T>, onWake?: () => Promise<void>): Promise<T> {
    let settled = false;
    const settle = () => {
      settled = true;
      this.chain.wakeup.notify();
    };
    promise.then(settle, settle);
    while (!settled) {
      await this.idle(() => settled);
      if (this.attend !== null) await this.attend();
      if (onWake !== undefined) await onWake();
    }
    return await promise;
  }

  /** Sleeps until the chain is woken; what it holds is flushed when that takes long. `isOver`: asked once more before sleeping. */
  async idle(isOver: () => boolean): Promise<void> {
    const { chain, clock } = this;
    if (chain.isBusy()) await chain.pump();
    if (isOver()) return;
    let isLate = false;
    const timer = chain.isHolding()
      ? clock.at(clock.now() + FLUSH_AFTER_MS, () => {
          isLate = true;
          chain.wakeup.notify();
        })
      : null;
    const alarm = chain.time.alarm(() => chain.wakeup.notify());
    await chain.wakeup.wait();
    timer?.cancel();
    alarm?.cancel();
    chain.signal.throwIfAborted();
    if (chain.time.isDue()) await chain.time.fireDue();
    if (isLate) await this.flush(clock.now(), true);
  }

  private async flush(now: number, all: boolean): Promise<void> {
    this.flushedAt = now;
    this.chain.flush(all);
    if (this.chain.stop) await this.chain.settle();
  }
}

/** Channels of one input of the vertex, with the code for its records. */
interface OpenInput {
  readonly gate: BatchInput;
  readonly code: BatchFunction;
  open: number;
}

export interface GateInput {
  /** 0, or 1 for the second input of a join. */
  readonly input: number;
  readonly gate: BatchInput;
  readonly channels: readonly ChannelId[];
}

/** What barriers between the batches do. */
export interface BarrierConsumer {
  barrier(channel: ChannelId, id: number): Promise<void>;
  ended(): Promise<void>;
  /** Some channels have given the barrier of a checkpoint, and wait for the others. */
  isAligning(): boolean;
  /** The checkpoint that is being aligned can't be had; its channels go on. */
  refuse(reason: CodedError): void;
}

/**
 * Feeds the chain until all its channels have ended. The second input of a join comes first; see `api/probe-modes.ts`. Barriers of the first one are fetched
 * all the same as soon as the second one has given its own: what stands before them is held by the join. An interval join takes from both as they come.
 */
export async function runInputs(
  driver: ChainDriver,
  gates: readonly GateInput[],
  barriers: BarrierConsumer | null = null,
): Promise<void> {
  const { chain } = driver;
  const [head] = chain.nodes;
  if (head === undefined) return;
  for (const { gate } of gates) gate.onReady(() => chain.wakeup.notify());
  const opened = (input: number): OpenInput[] =>
    gates
      .filter((gate) => gate.input === input)
      .map(({ gate, channels }) => ({
        gate,
        open: channels.length,
        code: chain.compile([{ kind: input === 0 ? "node" : "build", node: head }]),
      }));
  const main = opened(0);
  const build = opened(1);
  const join = head.unit instanceof JoinUnit ? head.unit : null;
  const all = [...build, ...main];
  const timed = gates.filter(({ input }) => input === 0 || join === null).flatMap(({ channels }) => channels);
  const feed: Feed = { driver, barriers, time: new InputTime(chain.time, timed, join !== null) };
  if (join !== null) {
    await consume(feed, () => (join.buffersProbe || mayHold(join, barriers) ? all : build), build);
    await join.buildEnded();
    await feed.time.release();
  }
  const rest = join === null ? all : main;
  await consume(feed, () => rest, rest);
}

interface Feed {
  readonly driver: ChainDriver;
  readonly barriers: BarrierConsumer | null;
  readonly time: InputTime;
}

/** Whether records of the first input are taken and held, so that the barrier behind them comes. */
function mayHold(join: JoinUnit, barriers: BarrierConsumer | null): boolean {
  if (barriers?.isAligning() !== true) return false;
  if (join.hasRoom) return true;
  barriers.refuse(join.noRoom());
  return false;
}

/** Takes batches from all inputs until those in `until` have ended. */
async function consume(
  { driver, barriers, time }: Feed,
  inputs: () => readonly OpenInput[],
  until: readonly OpenInput[],
): Promise<void> {
  const isOver = () => until.every((input) => input.open === 0);
  while (!isOver()) {
    let taken = false;
    for (const input of inputs()) {
      const batch = input.gate.poll();
      if (batch === undefined) continue;
      taken = true;
      if (batch.records !== null) await driver.feed(input.code, batch.records, batch.records.length);
      else if (batch.barrier !== undefined) await barriers?.barrier(batch.channel, batch.barrier);
      else if (batch.watermark !== undefined) await time.watermark(batch.channel, batch.watermark);
      else {
        input.open--;
        // What the end makes due belongs before the barrier that it may complete: so all subtasks have the same time in a snapshot.
        await time.ended(batch.channel);
        await barriers?.ended();
      }
    }
    if (!taken) await driver.idle(() => false);
  }
}
