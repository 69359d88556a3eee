/**
 * The job graph: what planning a job gives. JSON only; functions are never in it. Every executor builds the same graph again from the
 * same bundle and params, and refuses to run when `hash` differs (a graph that depends on the clock, on chance or on the environment).
 *
 * Invariants: uids are unique; operators stand in topological order; an edge goes from an earlier to a later operator.
 */
import type { JsonValue } from "../base/json.js";

/** How records move from the subtasks of one operator to those of the next. */
export type ExchangeKind = "forward" | "hash" | "rebalance" | "broadcast";

export type OperatorKind =
  | "source"
  | "map"
  | "filter"
  | "flatMap"
  | "mapAsync"
  | "keyBy"
  /** Aggregates within a subtask before the exchange; made by the planner when `merge` is given. */
  | "combine"
  | "aggregate"
  | "reduce"
  | "process"
  /** Aggregates by key and window of event time. */
  | "window"
  | "intervalJoin"
  | "union"
  | "join"
  | "broadcastJoin"
  | "distinct"
  | "sort"
  | "rebalance"
  | "sink";

export interface OperatorSpec {
  /** Given by the user for stateful operators, sources and sinks; made from the position for the others. */
  readonly uid: string;
  readonly kind: OperatorKind;
  /** Number of subtasks; null: the application's parallelism. */
  readonly parallelism: number | null;
  /** Everything of the operator that is data (source descriptor, limits, modes). */
  readonly config: JsonValue;
}

export interface EdgeSpec {
  readonly from: string;
  readonly to: string;
  /** Which input of `to`: 0 but for the second input of a join or interval join. */
  readonly input: number;
  readonly exchange: ExchangeKind;
  /** The side output of `from` that this edge carries; null is the main output. */
  readonly side: string | null;
}

export interface JobGraph {
  readonly version: 1;
  /** `id` of defineJob. */
  readonly jobId: string;
  /** False as soon as one source never ends. */
  readonly bounded: boolean;
  readonly maxParallelism: number;
  readonly operators: readonly OperatorSpec[];
  readonly edges: readonly EdgeSpec[];
  /** sha-256 (hex) of the canonical JSON of all other fields. */
  readonly hash: string;
}
