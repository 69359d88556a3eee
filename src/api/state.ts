/**
 * Keyed state of `process`: declared by descriptors, used through handles. A handle always shows the state of the key of the current record.
 *
 * Invariant: name, kind, version of the codec and time to live of a declared state are part of the job graph, and checkpoints say which they were written with.
 */
import { CodedError } from "../base/errors.js";
import { type Duration, durationMs } from "./durations.js";
import type { StandardSchemaV1 } from "./schema.js";

declare const valueType: unique symbol;

/**
 * How the values of a state are written into checkpoints: of `value` the value, of `list` each element, of `map` each value. Without one they are written as they
 * are, and instances of classes come back as plain objects.
 */
export interface StateCodec<T> {
  /** Grows with the format: a whole number from 1 on. */
  readonly version: number;
  /** Gives data: what a record may hold. Called while nothing changes the value; what it throws fails the checkpoint, not the job. */
  encode(value: T): unknown;
  /** `version`: of the codec that has written it; 0: none had. What it throws fails the restore. */
  decode(data: unknown, version: number): T;
}

export interface StateOptions<T> {
  readonly codec?: StateCodec<T>;
  /**
   * So long after it was last set a value (of `list` each element, of `map` each value) is not seen any more, by the clock of the machine. It is dropped in the
   * background, and is in no checkpoint.
   */
  readonly ttl?: Duration;
}

interface Described<Kind extends string, T> {
  readonly kind: Kind;
  /** Null: values stay. */
  readonly ttlMs: number | null;
  readonly codec: StateCodec<unknown> | null;
  readonly [valueType]?: T;
}

/** One value per key. */
export type ValueDescriptor<T> = Described<"value", T>;
/** A growing list per key. */
export type ListDescriptor<T> = Described<"list", T>;
/** A map per key. */
export type MapDescriptor<MK, MV> = Described<"map", readonly [MK, MV]>;

export type StateDescriptor = ValueDescriptor<unknown> | ListDescriptor<unknown> | MapDescriptor<unknown, unknown>;

export interface ValueState<T> {
  /** Undefined until it was set for this key. */
  get(): T | undefined;
  set(value: T): void;
  clear(): void;
}

export interface ListState<T> {
  /** The live list: do not change it, and do not keep it past the call of the handler. */
  get(): readonly T[];
  add(value: T): void;
  set(values: readonly T[]): void;
  clear(): void;
}

export interface MapState<MK, MV> {
  get(key: MK): MV | undefined;
  set(key: MK, value: MV): void;
  has(key: MK): boolean;
  delete(key: MK): void;
  keys(): IterableIterator<MK>;
  entries(): IterableIterator<[MK, MV]>;
  readonly size: number;
  clear(): void;
}

export type StateHandle<D> =
  D extends Described<"value", infer T>
    ? ValueState<T>
    : D extends Described<"list", infer T>
      ? ListState<T>
      : D extends Described<"map", readonly [infer MK, infer MV]>
        ? MapState<MK, MV>
        : never;

export type StateHandles<S> = { readonly [Name in keyof S]: StateHandle<S[Name]> };

/** A schema gives the type, and so does the type of the options' codec. */
type Shape<T> = StandardSchemaV1<unknown, T> | StateOptions<T>;

function described<Kind extends string>(kind: Kind, shape: Shape<never> | undefined, more: StateOptions<never> | undefined) {
  const options = (more ?? (shape === undefined || "~standard" in shape ? {} : shape)) as StateOptions<unknown>;
  const ttlMs = options.ttl === undefined ? null : durationMs(options.ttl, "the ttl of a state");
  if (ttlMs === 0) throw invalid("a ttl of 0", "Leave it out, or give a time.");
  const codec = options.codec ?? null;
  if (codec !== null && !(Number.isInteger(codec.version) && codec.version >= 1))
    throw invalid(`a codec of version ${JSON.stringify(codec.version)}`, "A version is a whole number from 1 on.");
  return { kind, ttlMs, codec };
}

function invalid(what: string, hint: string): CodedError {
  return new CodedError("INVALID_JOB", `A state is declared with ${what}.`, { hint });
}

/**
 * Declares keyed state: `state: { seen: state.value<number>(), last: state.list<Event>(), byDay: state.map<string, number>() }`.
 * With a schema the type is taken from it: `state.value(z.number())`. With options: `state.value<number>({ ttl: "1h" })`. Throws INVALID_JOB.
 */
export const state = {
  value: <T = unknown>(shape?: Shape<T>, options?: StateOptions<T>): ValueDescriptor<T> =>
    described("value", shape as Shape<never>, options as StateOptions<never>),
  list: <T = unknown>(shape?: Shape<T>, options?: StateOptions<T>): ListDescriptor<T> =>
    described("list", shape as Shape<never>, options as StateOptions<never>),
  map: <MK = unknown, MV = unknown>(options?: StateOptions<MV>): MapDescriptor<MK, MV> =>
    described("map", undefined, options as StateOptions<never>),
} as const;

/** What the job graph says of a declared state. */
export function stateSpec({ kind, ttlMs, codec }: StateDescriptor) {
  if (ttlMs === null && codec === null) return kind;
  return { kind, ...(ttlMs === null ? {} : { ttlMs }), ...(codec === null ? {} : { version: codec.version }) };
}
