/**
 * Streams: what users build jobs from. Each call records an operator and gives the stream of its output; nothing runs while a job is built.
 *
 * Boundary: translates calls into operators, edges and functions (`builder.ts`); the engine gives them meaning.
 *
 * User functions may be sync or async, and get a context (`context.ts`) after their record. Records that reach several consumers are the same
 * object for all of them: return new records instead of changing the one that was given.
 */
import { CodedError } from "../base/errors.js";
import { type GraphBuilder, type InputRef, planFailed, type StreamRef } from "./builder.js";
import type { KeyFunction, MaybePromise } from "./built.js";
import { comparator } from "./compare.js";
import type { OperatorContext } from "./context.js";
import { durationMs } from "./durations.js";
import { KeyedStream, processFunctions } from "./keyed-stream.js";
import type { Key } from "./keys.js";
import {
  type BroadcastJoinType,
  DEFAULT_JOIN_LIMIT,
  DEFAULT_SORT_LIMIT,
  type JoinOptions,
  type JoinType,
  type MapAsyncOptions,
  type ProcessOptions,
  type SideTypes,
  type SortOptions,
} from "./operators.js";
import type { Sink } from "./sink.js";
import type { StateDescriptor } from "./state.js";

type NoSides = Readonly<Record<never, never>>;
type NoState = Readonly<Record<never, StateDescriptor>>;
// Functions are kept without their record types; the engine only hands them what the graph says.
type AnyFunction = (record: unknown, context: OperatorContext) => unknown;

/** A stream of records of type T; `Sides` are the side outputs of the operator that made it. */
export class Stream<T, Sides = NoSides> {
  private readonly builder: GraphBuilder;
  private readonly ref: StreamRef;
  private readonly sides: readonly string[];
  /** Only for the compiler. */
  declare protected readonly types: { readonly record: T; readonly sides: Sides };

  constructor(builder: GraphBuilder, ref: StreamRef, sides: readonly string[] = []) {
    this.builder = builder;
    this.ref = ref;
    this.sides = sides;
  }

  /** Each record becomes what `run` returns. An async `run` handles one record at a time, in order; see `mapAsync` for several at once. */
  map<U>(run: (record: T, context: OperatorContext) => U): Stream<Awaited<U>> {
    return this.fused("map", run);
  }

  /** Keeps the records for which `run` gives a true value; a type guard narrows the stream. */
  filter<U extends T>(run: (record: T, context: OperatorContext) => record is U): Stream<U>;
  filter(run: (record: T, context: OperatorContext) => MaybePromise<unknown>): Stream<T>;
  filter(run: (record: T, context: OperatorContext) => MaybePromise<unknown>): Stream<T> {
    return this.fused("filter", run);
  }

  /** Each record becomes any number of records. Arrays are fastest; a generator is read lazily, so it may give more than fits in memory. */
  flatMap<U>(run: (record: T, context: OperatorContext) => MaybePromise<Iterable<U>> | AsyncIterable<U>): Stream<U> {
    return this.fused("flatMap", run);
  }

  /** An async `map` with several calls under way at once, retries and a time limit. */
  mapAsync<U>(run: (record: T, context: OperatorContext) => MaybePromise<U>, options: MapAsyncOptions = {}): Stream<U> {
    const config = {
      concurrency: options.concurrency ?? 16,
      ordered: options.ordered ?? true,
      retries: options.retries ?? 0,
      backoffMs: durationMs(options.backoff ?? 100, "backoff of mapAsync"),
      timeoutMs: options.timeout === undefined ? null : durationMs(options.timeout, "timeout of mapAsync"),
    };
    const ref = this.add("mapAsync", null, config, { kind: "mapAsync", run: run as AnyFunction });
    const isWhole = (value: number, least: number) => Number.isInteger(value) && value >= least && value <= 100_000;
    if (!isWhole(config.concurrency, 1) || !isWhole(config.retries, 0)) {
      throw planFailed(
        ref.uid,
        `has concurrency ${config.concurrency} and retries ${config.retries}`,
        "Give whole numbers: concurrency >= 1, retries >= 0.",
      );
    }
    return new Stream(this.builder, ref);
  }

  /** Records of equal keys go to the same subtask. A key is a primitive, a Date, or an array or plain object of these. */
  keyBy<const K extends Key>(run: (record: T, context: OperatorContext) => MaybePromise<K>): KeyedStream<K, T> {
    const key = run as KeyFunction;
    return new KeyedStream(this.builder, this.add("keyBy", null, null, { kind: "keyBy", key }), key);
  }

  /** The records of this and the other streams, in no particular order between them. */
  union<U>(...others: readonly Stream<U, unknown>[]): Stream<T | U> {
    const refs = [this.ref, ...others.map((other) => this.refOf(other, "union"))];
    const same = refs.every((ref) => ref.parallelism === this.ref.parallelism);
    const ref = this.builder.add({
      uid: null,
      kind: "union",
      functions: { kind: "union" },
      inputs: refs.map((from) => ({ from, exchange: "forward" })),
      parallelism: same ? this.ref.parallelism : null,
    });
    return new Stream(this.builder, ref);
  }

  /**
   * Pairs the records of this stream with those of `other` that have the same key. `other` has to be bounded and is held in memory
   * (`maxBuildRecords` a subtask), so let it be the smaller one; this stream then flows past it.
   */
  join<R, K extends Key, V, J extends JoinType = "inner">(
    uid: string,
    other: Stream<R, unknown>,
    options: JoinOptions<T, R, K, J, V>,
  ): Stream<Awaited<V>> {
    const right = this.refOf(other, uid);
    const type = options.type ?? "inner";
    if ((type === "right" || type === "full") && !this.ref.bounded) {
      throw planFailed(
        uid,
        `is a ${type} join whose left input never ends`,
        "Which right records have no partner is known only at the end: use inner or left.",
      );
    }
    return this.joined(uid, "join", right, options, [
      { from: this.ref, exchange: "hash" },
      { from: right, exchange: "hash", input: 1 },
    ]);
  }

  /** A join where every subtask holds all of `small`: no exchange of this stream's records. */
  broadcastJoin<R, K extends Key, V, J extends BroadcastJoinType = "inner">(
    uid: string,
    small: Stream<R, unknown>,
    options: JoinOptions<T, R, K, J, V>,
  ): Stream<Awaited<V>> {
    const right = this.refOf(small, uid);
    return this.joined(uid, "broadcastJoin", right, options, [
      { from: this.ref, exchange: "forward" },
      { from: right, exchange: "broadcast", input: 1 },
    ]);
  }

  /** The first record of each key; without `key` the record itself is the key. Every key seen is remembered. */
  distinct(uid: string, key?: (record: T, context: OperatorContext) => MaybePromise<Key>): Stream<T> {
    const keyOf = (key ?? ((record: unknown) => record)) as KeyFunction;
    const inputs: readonly InputRef[] = [{ from: this.ref, exchange: "hash" }];
    return new Stream(
      this.builder,
      this.builder.add({ uid, kind: "distinct", functions: { kind: "distinct", key: keyOf }, inputs, parallelism: null }),
    );
  }

  /** All records in order, from one subtask. For bounded input that fits in memory, or with a `limit`. */
  sort(uid: string, options: SortOptions<T>): Stream<T> {
    if (!this.ref.bounded) throw planFailed(uid, "sorts an input that never ends", "Only a bounded input can be sorted.");
    const limit = options.limit ?? null;
    if (limit !== null && !(Number.isInteger(limit) && limit >= 0))
      throw planFailed(uid, `has a limit of ${limit}`, "A limit is a whole number of records.");
    const config = { limit, maxRecords: options.maxRecords ?? DEFAULT_SORT_LIMIT };
    const compare = comparator(options.by, options.order) as (left: unknown, right: unknown) => number;
    const functions = { kind: "sort", compare } as const;
    // With a limit each subtask keeps its own first ones, so that only these cross the network.
    const from =
      limit === null || this.ref.parallelism === 1
        ? this.ref
        : this.builder.add({
            uid: `${uid}.first`,
            kind: "sort",
            config,
            functions,
            inputs: [{ from: this.ref, exchange: "forward" }],
            parallelism: this.ref.parallelism,
          });
    const inputs: readonly InputRef[] = [{ from, exchange: "rebalance" }];
    return new Stream(
      this.builder,
      this.builder.add({ uid, kind: "sort", config, functions, inputs, parallelism: 1, timed: false }),
    );
  }

  /** Handles records one by one, with side outputs; without keyed state (for that: `keyBy(...).process`). */
  process<D = NoSides, U = never, O = never, E = never>(
    uid: string,
    options: ProcessOptions<undefined, T, NoState, D, U, O, E, never>,
  ): Stream<U | O | E, SideTypes<D>> {
    if (options.onTimer !== undefined)
      throw planFailed(uid, "has onTimer and no keys", "Timers belong to keys: use keyBy(...).process.");
    const ref = this.add("process", uid, { keyed: false, state: {} }, processFunctions(options, null));
    return new Stream(this.builder, ref, Object.keys(options.sides ?? {}));
  }

  /** Spreads the records evenly over all subtasks of what follows. */
  rebalance(options: { readonly parallelism?: number } = {}): Stream<T> {
    const inputs: readonly InputRef[] = [{ from: this.ref, exchange: "rebalance" }];
    const parallelism = options.parallelism ?? null;
    return new Stream(
      this.builder,
      this.builder.add({ uid: null, kind: "rebalance", functions: { kind: "rebalance" }, inputs, parallelism }),
    );
  }

  /** A side output of the operator that made this stream: of `process`, or `"errors"` of a source with `onError: "side"`. */
  side<Tag extends keyof Sides & string>(tag: Tag): Stream<Sides[Tag]> {
    if (!this.sides.includes(tag)) {
      const known = this.sides.length === 0 ? "it has none" : `it has ${this.sides.map((side) => `'${side}'`).join(", ")}`;
      throw planFailed(
        this.ref.uid,
        `has no side output '${tag}' (${known})`,
        "Declare it in `sides`; a source has 'errors' with onError: \"side\".",
      );
    }
    return new Stream(this.builder, { ...this.ref, side: tag });
  }

  /** Ends in a sink. `parallelism: 1` gives one file instead of a directory of parts. */
  to(uid: string, sink: Sink<T>, options: { readonly parallelism?: number } = {}): void {
    if (sink?.holdfast !== "sink") throw planFailed(String(uid), "is given something that is not a sink", "Make one with `sinks`.");
    const config =
      sink.descriptor !== null
        ? { descriptor: sink.descriptor }
        : sink.custom !== null
          ? { custom: true, appears: sink.custom.appears ?? null, guarantee: sink.custom.guarantee ?? null }
          : { collect: true, maxRecords: sink.collectLimit };
    this.builder.add({
      uid,
      kind: "sink",
      config,
      functions: { kind: "sink", custom: sink.custom },
      inputs: [{ from: this.ref, exchange: "forward" }],
      parallelism: options.parallelism ?? this.ref.parallelism,
    });
  }

  private fused<U>(kind: "map" | "filter" | "flatMap", run: unknown): Stream<U> {
    return new Stream(this.builder, this.add(kind, null, null, { kind, run: run as AnyFunction }));
  }

  private add(
    kind: "map" | "filter" | "flatMap" | "mapAsync" | "keyBy" | "process",
    uid: string | null,
    config: unknown,
    functions: AddedFunctions,
  ): StreamRef {
    const inputs: readonly InputRef[] = [{ from: this.ref, exchange: "forward" }];
    return this.builder.add({ uid, kind, config, functions, inputs, parallelism: this.ref.parallelism });
  }

  private joined<R, K extends Key, V, J extends JoinType>(
    uid: string,
    kind: "join" | "broadcastJoin",
    right: StreamRef,
    options: JoinOptions<T, R, K, J, V>,
    inputs: readonly InputRef[],
  ): Stream<Awaited<V>> {
    if (!right.bounded) {
      throw planFailed(
        uid,
        `joins with '${right.uid}', which never ends`,
        "The second input of a join is held in memory and has to be bounded: swap the two.",
      );
    }
    const { leftKey, rightKey, select } = options;
    const functions = { kind, leftKey: leftKey as KeyFunction, rightKey: rightKey as KeyFunction, select: select as never };
    const config = { type: options.type ?? "inner", maxBuildRecords: options.maxBuildRecords ?? DEFAULT_JOIN_LIMIT };
    // A broadcast join stays where this stream is; a hash join spreads over all subtasks.
    const parallelism = kind === "join" ? null : this.ref.parallelism;
    return new Stream(
      this.builder,
      this.builder.add({ uid, kind, config, functions, inputs, parallelism, bounded: this.ref.bounded, timed: this.ref.timed }),
    );
  }

  /** The other stream, when it is one and of this job. */
  private refOf<R>(other: Stream<R, unknown>, uid: string): StreamRef {
    if (!(other instanceof Stream))
      throw planFailed(uid, "has an unknown input: something that is not a stream", "Give a stream of this job.", "unknown input");
    if (other.builder !== this.builder) {
      const owner = other.builder.jobId;
      throw new CodedError(
        "INVALID_JOB",
        `Operator '${uid}' of job '${this.builder.jobId}' uses the stream '${other.ref.uid}' of another build (job '${owner}').`,
        {
          hint: "Make all streams inside build, from the `job` it is given.",
        },
      );
    }
    return other.ref;
  }
}

type AddedFunctions = Parameters<GraphBuilder["add"]>[0]["functions"];
