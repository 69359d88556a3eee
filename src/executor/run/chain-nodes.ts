/**
 * The parts of a chain: nodes (operators of one vertex, for one subtask) and what they feed.
 *
 * A node has outlets: its main output and its side outputs, each with the nodes and exchange edges that consume it. A node that does
 * something besides calling a user function has a runtime object (`Unit`): state, buffers, calls under way.
 *
 * Counters: records are counted where their number can change. `segment` is the index of the counter of the records that reach a node;
 * operators that give one record for each (map, keyBy ...) pass their own segment on, so a straight chain counts once.
 */
import type { OperatorFunctions } from "../../api/built.js";
import type { OperatorContext } from "../../api/context.js";
import type { OperatorSpec } from "../../dataflow/graph.js";
import type { EdgeOutput } from "./edge-output.js";

export interface Outlet {
  readonly side: string | null;
  /** Counter of the records that leave here. */
  readonly segment: number;
  /** Whether emitting counts; false where the counter is that of the node's input (one for each). */
  readonly counted: boolean;
  readonly targets: readonly Target[];
}

export type Target =
  | { readonly kind: "node"; readonly node: ChainNode }
  | { readonly kind: "edge"; readonly edge: EdgeOutput }
  /** The second input of a join. */
  | { readonly kind: "build"; readonly node: ChainNode };

export interface ChainNode {
  /** Position in the chain; also its name in generated code. */
  readonly index: number;
  readonly spec: OperatorSpec;
  readonly functions: OperatorFunctions;
  readonly context: OperatorContext;
  /** Counter of the records that reach it. */
  readonly segment: number;
  readonly main: Outlet;
  readonly sides: readonly Outlet[];
  /** Null for operators that are nothing but a function. */
  readonly unit: Unit | null;
}

/** What is left to do for a record after the synchronous loop met something that it has to wait for. */
export interface Deferred {
  readonly unit: Resumable;
  /** Where the unit was; the meaning is the unit's own. */
  readonly stage: number;
  readonly record: unknown;
  /** What was being waited for, or anything else that the stage needs. */
  readonly value: unknown;
  readonly key: unknown;
}

export interface Resumable {
  resume(deferred: Deferred): Promise<void>;
}

/** The stateful part of an operator. Generated code calls further methods of the concrete unit, on its fast path. */
export interface Unit extends Resumable {
  /** The input of the chain has ended: emits what is left. Called in topological order. */
  end?(): Promise<void>;
  /** A checkpoint's barrier is to pass: hands on, or waits for, everything that is not in the unit's keyed state. */
  beforeBarrier?(): Promise<void>;
  /** Results that came by themselves (mapAsync) and can be emitted now. */
  pump?(): Promise<void>;
  /** True while the unit can't take more records; `relieve` resolves when that may have changed. */
  isFull?(): boolean;
  relieve?(): Promise<void>;
  /** Records are held that came by themselves or will (mapAsync). */
  isBusy?(): boolean;
  /** Event time has come so far: emits what is due by then. Called in topological order, and each time with a later instant. */
  onWatermark?(ms: number): Promise<void>;
  /** After its state was restored: event time as it was at the checkpoint. */
  startAt?(ms: number): void;
  /** The instant of the wall clock at which `onClock` wants to be called next; null: none. */
  nextClockAt?(): number | null;
  onClock?(wallMs: number): Promise<void>;
}
