/**
 * Keyed state of `process`: declared by descriptors, used through handles. A handle always shows the state of the key of the current record.
 *
 * Invariant: the name and the kind of a declared state are part of the job graph, so that a checkpoint can be matched with them later.
 */
import type { StandardSchemaV1 } from "./schema.js";

declare const valueType: unique symbol;

interface Described<Kind extends string, T> {
  readonly kind: Kind;
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

/**
 * Declares keyed state: `state: { seen: state.value<number>(), last: state.list<Event>(), byDay: state.map<string, number>() }`.
 * With a schema the type is taken from it: `state.value(z.number())`.
 */
export const state = {
  value: <T = unknown>(_schema?: StandardSchemaV1<unknown, T>): ValueDescriptor<T> => ({ kind: "value" }),
  list: <T = unknown>(_schema?: StandardSchemaV1<unknown, T>): ListDescriptor<T> => ({ kind: "list" }),
  map: <MK = unknown, MV = unknown>(): MapDescriptor<MK, MV> => ({ kind: "map" }),
} as const;
