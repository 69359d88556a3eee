/** Streams with keys: aggregation, state, windows and interval joins by key. Boundary: as `stream.ts`. */
import { type GraphBuilder, type InputRef, planFailed, type StreamRef } from "./builder.js";
import type { AggregateFunctions, IntervalJoinFunctions, KeyFunction, MaybePromise, WindowFunctions } from "./built.js";
import type { OperatorContext } from "./context.js";
import { type IntervalJoinOptions, intervalConfig, type Windowed, type WindowOptions, windowConfig } from "./event-time.js";
import type { AggregateOptions, Emit, Keyed, ProcessOptions, ReduceOptions, SideTypes } from "./operators.js";
import { type StateDescriptor, stateSpec } from "./state.js";
import { Stream } from "./stream.js";

type NoSides = Readonly<Record<never, never>>;
type NoState = Readonly<Record<never, StateDescriptor>>;

/** A stream whose records have keys: what follows keeps state for each key. */
export class KeyedStream<K, T> {
  private readonly builder: GraphBuilder;
  private readonly ref: StreamRef;
  private readonly key: KeyFunction;
  declare protected readonly types: { readonly key: K; readonly record: T };

  constructor(builder: GraphBuilder, ref: StreamRef, key: KeyFunction) {
    this.builder = builder;
    this.ref = ref;
    this.key = key;
  }

  /** Folds the records of each key into an accumulator; gives `{ key, value }`. */
  aggregate<A, R = A>(uid: string, options: AggregateOptions<K, T, A, R>): Stream<Keyed<K, Awaited<R>>> {
    return this.aggregated("aggregate", uid, options.emit, {
      init: options.init as never,
      add: options.add as never,
      merge: (options.merge ?? null) as never,
      result: (options.result ?? null) as never,
      key: this.key,
    });
  }

  /** Joins the records of each key two by two into one of the same type; gives `{ key, value }`. */
  reduce(
    uid: string,
    run: (left: T, right: T, context: OperatorContext) => MaybePromise<T>,
    options: ReduceOptions<T> = {},
  ): Stream<Keyed<K, T>> {
    return this.aggregated("reduce", uid, options.emit, {
      init: null,
      add: run as never,
      merge: (options.merge ?? null) as never,
      result: null,
      key: this.key,
    });
  }

  /** Handles records one by one, with state and timers for each key and with side outputs. */
  process<S extends Readonly<Record<string, StateDescriptor>> = NoState, D = NoSides, U = never, O = never, E = never, W = never>(
    uid: string,
    options: ProcessOptions<K, T, S, D, U, O, E, W>,
  ): Stream<U | O | E | W, SideTypes<D>> {
    const kinds = Object.fromEntries(
      Object.entries(options.state ?? {}).map(([name, descriptor]) => [name, stateSpec(descriptor)]),
    );
    const ref = this.builder.add({
      uid,
      kind: "process",
      config: { keyed: true, state: kinds, ...(options.onTimer === undefined ? {} : { eventTime: this.ref.timed }) },
      functions: processFunctions(options, this.key),
      inputs: [{ from: this.ref, exchange: "hash" }],
      parallelism: null,
    });
    return new Stream(this.builder, ref, Object.keys(options.sides ?? {}));
  }

  /**
   * Folds the records of each key and window of event time into an accumulator; gives `{ key, window, value }` when event time has passed the window. Records that come
   * too late go to `.side("late")`.
   */
  window<A, R = A>(uid: string, options: WindowOptions<K, T, A, R>): Stream<Windowed<K, Awaited<R>>, { readonly late: T }> {
    const config = windowConfig(uid, options, this.ref.timed);
    const { time, init, add, merge = null, result = null } = options;
    const functions = { kind: "window", key: this.key, time, init, add, merge, result };
    const ref = this.builder.add({
      uid,
      kind: "window",
      config,
      functions: functions as unknown as WindowFunctions,
      inputs: [{ from: this.ref, exchange: "hash" }],
      parallelism: null,
    });
    return new Stream(this.builder, ref, ["late"]);
  }

  /**
   * Pairs the records of this stream with those of `other` that have the same key and happened near to them. Both may be endless: a record is held until no partner
   * can follow. Late records are not paired; they go to `.side("lateLeft")` and `.side("lateRight")`.
   */
  intervalJoin<U, V>(
    uid: string,
    other: KeyedStream<K, U>,
    options: IntervalJoinOptions<T, U, V>,
  ): Stream<Awaited<V>, { readonly lateLeft: T; readonly lateRight: U }> {
    if (!(other instanceof KeyedStream) || other.builder !== this.builder)
      throw planFailed(
        uid,
        "joins with something that is not a keyed stream of this job",
        "Give the other stream with keyBy.",
        "unknown input",
      );
    const config = intervalConfig(uid, options, this.ref.timed && other.ref.timed);
    const { leftTime, rightTime, select } = options;
    const functions = { kind: "intervalJoin", leftKey: this.key, rightKey: other.key, leftTime, rightTime, select };
    const ref = this.builder.add({
      uid,
      kind: "intervalJoin",
      config,
      functions: functions as unknown as IntervalJoinFunctions,
      inputs: [
        { from: this.ref, exchange: "hash" },
        { from: other.ref, exchange: "hash", input: 1 },
      ],
      parallelism: null,
    });
    return new Stream(this.builder, ref, ["lateLeft", "lateRight"]);
  }

  private aggregated<V>(
    kind: "aggregate" | "reduce",
    uid: string,
    emit: Emit | undefined,
    functions: Omit<AggregateFunctions, "kind">,
  ): Stream<Keyed<K, V>> {
    if (!this.ref.bounded && emit !== "updates") {
      throw planFailed(
        uid,
        `aggregates an input that never ends${emit === undefined ? ", without saying when it emits" : ' with emit: "end"'}`,
        'Give emit: "updates".',
        "missing emit",
      );
    }
    const mode = emit ?? "end";
    const combines = functions.merge !== null && mode === "end";
    const from = combines
      ? this.builder.add({
          uid: `${uid}.combine`,
          kind: "combine",
          functions: { kind: "combine", ...functions },
          inputs: [{ from: this.ref, exchange: "forward" }],
          parallelism: this.ref.parallelism,
        })
      : this.ref;
    const config = { emit: mode, combined: combines };
    const timed = this.ref.timed && mode === "updates";
    const inputs: readonly InputRef[] = [{ from, exchange: "hash" }];
    return new Stream(
      this.builder,
      this.builder.add({ uid, kind, config, functions: { kind, ...functions }, inputs, parallelism: null, timed }),
    );
  }
}

/** Of a `process`, with keys or without. */
export function processFunctions(
  options: { readonly state?: unknown; readonly onElement: unknown; readonly onEnd?: unknown; readonly onTimer?: unknown },
  key: KeyFunction | null,
) {
  return {
    kind: "process" as const,
    key,
    state: (options.state ?? {}) as Readonly<Record<string, StateDescriptor>>,
    onElement: options.onElement as never,
    onEnd: (options.onEnd ?? null) as never,
    onTimer: (options.onTimer ?? null) as never,
  };
}
