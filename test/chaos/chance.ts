/** Chance from one number, so that a run's faults can be drawn again. Pure. */
export interface Chance {
  /** A whole number from 0 to below. */
  below(limit: number): number;
  pick<T>(items: readonly T[]): T;
}

/** The generator of Numerical Recipes: its upper bits are good enough to choose faults. */
export function chanceFrom(seed: number): Chance {
  let state = (seed * 2654435761) >>> 0;
  const below = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * limit);
  };
  return {
    below,
    pick: (items) => {
      const item = items[below(items.length)];
      if (item === undefined) throw new Error("there is nothing to pick");
      return item;
    },
  };
}
