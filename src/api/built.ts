/**
 * What building a job gives: the graph (JSON, the same in every process) and, beside it, the functions of each operator (never
 * serialised; every executor has its own from the same bundle).
 *
 * Invariant: every operator of the graph has an entry in `functions`, of the same kind.
 */
import type { SinkConnector, SourceConnector } from "../dataflow/connector.js";
import type { JobGraph } from "../dataflow/graph.js";
import type { TimeWindow } from "../dataflow/time/windows.js";
import type { OperatorContext, ProcessContext, Timer } from "./context.js";
import type { StandardSchemaV1 } from "./schema.js";
import type { StateDescriptor } from "./state.js";

export interface BuiltJob {
  readonly graph: JobGraph;
  readonly functions: ReadonlyMap<string, OperatorFunctions>;
}

/** What a user function may give back: the value, or a promise of it. */
export type MaybePromise<T> = T | PromiseLike<T>;

export type KeyFunction = (record: unknown, context: OperatorContext) => MaybePromise<unknown>;

export interface SourceFunctions {
  readonly kind: "source";
  /** A user's own connector; null: the descriptor in the operator's config. */
  readonly custom: SourceConnector<unknown> | null;
  /** Checks and converts each record; null: as it was read. */
  readonly schema: StandardSchemaV1 | null;
  /** The time of a record, in milliseconds since 1970; null: the source has no event time. */
  readonly eventTime: ((record: unknown) => number) | null;
}

export interface AggregateFunctions {
  readonly kind: "aggregate";
  /** Absent for `reduce`: the first record is the first accumulator. */
  readonly init: ((key: unknown) => MaybePromise<unknown>) | null;
  readonly add: (accumulator: unknown, record: unknown, context: OperatorContext) => MaybePromise<unknown>;
  readonly merge: ((left: unknown, right: unknown) => MaybePromise<unknown>) | null;
  readonly result: ((accumulator: unknown, key: unknown) => MaybePromise<unknown>) | null;
  /** Of the keyBy before it. */
  readonly key: KeyFunction;
}

export interface ProcessFunctions {
  readonly kind: "process";
  /** Null: not keyed. */
  readonly key: KeyFunction | null;
  readonly state: Readonly<Record<string, StateDescriptor>>;
  readonly onElement: (record: unknown, context: ProcessContext, out: unknown) => unknown;
  readonly onEnd: ((key: unknown, context: ProcessContext, out: unknown) => unknown) | null;
  readonly onTimer: ((timer: Timer, context: ProcessContext, out: unknown) => unknown) | null;
}

/** But for `result` nothing of a window may be async. */
export interface WindowFunctions {
  readonly kind: "window";
  readonly key: KeyFunction;
  readonly time: (record: unknown) => number;
  readonly init: (key: unknown) => unknown;
  readonly add: (accumulator: unknown, record: unknown, context: OperatorContext) => unknown;
  readonly merge: ((left: unknown, right: unknown) => unknown) | null;
  readonly result: ((accumulator: unknown, key: unknown, window: TimeWindow) => MaybePromise<unknown>) | null;
}

export interface IntervalJoinFunctions {
  readonly kind: "intervalJoin";
  readonly leftKey: KeyFunction;
  readonly rightKey: KeyFunction;
  readonly leftTime: (record: unknown) => number;
  readonly rightTime: (record: unknown) => number;
  readonly select: (left: unknown, right: unknown, context: OperatorContext) => unknown;
}

export interface JoinFunctions {
  readonly kind: "join";
  readonly leftKey: KeyFunction;
  readonly rightKey: KeyFunction;
  readonly select: (left: unknown, right: unknown, context: OperatorContext) => unknown;
}

export type OperatorFunctions =
  | SourceFunctions
  | { readonly kind: "map"; readonly run: (record: unknown, context: OperatorContext) => unknown }
  | { readonly kind: "filter"; readonly run: (record: unknown, context: OperatorContext) => unknown }
  | { readonly kind: "flatMap"; readonly run: (record: unknown, context: OperatorContext) => unknown }
  | { readonly kind: "mapAsync"; readonly run: (record: unknown, context: OperatorContext) => unknown }
  | { readonly kind: "keyBy"; readonly key: KeyFunction }
  | (Omit<AggregateFunctions, "kind"> & { readonly kind: "combine" })
  | AggregateFunctions
  | (Omit<AggregateFunctions, "kind"> & { readonly kind: "reduce" })
  | ProcessFunctions
  | WindowFunctions
  | IntervalJoinFunctions
  | { readonly kind: "union" }
  | JoinFunctions
  | (Omit<JoinFunctions, "kind"> & { readonly kind: "broadcastJoin" })
  | { readonly kind: "distinct"; readonly key: KeyFunction }
  | { readonly kind: "sort"; readonly compare: (left: unknown, right: unknown) => number }
  | { readonly kind: "rebalance" }
  | { readonly kind: "sink"; readonly custom: SinkConnector<unknown> | null };
