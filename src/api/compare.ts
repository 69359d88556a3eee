/** The order that `sort` makes of keys: missing values last in either direction, then numbers, strings by code unit, dates by time. */
import type { SortKey } from "./operators.js";

type Order = "asc" | "desc";

export function comparator<T>(
  by: (record: T) => SortKey | readonly SortKey[],
  order: Order | readonly Order[] = "asc",
): (left: T, right: T) => number {
  return (left, right) => {
    const leftKeys = by(left);
    const rightKeys = by(right);
    if (!Array.isArray(leftKeys)) return compareKeys(leftKeys as SortKey, rightKeys as SortKey, orderAt(order, 0));
    const others = rightKeys as readonly SortKey[];
    for (let i = 0; i < leftKeys.length; i++) {
      const difference = compareKeys(leftKeys[i], others[i], orderAt(order, i));
      if (difference !== 0) return difference;
    }
    return 0;
  };
}

function orderAt(order: Order | readonly Order[], index: number): Order {
  return typeof order === "string" ? order : (order[index] ?? "asc");
}

function compareKeys(left: SortKey, right: SortKey, order: Order): number {
  const leftMissing = left === null || left === undefined || Number.isNaN(left);
  const rightMissing = right === null || right === undefined || Number.isNaN(right);
  if (leftMissing || rightMissing) return Number(leftMissing) - Number(rightMissing);
  const difference = left < right ? -1 : left > right ? 1 : 0;
  return order === "asc" ? difference : -difference;
}
