/** What `import { defineJob, sources, sinks, state } from "holdfast"` gives: everything a job file needs, and nothing that runs by itself. */
export { CodedError, type ErrorCode } from "../base/errors.js";
export type { JsonValue } from "../base/json.js";
export type {
  BadRecord,
  CancelSignal,
  CleanUpOptions,
  CommitSinkOptions,
  Enumeration,
  OpenSinkOptions,
  OpenSourceOptions,
  SinkConnector,
  SinkGuarantee,
  SinkWriter,
  SourceConnector,
  SourceReader,
  Split,
  WriterCheckpoint,
} from "../dataflow/connector.js";
export type { JobGraph } from "../dataflow/graph.js";
export type { TimeWindow } from "../dataflow/time/windows.js";
export type { MaybePromise } from "./built.js";
export type { JobLog, JobMetrics, OperatorContext, Out, ProcessContext, Timer, Timers } from "./context.js";
export type { Duration, Size } from "./durations.js";
export {
  type EventTimeOptions,
  type IntervalJoinOptions,
  type Windowed,
  type WindowKind,
  type WindowOptions,
  windows,
} from "./event-time.js";
export {
  type CheckpointOptions,
  defineJob,
  isJob,
  type Job,
  type JobBuilder,
  type JobDefinition,
  type Resources,
  type RestartStrategy,
  type UncheckedJobDefinition,
  type UncheckedParams,
} from "./job.js";
export type { KeyedStream } from "./keyed-stream.js";
export type { Key } from "./keys.js";
export {
  type AggregateOptions,
  type Emit,
  type JoinOptions,
  type JoinType,
  type Keyed,
  type MapAsyncOptions,
  type ProcessOptions,
  type ReduceOptions,
  type SideTypes,
  type SortKey,
  type SortOptions,
  type Type,
  type,
} from "./operators.js";
export type {
  AtLeastOnceSink,
  AtLeastOnceWriter,
  CommitPart,
  IdempotentSink,
  IdempotentWriter,
  SinkSubtask,
  TwoPhaseSink,
  TwoPhaseWriter,
} from "./own-sinks.js";
export { type PlannedJob, type PlanOptions, planJob } from "./plan.js";
export type { StandardSchemaV1 } from "./schema.js";
export type { JobSettings, RestartSettings } from "./settings.js";
export { type Sink, sinks } from "./sink.js";
export { type Source, type SourceSides, sources, type UntypedRecord } from "./source.js";
export {
  type ListDescriptor,
  type ListState,
  type MapDescriptor,
  type MapState,
  type StateCodec,
  type StateDescriptor,
  type StateOptions,
  state,
  type ValueDescriptor,
  type ValueState,
} from "./state.js";
export type { Stream } from "./stream.js";
