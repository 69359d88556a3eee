/**
 * A source's subtask: pulls splits, reads batches within the rate, checks records against the schema, and feeds the chain.
 *
 * Splits that end are read one after the other. Of an endless source all that this subtask is given are read together, a batch of each in turn, so that none
 * waits for the end of another one that never comes.
 *
 * Invariants: a reader is closed whatever happens; bad records are counted, the first ones kept, and none is dropped without one of both.
 */
import { issueLines, type StandardSchemaV1 } from "../../api/schema.js";
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { BadRecord, OnError, SourceConnector, Split } from "../../dataflow/connector.js";
import { type Clock, sleep } from "../../env/clock.js";
import type { ChainNode } from "./chain-nodes.js";
import type { BatchFunction } from "./codegen.js";
import { BATCH_RECORDS } from "./network.js";
import { RateLimiter } from "./rate-limiter.js";
import type { SplitProvider } from "./slice.js";
import { SplitReading } from "./split-reading.js";
import type { ChainDriver } from "./subtask.js";
import { isThenable } from "./thenable.js";
import { type EventTimeConfig, SourceTime } from "./time/source-time.js";
import { sourceFailed } from "./user-errors.js";

/** Bad records that a subtask keeps to show. */
export const MAX_BAD_RECORDS = 10;

export interface SourcePosition {
  readonly taken: number;
  /** Of the splits that it was given those that are not read to their end: which (from 0), and where the next record stands that the chain has not been given. */
  readonly reading: readonly { readonly nth: number; readonly position: JsonValue | null }[];
  readonly badRecords: number;
}

interface SourceConfig {
  readonly onError: OnError;
  readonly rate: number | null;
  readonly eventTime?: EventTimeConfig;
}

export interface SourceTaskOptions {
  readonly driver: ChainDriver;
  readonly node: ChainNode;
  readonly connector: SourceConnector<unknown>;
  readonly schema: StandardSchemaV1 | null;
  /** The time of a record; null: the source has no event time. */
  readonly eventTime: ((record: unknown) => number) | null;
  readonly splits: SplitProvider;
  /** Subtasks of the source, when the split provider does not know how many read. */
  readonly readers: number;
  /** Of the rate. */
  readonly clock: Clock;
}

export class SourceTask {
  badRecords = 0;
  readonly firstBadRecords: BadRecord[] = [];
  private readonly options: SourceTaskOptions;
  private readonly onError: OnError;
  private readonly limiter: RateLimiter | null;
  private readonly time: SourceTime<SplitReading> | null;
  /** Of `onError: "side"`, not yet emitted. */
  private sideRecords: BadRecord[] = [];
  private readonly draining = new AbortController();
  private finishedSize = 0;
  /** Splits that were given to this subtask. */
  private taken = 0;
  /** Those that are open: one, or of an endless source all that it was given and that go on. */
  private open: readonly SplitReading[] = [];
  /** Whose turn it is. */
  private turn = 0;
  /** No further splits are given to this subtask. */
  private hasAll = false;
  private batchIsThere: () => void = () => {};
  private badAtPosition = 0;

  constructor(options: SourceTaskOptions) {
    this.options = options;
    const config = options.node.spec.config as unknown as SourceConfig;
    this.onError = config.onError;
    const uid = options.node.spec.uid;
    const readers = () => options.splits.readers?.(uid) ?? options.readers;
    this.limiter = config.rate === null ? null : new RateLimiter(config.rate, readers, options.clock.now());
    this.time = sourceTimeOf(options, config.eventTime ?? null);
  }

  /** How much of the splits' size hints has been read. */
  progress(): number {
    return this.open.reduce((sum, reading) => sum + reading.progress(), this.finishedSize);
  }

  /** What a checkpoint keeps: up to here, and no further, the chain was given the records. Only while the chain has nothing in work. */
  position(): SourcePosition {
    const reading = this.open.map(({ nth, position }) => ({ nth, position }));
    return { taken: this.taken, reading, badRecords: this.badAtPosition };
  }

  /** The input shall end here. */
  drain(): void {
    this.draining.abort(new CodedError("CLOSED", "The source is being drained."));
  }

  async run(): Promise<void> {
    const { driver, node } = this.options;
    const signal = AbortSignal.any([driver.chain.signal, this.draining.signal]);
    const code = driver.chain.compile(node.main.targets);
    try {
      while (await this.openSplits(signal)) await this.readOnce(code, signal);
    } catch (thrown) {
      driver.chain.signal.throwIfAborted();
      if (this.draining.signal.aborted && isAbort(thrown, this.draining.signal)) return;
      throw sourceFailed(node.spec.uid, thrown);
    } finally {
      await this.closeSplits();
    }
  }

  /** Opens what is to be read now. False: there is nothing to read any more. */
  private async openSplits(signal: AbortSignal): Promise<boolean> {
    const { driver, node, connector, splits } = this.options;
    while (!this.draining.signal.aborted && !this.hasAll && (this.open.length === 0 || !connector.bounded)) {
      if (this.open.length > 0 && splits.hasMore?.(node.spec.uid) !== true) break;
      const next = await this.during(splits.next(node.spec.uid, signal));
      if (this.draining.signal.aborted) return false;
      if (next === null) {
        this.hasAll = true;
        break;
      }
      const reading = new SplitReading(next, this.taken++, { connector, signal, onSettled: () => this.batchIsThere() });
      this.open = [...this.open, reading];
      await driver.meanwhile(reading.open());
      this.time?.opened(reading);
    }
    return this.open.length > 0 && !this.draining.signal.aborted;
  }

  /** Reads a batch of one of the open splits, or waits until one of them has something. */
  private async readOnce(code: BatchFunction, signal: AbortSignal): Promise<void> {
    const { driver } = this.options;
    if (driver.attend !== null) {
      for (const reading of this.open) reading.passed();
      this.badAtPosition = this.badRecords;
      await driver.attend();
    }
    const limit = await this.allowance(signal);
    for (let i = 0; i < this.open.length; i++) {
      const reading = this.open[(this.turn + i) % this.open.length];
      const count = reading?.take(limit) ?? null;
      if (reading === undefined) continue;
      if (count === null) {
        this.time?.waits(reading);
        continue;
      }
      this.turn += i + 1;
      await this.pass(code, reading, count);
      return;
    }
    await this.during(new Promise<void>((resolve) => (this.batchIsThere = resolve)));
  }

  /** Gives a batch to the chain; 0: the split has ended. */
  private async pass(code: BatchFunction, reading: SplitReading, count: number): Promise<void> {
    const { split, records } = reading;
    if (reading.badRecords.length > 0) {
      for (const bad of reading.badRecords) this.bad(bad);
      reading.badRecords = [];
    }
    if (this.sideRecords.length > 0) await this.emitSideRecords();
    if (count === 0) {
      await this.ended(reading);
      return;
    }
    this.limiter?.taken(count);
    const valid = this.options.schema === null ? count : await this.validated(this.options.schema, split, records, count);
    if (this.sideRecords.length > 0) await this.emitSideRecords();
    await this.time?.read(reading, records, valid);
    await this.options.driver.feed(code, records, valid);
    await this.time?.advance();
  }

  private async ended(reading: SplitReading): Promise<void> {
    await reading.close();
    this.finishedSize += reading.split.sizeHint;
    this.open = this.open.filter((other) => other !== reading);
    this.time?.ended(reading);
  }

  private async closeSplits(): Promise<void> {
    const { open } = this;
    for (const { split } of open) this.finishedSize += split.sizeHint;
    this.open = [];
    await Promise.all(open.map((reading) => reading.close()));
  }

  /** Waits for something to read. */
  private during<T>(promise: Promise<T>): Promise<T> {
    return this.time === null ? this.options.driver.meanwhile(promise) : this.time.during(promise);
  }

  /** Waits until at least one record may be read. */
  private async allowance(signal: AbortSignal): Promise<number> {
    const { limiter } = this;
    if (limiter === null) return BATCH_RECORDS;
    const { driver, clock } = this.options;
    for (;;) {
      const allowed = limiter.allowed(clock.now(), BATCH_RECORDS);
      if (allowed > 0) return allowed;
      await driver.meanwhile(sleep(clock, limiter.waitMs(), signal));
    }
  }

  /** Moves the records that fit the schema, converted, to the front; returns their number. */
  private async validated(schema: StandardSchemaV1, split: Split, records: unknown[], count: number): Promise<number> {
    let valid = 0;
    for (let i = 0; i < count; i++) {
      const checked = schema["~standard"].validate(records[i]);
      const result = isThenable(checked) ? await checked : checked;
      if (result.issues === undefined) records[valid++] = result.value;
      else this.doesNotFit(split, records[i], issueLines(result.issues).join("; "));
    }
    return valid;
  }

  private doesNotFit(split: Split, record: unknown, reason: string): void {
    const text = (JSON.stringify(record) ?? String(record)).slice(0, 200);
    const { uid } = this.options.node.spec;
    if (this.onError === "fail") {
      throw new CodedError("BAD_RECORD", `A record of source '${uid}' (${split.id}) does not fit its schema: ${reason}`, {
        hint: 'Set onError to "skip" or "side" to go on without such records.',
        details: { operator: uid, split: split.id, record: text },
      });
    }
    this.bad({ source: split.id, line: null, byteOffset: null, text, reason });
  }

  private bad(bad: BadRecord): void {
    this.badRecords++;
    if (this.firstBadRecords.length < MAX_BAD_RECORDS) this.firstBadRecords.push(bad);
    if (this.onError === "side") this.sideRecords.push(bad);
  }

  private async emitSideRecords(): Promise<void> {
    const records = this.sideRecords;
    this.sideRecords = [];
    const outlet = this.options.node.sides.find((side) => side.side === "errors");
    if (outlet !== undefined) await this.options.driver.chain.emitBatch(outlet, records, records.length);
  }
}

function sourceTimeOf(
  { driver, node, splits, clock, eventTime }: SourceTaskOptions,
  config: EventTimeConfig | null,
): SourceTime<SplitReading> | null {
  if (eventTime === null || config === null) return null;
  const { uid } = node.spec;
  return new SourceTime({ uid, driver, config, time: eventTime, hasMore: () => splits.hasMore?.(uid) ?? false, clock });
}

/** Readers may reject with the signal's reason or an error of their own about it; both mean that the wait was cut short. */
function isAbort(thrown: unknown, signal: AbortSignal): boolean {
  return (
    thrown === signal.reason ||
    (thrown instanceof Error && (thrown.name === "AbortError" || thrown.cause === signal.reason)) ||
    isClosed(thrown)
  );
}

function isClosed(thrown: unknown): boolean {
  return thrown instanceof CodedError && (thrown.code === "CLOSED" || thrown.code === "ABORTED");
}
