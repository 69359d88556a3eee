/**
 * The handles by which `process` handlers see the state of the current key: views of one row that the unit moves from key to key.
 *
 * A state with a time to live holds its values (elements, entries) beside the instant from which they are not seen any more.
 */
import type { ListState, MapState, StateDescriptor, StateHandle, ValueState } from "../../api/state.js";

/** One slot a declared state: the value, the array, or the Map; undefined when nothing was set. */
export type StateRow = unknown[];

export interface StateCursor {
  row: StateRow;
}

export interface Timed {
  readonly value: unknown;
  /** Calendar time. */
  readonly until: number;
}

export function isLive({ until }: Timed, wallMs: number): boolean {
  return wallMs < until;
}

export function createHandles(
  descriptors: Readonly<Record<string, StateDescriptor>>,
  cursor: StateCursor,
  wallNow: () => number,
): Readonly<Record<string, StateHandle<unknown>>> {
  const handles: Record<string, unknown> = {};
  for (const [slot, [name, { kind, ttlMs }]] of Object.entries(descriptors).entries())
    handles[name] = ttlMs === null ? handleOf(kind, cursor, slot) : expiringHandleOf(kind, cursor, slot, { ttlMs, wallNow });
  return handles as Readonly<Record<string, StateHandle<unknown>>>;
}

function handleOf(kind: StateDescriptor["kind"], cursor: StateCursor, slot: number) {
  switch (kind) {
    case "value":
      return valueHandle(cursor, slot);
    case "list":
      return listHandle(cursor, slot);
    case "map":
      return mapHandle(cursor, slot);
  }
}

function valueHandle(cursor: StateCursor, slot: number): ValueState<unknown> {
  return {
    get: () => cursor.row[slot],
    set: (value) => {
      cursor.row[slot] = value;
    },
    clear: () => {
      cursor.row[slot] = undefined;
    },
  };
}

function listHandle(cursor: StateCursor, slot: number): ListState<unknown> {
  const list = () => {
    cursor.row[slot] ??= [];
    return cursor.row[slot] as unknown[];
  };
  return {
    get: list,
    add: (value) => void list().push(value),
    set: (values) => {
      cursor.row[slot] = [...values];
    },
    clear: () => {
      cursor.row[slot] = undefined;
    },
  };
}

function mapHandle(cursor: StateCursor, slot: number): MapState<unknown, unknown> {
  const map = () => {
    cursor.row[slot] ??= new Map();
    return cursor.row[slot] as Map<unknown, unknown>;
  };
  return {
    get: (key) => map().get(key),
    set: (key, value) => void map().set(key, value),
    has: (key) => map().has(key),
    delete: (key) => void map().delete(key),
    keys: () => map().keys(),
    entries: () => map().entries(),
    get size() {
      return map().size;
    },
    clear: () => {
      cursor.row[slot] = undefined;
    },
  };
}

// ------------------------------------------------------------------------------------------------ with a time to live

interface Expiry {
  readonly ttlMs: number;
  readonly wallNow: () => number;
}

function expiringHandleOf(kind: StateDescriptor["kind"], cursor: StateCursor, slot: number, { ttlMs, wallNow }: Expiry) {
  const timed = (value: unknown): Timed => ({ value, until: wallNow() + ttlMs });
  const clear = () => {
    cursor.row[slot] = undefined;
  };
  const liveOf = (one: Timed | undefined): unknown => (one !== undefined && isLive(one, wallNow()) ? one.value : undefined);
  if (kind === "value") {
    const set = (value: unknown) => {
      cursor.row[slot] = timed(value);
    };
    return { get: () => liveOf(cursor.row[slot] as Timed | undefined), set, clear } satisfies ValueState<unknown>;
  }
  return kind === "list" ? expiringList(cursor, slot, timed, wallNow, clear) : expiringMap(cursor, slot, timed, wallNow, clear);
}

function expiringList(
  cursor: StateCursor,
  slot: number,
  timed: (value: unknown) => Timed,
  wallNow: () => number,
  clear: () => void,
): ListState<unknown> {
  const held = () => (cursor.row[slot] ?? []) as Timed[];
  return {
    get: () => {
      const now = wallNow();
      return held().flatMap((one) => (isLive(one, now) ? [one.value] : []));
    },
    add: (value) => {
      cursor.row[slot] ??= [];
      (cursor.row[slot] as Timed[]).push(timed(value));
    },
    set: (values) => {
      cursor.row[slot] = values.map(timed);
    },
    clear,
  };
}

function expiringMap(
  cursor: StateCursor,
  slot: number,
  timed: (value: unknown) => Timed,
  wallNow: () => number,
  clear: () => void,
): MapState<unknown, unknown> {
  const held = () => (cursor.row[slot] ?? new Map()) as Map<unknown, Timed>;
  function* entries(): IterableIterator<[unknown, unknown]> {
    const now = wallNow();
    for (const [key, one] of held()) if (isLive(one, now)) yield [key, one.value];
  }
  function* keys(): IterableIterator<unknown> {
    for (const [key] of entries()) yield key;
  }
  const find = (key: unknown): Timed | undefined => {
    const one = held().get(key);
    return one !== undefined && isLive(one, wallNow()) ? one : undefined;
  };
  return {
    get: (key) => find(key)?.value,
    set: (key, value) => {
      cursor.row[slot] ??= new Map();
      (cursor.row[slot] as Map<unknown, Timed>).set(key, timed(value));
    },
    has: (key) => find(key) !== undefined,
    delete: (key) => void held().delete(key),
    keys,
    entries,
    get size() {
      let count = 0;
      for (const _ of entries()) count++;
      return count;
    },
    clear,
  };
}
