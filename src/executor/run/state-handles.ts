/** The handles by which `process` handlers see the state of the current key: views of one row that the unit moves from key to key. */
import type { ListState, MapState, StateDescriptor, StateHandle, ValueState } from "../../api/state.js";

/** One slot a declared state: the value, the array, or the Map; undefined when nothing was set. */
export type StateRow = unknown[];

export interface StateCursor {
  row: StateRow;
}

export function createHandles(
  descriptors: Readonly<Record<string, StateDescriptor>>,
  cursor: StateCursor,
): Readonly<Record<string, StateHandle<unknown>>> {
  const handles: Record<string, unknown> = {};
  for (const [slot, [name, descriptor]] of Object.entries(descriptors).entries())
    handles[name] = handleOf(descriptor.kind, cursor, slot);
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
