/**
 * Sinks of one's own in few words: each of these makes a SinkConnector that takes part in checkpoints.
 *
 *   twoPhase    prepare in the executor at each barrier, commit in the driver once the checkpoint (or the end of the job) is durable
 *   idempotent  each record under an id that is the same when it is written again
 *   atLeastOnce written as it comes; a restart writes some of it again
 *
 * Invariant: a writer is called by one at a time; nothing is written while it prepares or flushes.
 */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type {
  AttemptIdentity,
  BeginSinkOptions,
  CancelSignal,
  CleanUpOptions,
  OpenSinkOptions,
  SinkConnector,
  SinkGuarantee,
  SinkWriter,
  WriterCheckpoint,
} from "../dataflow/connector.js";
import { fenceOf } from "../dataflow/fence.js";
import type { MaybePromise } from "./built.js";

/** Of the subtask that writes. */
export interface SinkSubtask extends AttemptIdentity {
  readonly subtask: number;
  readonly parallelism: number;
  readonly signal: CancelSignal;
  /** As `ctx.fence`: grows over restarts and failovers, so another system can refuse writers that are over. */
  readonly fence: number;
}

export interface TwoPhaseWriter<T, C extends JsonValue> {
  /** The array is the caller's again when this returns, or when its promise settles. */
  write(records: readonly T[]): MaybePromise<void>;
  /**
   * Makes everything that was written since the last call durable, but not visible, and returns what `commit` needs to find it; null: nothing to commit.
   * Not called when nothing was written. Writing goes on afterwards.
   */
  prepare(): Promise<C | null>;
  /** The try is given up: removes what was written and not yet prepared. What was prepared is the affair of `abort` of the sink. */
  abort?(): Promise<void>;
  /** Frees connections. Called once, at the end or after `abort`. */
  close?(): Promise<void>;
}

export interface CommitPart extends AttemptIdentity {
  /** Names what is committed: the same whenever this commit is repeated, and of nothing else in the application. A key for a ledger. */
  readonly part: string;
  /** It may have been committed before by a process that died, long enough ago that its traces are gone. */
  readonly again: boolean;
}

export interface TwoPhaseSink<T, C extends JsonValue> {
  /** In the driver, before the first try: refuses early what can't end well. */
  begin?(options: BeginSinkOptions): Promise<void>;
  /** In the executor, once for each subtask and try. */
  open(subtask: SinkSubtask): MaybePromise<TwoPhaseWriter<T, C>>;
  /**
   * In the driver: makes visible what `prepare` returned. The decision is durable by then. **Idempotent**: after a crash the next driver repeats it, and
   * restoring a checkpoint commits what it held once more.
   */
  commit(prepared: C, part: CommitPart): Promise<void>;
  /**
   * In the driver, before a try and after the end: removes what tries that are over (`isOver`) have prepared and nobody will commit. May be repeated, and may
   * fail: what is left costs space.
   */
  abort?(tries: CleanUpOptions): Promise<void>;
}

/** Exactly once: what a checkpoint holds becomes visible with it, all of it or nothing. */
export function twoPhaseSink<T, C extends JsonValue>(sink: TwoPhaseSink<T, C>): SinkConnector<T> {
  return {
    appears: "at-checkpoint",
    ...(sink.begin === undefined ? {} : { begin: (options: BeginSinkOptions) => sink.begin?.(options) ?? Promise.resolve() }),
    open: async (options) => new TwoPhaseUnit<T, C>(await sink.open(subtaskOf(options)), options),
    commit: async (committables, { applicationId, attempt, again = false }) => {
      for (const committable of committables) {
        const { part, prepared } = committable as unknown as Prepared<C>;
        await sink.commit(prepared, { applicationId, attempt, part, again });
      }
    },
    cleanUp: (tries) => sink.abort?.(tries) ?? Promise.resolve(),
  };
}

interface Prepared<C> {
  readonly part: string;
  readonly prepared: C;
}

class TwoPhaseUnit<T, C extends JsonValue> implements SinkWriter<T> {
  private readonly writer: TwoPhaseWriter<T, C>;
  private readonly name: string;
  private parts = 0;
  private hasWritten = false;
  private preparing: Promise<unknown> | null = null;
  private isClosed = false;

  constructor(writer: TwoPhaseWriter<T, C>, { attempt, subtask }: OpenSinkOptions) {
    this.writer = writer;
    this.name = `${attempt}-${subtask}`;
  }

  write(records: readonly T[], count: number): void | Promise<void> {
    const batch = records.length === count ? records : records.slice(0, count);
    if (this.preparing !== null) return this.preparing.then(() => this.writeNow(batch));
    return this.writeNow(batch) as void | Promise<void>;
  }

  async checkpoint(): Promise<WriterCheckpoint> {
    const prepared = await this.stage();
    return { committables: prepared === null ? [] : [prepared], state: null };
  }

  prepare(): Promise<JsonValue> {
    return this.stage();
  }

  async abort(): Promise<void> {
    await this.writer.abort?.().catch(() => undefined);
    await this.end().catch(() => undefined);
  }

  close(): Promise<void> {
    return this.end();
  }

  private writeNow(batch: readonly T[]): MaybePromise<void> {
    this.hasWritten = true;
    return this.writer.write(batch);
  }

  private async stage(): Promise<JsonValue> {
    if (!this.hasWritten) return null;
    this.hasWritten = false;
    const staging = this.writer.prepare();
    this.preparing = staging;
    try {
      const prepared = await staging;
      if (prepared === null) return null;
      return { part: `${this.name}-${this.parts++}`, prepared };
    } finally {
      this.preparing = null;
    }
  }

  private async end(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.writer.close?.();
  }
}

/** Characters of an id, at most. */
export const MAX_WRITE_ID_CHARS = 512;

export interface IdempotentWriter<T> {
  /** Writes the record so that writing it again under the same id changes nothing. May only gather it until `flush`. */
  writeIdempotent(record: T, id: string): MaybePromise<void>;
  /** Everything that was written is durable in the other system. Called at each checkpoint's barrier and at the end. */
  flush?(): Promise<void>;
  close?(): Promise<void>;
}

export interface IdempotentSink<T> {
  /**
   * The record's id, from the record alone: the same whenever the record comes again. (A number that counts what a subtask wrote is none: after a restart
   * subtasks read other parts of the input.) 1 to MAX_WRITE_ID_CHARS characters.
   */
  id(record: T): string;
  open(subtask: SinkSubtask): MaybePromise<IdempotentWriter<T>>;
}

/** Effectively once: records written again after a restart replace themselves. They are visible as soon as they are written. */
export function idempotentSink<T>(sink: IdempotentSink<T>): SinkConnector<T> {
  const open = async (options: OpenSinkOptions): Promise<FlushedWriter<T>> => {
    const writer = await sink.open(subtaskOf(options));
    return { ...flushed(writer), write: (record) => writer.writeIdempotent(record, checkedId(sink.id(record))) };
  };
  return flushedSink("effectively-once", open);
}

export interface AtLeastOnceWriter<T> {
  /** May only gather the record until `flush`. */
  write(record: T): MaybePromise<void>;
  /** Everything that was written is durable in the other system. Called at each checkpoint's barrier and at the end. */
  flush?(): Promise<void>;
  close?(): Promise<void>;
}

export interface AtLeastOnceSink<T> {
  open(subtask: SinkSubtask): MaybePromise<AtLeastOnceWriter<T>>;
}

/** At least once: nothing that a checkpoint covers is lost; a restart writes what follows its checkpoint again. */
export function atLeastOnceSink<T>(sink: AtLeastOnceSink<T>): SinkConnector<T> {
  return flushedSink("at-least-once", async (options) => {
    const writer = await sink.open(subtaskOf(options));
    return { ...flushed(writer), write: (record) => writer.write(record) };
  });
}

interface FlushedWriter<T> {
  readonly write: (record: T) => MaybePromise<void>;
  readonly flush: () => Promise<void>;
  readonly close: () => Promise<void>;
}

function flushed(writer: { flush?(): Promise<void>; close?(): Promise<void> }) {
  return { flush: async () => await writer.flush?.(), close: async () => await writer.close?.() };
}

/** A sink with nothing to commit: what it wrote is out, and a barrier only waits until it is safe there. */
function flushedSink<T>(guarantee: SinkGuarantee, open: (options: OpenSinkOptions) => Promise<FlushedWriter<T>>): SinkConnector<T> {
  return {
    guarantee,
    open: async (options) => new FlushedUnit(await open(options)),
    commit: () => Promise.resolve(),
    cleanUp: () => Promise.resolve(),
  };
}

class FlushedUnit<T> implements SinkWriter<T> {
  private readonly writer: FlushedWriter<T>;
  private flushing: Promise<void> = Promise.resolve();
  private isClosed = false;

  constructor(writer: FlushedWriter<T>) {
    this.writer = writer;
  }

  async write(records: readonly T[], count: number): Promise<void> {
    await this.flushing;
    for (let i = 0; i < count; i++) {
      const writing = this.writer.write(records[i] as T);
      if (writing !== undefined) await writing;
    }
  }

  async checkpoint(): Promise<WriterCheckpoint> {
    await this.flush();
    return { committables: [], state: null };
  }

  async prepare(): Promise<JsonValue> {
    await this.flush();
    return null;
  }

  abort(): Promise<void> {
    return this.close().catch(() => undefined);
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.writer.close();
  }

  /** Writes that follow wait for it; its failure is the caller's. */
  private flush(): Promise<void> {
    const flushing = this.writer.flush();
    this.flushing = flushing.catch(() => undefined);
    return flushing;
  }
}

function subtaskOf({ applicationId, attempt, subtask, parallelism, signal }: OpenSinkOptions): SinkSubtask {
  return { applicationId, attempt, subtask, parallelism, signal, fence: fenceOf(attempt) };
}

function checkedId(id: unknown): string {
  if (typeof id === "string" && id.length > 0 && id.length <= MAX_WRITE_ID_CHARS) return id;
  throw new CodedError(
    "SINK_FAILED",
    `The id of a record is ${JSON.stringify(id)?.slice(0, 80)}: not 1 to ${MAX_WRITE_ID_CHARS} characters.`,
    {
      hint: "Let `id` make a text from the record's own fields.",
    },
  );
}
