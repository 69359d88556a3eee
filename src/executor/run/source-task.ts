/**
 * A source's subtask: pulls splits, reads batches within the rate, checks records against the schema, and feeds the chain.
 *
 * Invariants: a reader is closed whatever happens; bad records are counted, the first ones kept, and none is dropped without one of both.
 */
import { issueLines, type StandardSchemaV1 } from "../../api/schema.js";
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { BadRecord, OnError, SourceConnector, SourceReader, Split } from "../../dataflow/connector.js";
import { type Clock, sleep } from "../../env/clock.js";
import type { ChainNode } from "./chain-nodes.js";
import { BATCH_RECORDS } from "./network.js";
import { RateLimiter } from "./rate-limiter.js";
import type { SplitProvider } from "./slice.js";
import type { ChainDriver } from "./subtask.js";
import { isThenable } from "./thenable.js";
import { type EventTimeConfig, SourceTime } from "./time/source-time.js";
import { sourceFailed } from "./user-errors.js";

/** Bad records that a subtask keeps to show. */
export const MAX_BAD_RECORDS = 10;

export interface SourcePosition {
  readonly taken: number;
  readonly reading: { readonly position: JsonValue | null } | null;
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
  private readonly time: SourceTime | null;
  /** Of `onError: "side"`, not yet emitted. */
  private sideRecords: BadRecord[] = [];
  private readonly draining = new AbortController();
  private reader: SourceReader<unknown> | null = null;
  private finishedSize = 0;
  /** Splits that were given to this subtask. */
  private taken = 0;
  /** Where in the last of them the next record stands that the chain has not been given; null: it is read to its end. */
  private reading: { readonly position: JsonValue | null } | null = null;
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
    return this.finishedSize + (this.reader?.progress() ?? 0);
  }

  /** What a checkpoint keeps: up to here, and no further, the chain was given the records. Only while the chain has nothing in work. */
  position(): SourcePosition {
    return { taken: this.taken, reading: this.reading, badRecords: this.badAtPosition };
  }

  /** The input shall end here. */
  drain(): void {
    this.draining.abort(new CodedError("CLOSED", "The source is being drained."));
  }

  async run(): Promise<void> {
    const { driver, node, splits } = this.options;
    const signal = AbortSignal.any([driver.chain.signal, this.draining.signal]);
    try {
      for (;;) {
        const next = await this.during(splits.next(node.spec.uid, signal));
        if (next === null || this.draining.signal.aborted) return;
        this.taken++;
        this.reading = { position: next.position };
        await this.readSplit(next.split, next.position, signal);
        this.time?.splitEnded();
        this.reading = null;
      }
    } catch (thrown) {
      driver.chain.signal.throwIfAborted();
      if (this.draining.signal.aborted && isAbort(thrown, this.draining.signal)) return;
      throw sourceFailed(node.spec.uid, thrown);
    }
  }

  private async readSplit(split: Split, position: JsonValue | null, signal: AbortSignal): Promise<void> {
    const { driver, node, connector } = this.options;
    const reader = await driver.meanwhile(connector.open(split, position, { signal, onBadRecord: (bad) => this.bad(bad) }));
    this.reader = reader;
    const code = driver.chain.compile(node.main.targets);
    const records: unknown[] = [];
    try {
      while (!this.draining.signal.aborted) {
        if (driver.attend !== null) {
          this.reading = { position: reader.position() };
          this.badAtPosition = this.badRecords;
          await driver.attend();
        }
        const limit = await this.allowance(signal);
        const reading = reader.next(records, limit);
        const count = typeof reading === "number" ? reading : await this.during(reading);
        if (this.sideRecords.length > 0) await this.emitSideRecords();
        if (count === 0) break;
        this.limiter?.taken(count);
        const valid = this.options.schema === null ? count : await this.validated(this.options.schema, split, records, count);
        if (this.sideRecords.length > 0) await this.emitSideRecords();
        await this.time?.read(records, valid);
        await driver.feed(code, records, valid);
        await this.time?.advance();
      }
    } finally {
      await reader.close();
      this.finishedSize += split.sizeHint;
      this.reader = null;
    }
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
): SourceTime | null {
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
