/**
 * What a slice is: everything that one executor runs of one job (`run-slice.ts` runs it). Executor i runs subtask i of every vertex of the execution plan whose
 * parallelism is greater than i.
 *
 * Boundary: knows nothing of drivers, processes or sockets. Splits come from `splits`, batches go through `network`, committables are
 * returned; who asks, connects and commits is the caller's affair.
 *
 * Invariants:
 *   1. `done` settles once, after every reader, writer and timer of the slice is closed.
 *   2. A slice that failed or was cancelled has aborted its sink writers; one that succeeded has prepared all of them and committed none.
 */
import type { BuiltJob } from "../../api/built.js";
import type { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type {
  BadRecord,
  SinkConnector,
  SinkDescriptor,
  SourceConnector,
  SourceDescriptor,
  Split,
} from "../../dataflow/connector.js";
import type { Clock } from "../../env/clock.js";
import type { Log } from "../../env/log.js";
import type { ScratchStores } from "../../env/scratch-store.js";
import type { SlicePart, SliceSnapshot, StateHandle } from "../../wire/checkpoint.js";
import type { TextCodec } from "./codec/index.js";
import type { ExchangeNetwork } from "./network.js";

/** `position` null: from the start. */
export interface AssignedSplit {
  readonly split: Split;
  readonly position: JsonValue | null;
}

export interface SplitProvider {
  /** The next split that this executor shall read for the source, or null when there is none left. Rejects when the signal aborts. */
  next(sourceUid: string, signal: AbortSignal): Promise<AssignedSplit | null>;
  /** How many subtasks read this source now; a rate limit is shared between them. Absent or null: all subtasks of the source. */
  readers?(sourceUid: string): number | null;
  /** Whether splits of the source are left that nobody has been given. Absent: false. */
  hasMore?(sourceUid: string): boolean;
}

/** Makes the built-in connectors from their descriptors; `src/connectors` in production. */
export interface ConnectorFactory {
  source(descriptor: SourceDescriptor): SourceConnector<unknown>;
  sink(descriptor: SinkDescriptor): SinkConnector<unknown>;
}

export interface SliceOptions {
  readonly built: BuiltJob;
  readonly applicationId: string;
  /** Unique for each driver attempt and job restart, for example "1.2". */
  readonly attempt: string;
  /** Index of this executor, from 0. */
  readonly subtask: number;
  /** Number of executors. */
  readonly parallelism: number;
  readonly splits: SplitProvider;
  readonly network: ExchangeNetwork;
  readonly connectors: ConnectorFactory;
  /** For what users set: rates, timeouts, waits between tries. */
  readonly clock: Clock;
  /** For what the engine decides by itself: how long a loop runs, when part-filled batches leave. Default: `clock`. */
  readonly pacing?: Clock;
  readonly log: Log;
  /** Lets the event loop handle what waits; setImmediate in Node. */
  readonly yieldToLoop: () => Promise<void>;
  /** Records for a `collect` sink, in batches; a promise slows the job down. Absent: they are counted and dropped. */
  readonly onCollect?: (sinkUid: string, records: unknown[]) => void | Promise<void>;
  /** Absent: the job takes no checkpoints. */
  readonly checkpoints?: SliceCheckpointing;
  /** Where keyed state goes that has no room in memory; the slice closes it. Absent: state stays in memory. */
  readonly scratch?: ScratchStores;
}

export interface SliceCheckpointing {
  readonly blobs: StateBlobs;
  readonly text: TextCodec;
  /** What the slice goes on from; null: the start. */
  readonly restored: SlicePart | null;
  /** Called once for each checkpoint that was ordered and neither given up nor overtaken by another one, when the slice's part is durable or failed. */
  readonly onCheckpointed: (id: number, outcome: SliceSnapshot | CodedError) => void;
  /** Records of a `collect` sink as they are staged. Throws LIMIT_EXCEEDED when they, and all before them, are more than a result may hold. */
  readonly asJson: (sink: string, records: readonly unknown[]) => readonly JsonValue[];
}

/** Where state is kept; each blob is durable when `put` resolves. */
export interface StateBlobs {
  put(bytes: Uint8Array): Promise<StateHandle>;
  /** Rejects with CHECKPOINT_UNREADABLE when the bytes are not there, or not those. */
  get(handle: StateHandle): Promise<Uint8Array>;
}

export interface CheckpointOrder {
  readonly id: number;
  /** begin: take it; those before it are over. abort: it and those before it are over. */
  readonly order: "begin" | "abort";
  /** What belonged to checkpoints up to this one needs not be told again. */
  readonly completed: number;
}

export interface OperatorProgress {
  readonly in: number;
  readonly out: number;
}

export interface SliceProgress {
  /** Records read by the sources, and written to the sinks, of this slice. */
  readonly recordsIn: number;
  readonly recordsOut: number;
  readonly badRecords: number;
  /** The first MAX_BAD_RECORDS of them. */
  readonly firstBadRecords: readonly (BadRecord & { readonly operator: string })[];
  readonly operators: Readonly<Record<string, OperatorProgress>>;
  /** By source: how much of the splits' size hints has been read. */
  readonly sourceProgress: Readonly<Record<string, number>>;
  /** Counters of user code (`ctx.metrics`), as `uid.name`. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface SliceResult {
  /** By sink uid: one entry for each subtask of the sink that ran here. Sinks without anything to commit are left out. */
  readonly committables: Readonly<Record<string, readonly JsonValue[]>>;
  readonly progress: SliceProgress;
}

export interface RunningSlice {
  /** Rejects with OPERATOR_FAILED, SOURCE_FAILED, SINK_FAILED, BAD_RECORD, LIMIT_EXCEEDED, EXECUTOR_LOST, or the reason of `cancel`. */
  readonly done: Promise<SliceResult>;
  progress(): SliceProgress;
  /** Ends the slice with this error. Resolves when nothing of it runs. */
  cancel(reason: CodedError): Promise<void>;
  /** Ends the sources as if their input had ended; what is under way flows out and `done` resolves as usual. */
  drain(): void;
  checkpoint(order: CheckpointOrder): void;
}
