/** The options of the operators, as users write them. `stream.ts` takes them. */
import type { MaybePromise } from "./built.js";
import type { OperatorContext, Out, ProcessContext, Timer } from "./context.js";
import type { Duration } from "./durations.js";
import type { Key } from "./keys.js";
import type { StateDescriptor, StateHandles } from "./state.js";

/** Most build records of a join, and of probe records where they have to be held, in one subtask. */
export const DEFAULT_JOIN_LIMIT = 2_000_000;
/** Most records that `sort` holds. */
export const DEFAULT_SORT_LIMIT = 1_000_000;

export interface MapAsyncOptions {
  /** Calls under way at once in a subtask. Default 16. */
  readonly concurrency?: number;
  /** Default true: results leave in the order of their records. False: as they come, which is faster when some take long. */
  readonly ordered?: boolean;
  /** Further tries of a call that failed. Default 0; the wait between them grows from `backoff` (default 100 ms) by doubling, up to 30 s. */
  readonly retries?: number;
  readonly backoff?: Duration;
  /** A try that takes longer fails, and the signal of its context aborts. Default: none. */
  readonly timeout?: Duration;
}

/**
 * When results leave: `end`: once a key, when the bounded input has ended (the default there); `updates`: after every record, with the
 * value so far. On an unbounded input `updates` has to be said.
 */
export type Emit = "end" | "updates";

export interface AggregateOptions<K, T, A, R> {
  /** The accumulator of a key that is seen for the first time. */
  readonly init: (key: K) => MaybePromise<A>;
  /** The accumulator with a record in it; it may change and return the one it was given. */
  readonly add: (accumulator: A, record: T, context: OperatorContext) => MaybePromise<A>;
  /** Joins two accumulators of a key. With it, records are aggregated before they cross the network (with `emit: "end"`). */
  readonly merge?: (left: A, right: A) => MaybePromise<A>;
  /** What is emitted as `value`; default: the accumulator. With `emit: "updates"` and a nested accumulator that `add` changes in place, give it. */
  readonly result?: (accumulator: A, key: K) => R;
  readonly emit?: Emit;
}

export interface ReduceOptions<T> {
  /** Usually the same function again: reduces before records cross the network, too. */
  readonly merge?: (left: T, right: T) => MaybePromise<T>;
  readonly emit?: Emit;
}

/** What an aggregation of a key gives. */
export interface Keyed<K, V> {
  readonly key: K;
  readonly value: V;
}

declare const markedType: unique symbol;

/** A type as a value: `type<Alert>()` says what a handler emits where nothing else tells the compiler. */
export interface Type<T> {
  readonly [markedType]?: T;
}

export function type<T>(): Type<T> {
  return {};
}

/** Types of side outputs by their tags. */
export type SideTypes<D> = { readonly [Tag in keyof D]: D[Tag] extends Type<infer T> ? T : never };

// biome-ignore lint/suspicious/noConfusingVoidType: a handler may simply not return anything
type Returned<U> = MaybePromise<Iterable<U> | void> | AsyncIterable<U>;

export interface ProcessOptions<K, T, S extends Readonly<Record<string, StateDescriptor>>, D, U, O, E = U, W = U> {
  /** Keyed state by name, each made with `state.value`, `state.list` or `state.map`. */
  readonly state?: S;
  /** Side outputs by tag: `sides: { late: type<Event>() }`; written with `out.side("late", event)`. */
  readonly sides?: D;
  /** The type that `out.emit` takes. Not needed when the handler returns its output. */
  readonly output?: Type<O>;
  /** Handles a record: may change the state of its key, emit with `out`, and return an array (or any iterable) of records to emit. */
  readonly onElement: (record: T, context: ProcessContext<K, StateHandles<S>>, out: Out<O, SideTypes<D>>) => Returned<U>;
  /** Called once a key when a bounded input has ended (without keys: once a subtask). */
  readonly onEnd?: (key: K, context: ProcessContext<K, StateHandles<S>>, out: Out<O, SideTypes<D>>) => Returned<E>;
  /**
   * Called when a timer of `ctx.timers` is due, with the key that had set it. When the input ends all timers come at once, before `onEnd`, those of event time first;
   * timers that are set then never come.
   */
  readonly onTimer?: (timer: Timer, context: ProcessContext<K, StateHandles<S>>, out: Out<O, SideTypes<D>>) => Returned<W>;
}

/** Which records without a partner are kept: none, those of the left stream, of the right (`other`), of both. */
export type JoinType = "inner" | "left" | "right" | "full";

export type JoinLeft<L, J extends JoinType> = J extends "right" | "full" ? L | undefined : L;
export type JoinRight<R, J extends JoinType> = J extends "left" | "full" ? R | undefined : R;

export interface JoinOptions<L, R, K extends Key, J extends JoinType, V> {
  /** Default `inner`. */
  readonly type?: J;
  readonly leftKey: (record: L) => MaybePromise<K>;
  readonly rightKey: (record: R) => MaybePromise<K>;
  /** Makes the joined record; a missing partner is undefined. */
  readonly select: (left: JoinLeft<L, J>, right: JoinRight<R, J>, context: OperatorContext) => V;
  /** The most records of `other` that one subtask holds; more fail the job. Default 2,000,000. */
  readonly maxBuildRecords?: number;
}

/** A broadcast join has no `right` or `full`: every subtask holds all of the small stream. */
export type BroadcastJoinType = "inner" | "left";

export type SortKey = string | number | bigint | boolean | Date | null | undefined;

export interface SortOptions<T> {
  /** What to order by: a value, or several of falling importance. Missing values (null, undefined) come last. */
  readonly by: (record: T) => SortKey | readonly SortKey[];
  /** Default `asc`; one for all, or one per value. */
  readonly order?: "asc" | "desc" | readonly ("asc" | "desc")[];
  /** Only the first so many. */
  readonly limit?: number;
  /** The most records that are held without a `limit` (with one: twice as many as that); more fail the job. Default 1,000,000. */
  readonly maxRecords?: number;
}
