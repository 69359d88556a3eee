/** Keys of a scratch store that holds keyed state: `k` and the id, with the row; `i`, an epoch and the id, for a row that changed in that epoch. */
import { unreachable } from "../../../base/assert.js";
import { CodedError } from "../../../base/errors.js";
import type { KeyIdentity } from "../../../dataflow/hash.js";

/** The epoch of the row's last change (0: it was restored so), and its value. */
export type StoredRow = readonly [changedIn: number, packed: unknown];

const EPOCH_CHARS = 13;

export const ALL_ROWS = { from: "k", to: "l" } as const;
export const ALL_INDEX_ROWS = { from: "i", to: "j" } as const;

export const rowKey = (id: unknown): string => `k${textOf(id as KeyIdentity)}`;
/** All index keys of that epoch and later ones are not before it. */
export const indexBound = (epoch: number): string => `i${String(epoch).padStart(EPOCH_CHARS, "0")}`;
export const indexKey = (epoch: number, id: unknown): string => indexBound(epoch) + textOf(id as KeyIdentity);

/** The id of a row's key. */
export const idOf = (key: string): KeyIdentity => idOfText(key.slice(1));

/** Of an index key: where the row is, and the epoch. */
export function indexed(key: string): { readonly row: string; readonly epoch: number } {
  return { row: `k${key.slice(1 + EPOCH_CHARS)}`, epoch: Number(key.slice(1, 1 + EPOCH_CHARS)) };
}

/** Another text for each id that a Map tells from the others. */
function textOf(id: KeyIdentity): string {
  switch (typeof id) {
    case "string":
      return `s${id}`;
    case "number":
      return `n${id}`;
    case "bigint":
      return `b${id}`;
    case "boolean":
      return id ? "t" : "f";
    case "undefined":
      return "u";
    case "object":
      return "0";
    default:
      return unreachable(id, "id of a key");
  }
}

function idOfText(text: string): KeyIdentity {
  const rest = text.slice(1);
  switch (text[0]) {
    case "s":
      return rest;
    case "n":
      return Number(rest);
    case "b":
      return BigInt(rest);
    case "t":
      return true;
    case "f":
      return false;
    case "u":
      return undefined;
    case "0":
      return null;
    default:
      throw new CodedError("INTERNAL", `invariant broken: '${text}' is no id of a key`);
  }
}
